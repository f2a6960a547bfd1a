"""What the makers of a network's parts are told: the shape of a subject's signal.

A part is a `torch.nn.Module` made by a partially applied class. An adapter takes ``signal`` (`SignalShape`), a stem
``signals`` (subject -> `SignalShape`), a builder ``adapter``, an encoder ``in_shape``, a head ``in_shape`` and
``shape_KD``, a prior ``shape_KD``. Adapters and encoders have an attribute ``out_shape``: the shape of what they return
without its batch axis; a stem has a method ``out_signal`` that says what a subject's adapter is given.

Legend: B trials of a batch, S space, T time, C channels, W width, K tokens, D embedding dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

Part = Callable[..., Any]
"""Makes a part once shapes are known."""


@dataclass(frozen=True)
class SignalShape:
    """Shape of one subject's signal.

    Attributes
    ----------
    n_space, n_times : positions in space, and time points.
    positions_m : float (S, 3), their places in metres, or None.
    grid_index : int (S, 3), their places in a volume, or None.
    """

    n_space: int
    n_times: int
    positions_m: np.ndarray | None = None
    grid_index: np.ndarray | None = None

    @property
    def n_values(self) -> int:
        """Numbers a trial has."""
        return self.n_space * self.n_times


def flat_size(shape: tuple[int, ...]) -> int:
    """Numbers in an array of this shape."""
    return math.prod(shape)


def n_parameters(module: nn.Module) -> int:
    """Trainable and frozen parameters; one shared by two modules counts once."""
    return sum(parameter.numel() for parameter in module.parameters())
