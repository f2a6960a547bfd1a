"""Another target with mean 0 and SD 1 of every value over the training stimuli. Legend: n stimuli, K tokens, D dims."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from braindec.contracts import Target
from braindec.types import DataError, Stimuli


class Standardised:
    """A target's embeddings, standardised value by value with the mean and SD of the training stimuli.

    All pictures share most of what an intermediate layer says: without the mean, angles tell them apart. Here the
    embedding itself is standardised, so that training, choice and retrieval see the same angles; the decoders' own
    scaling is undone in their predictions.

    Fitted attributes: ``mean_`` and ``scale_``, float32 (K, D); values that never vary keep scale 1.

    Parameters
    ----------
    target : the target; fitted first, by its own rule.
    """

    def __init__(self, target: Target) -> None:
        self.target = target

    def fit(self, stimuli: Stimuli) -> None:
        """Fit the target and the statistics on training stimuli."""
        self.target.fit(stimuli)
        values = self.target.embed(stimuli)
        spread = values.std(axis=0, dtype=np.float64)
        self.mean_ = values.mean(axis=0, dtype=np.float64).astype(np.float32)
        self.scale_ = np.where(spread > 1e-8, spread, 1.0).astype(np.float32)

    def embed(self, stimuli: Stimuli) -> np.ndarray:
        """Float32 (n, K, D). Raises `DataError` when nothing is fitted."""
        if not hasattr(self, "mean_"):
            raise DataError("target Standardised is not fitted: call fit or load_state first")
        return np.asarray((self.target.embed(stimuli) - self.mean_) / self.scale_, dtype=np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """The statistics, and the target's state under ``target/``."""
        own = {f"target/{key}": value for key, value in self.target.state().items()}
        return {"mean": self.mean_, "scale": self.scale_, **own}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what `state` gave."""
        self.mean_, self.scale_ = np.asarray(state["mean"]), np.asarray(state["scale"])
        self.target.load_state({k.removeprefix("target/"): v for k, v in state.items() if k.startswith("target/")})
