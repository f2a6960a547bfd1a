"""Targets less their mean and divided by their spread, both of the training stimuli.

Legend: U training stimuli, n stimuli, K tokens, D embedding dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from braindec.types import TargetEmbeddings

Scaling = Literal["none", "centre", "scale", "zscore"]
_ROWS = 256


@dataclass(frozen=True)
class TargetScaling:
    """Float32 mean (K, D) and scale (K, D) of a target."""

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, target: TargetEmbeddings, training_ids: Sequence[str], kind: Scaling) -> TargetScaling:
        """Statistics over the training stimuli, read a few at a time; values that never vary keep scale 1."""
        shape = target.values.shape[1:]
        mean, scale = np.zeros(shape, np.float32), np.ones(shape, np.float32)
        if kind == "none":
            return cls(mean, scale)
        index = {stimulus_id: row for row, stimulus_id in enumerate(target.ids)}
        rows = np.sort([index[i] for i in training_ids if i in index])
        chunks = [rows[i : i + _ROWS] for i in range(0, len(rows), _ROWS)]
        centre = sum((target.values[c].sum(axis=0, dtype=np.float64) for c in chunks), np.zeros(shape)) / len(rows)
        if kind != "centre":
            squares = sum(
                (((target.values[c] - centre) ** 2).sum(axis=0, dtype=np.float64) for c in chunks), np.zeros(shape)
            )
            variance = squares / len(rows)
            spread = np.sqrt(variance if kind == "zscore" else np.full(shape, variance.mean()))
            scale = np.where(spread > 1e-8, spread, 1.0).astype(np.float32)
        return cls(centre.astype(np.float32), scale)

    @property
    def is_identity(self) -> bool:
        """Whether scaling changes nothing."""
        return not self.mean.any() and bool((self.scale == 1).all())

    def invert(self, values: np.ndarray) -> np.ndarray:
        """Values (n, K, D) in the target's own scale."""
        return (values * self.scale + self.mean).astype(np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """The two arrays."""
        return {"mean": self.mean, "scale": self.scale}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray]) -> TargetScaling:
        """Of `state`."""
        return cls(np.array(state["mean"]), np.array(state["scale"]))
