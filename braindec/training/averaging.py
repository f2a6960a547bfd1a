"""Exponential moving average of weights. Source: Polyak & Juditsky 1992; warm-up as in TensorFlow's moving averages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn


class WeightAverage:
    """Average of a module's parameters; early updates count more, so that the start is forgotten soon."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = module
        self.decay = decay
        self.names = [name for name, p in module.named_parameters() if p.requires_grad]
        self.values = [p.detach().clone() for p in module.parameters() if p.requires_grad]

    def update(self, step: int) -> None:
        """Take in the weights after update ``step`` (1-based)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        current = [p.detach() for p in self.module.parameters() if p.requires_grad]
        torch._foreach_lerp_(self.values, current, 1 - decay)

    def state(self) -> dict[str, torch.Tensor]:
        """Averages by parameter name."""
        return dict(zip(self.names, self.values, strict=True))

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take over a `state`."""
        for name, value in zip(self.names, self.values, strict=True):
            value.copy_(state[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The module has the averaged weights inside this context."""
        current: list[torch.Tensor] = [p for p in self.module.parameters() if p.requires_grad]
        own = [p.detach().clone() for p in current]
        with torch.no_grad():
            torch._foreach_copy_(current, self.values)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(current, own)
