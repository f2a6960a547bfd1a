"""What a network makes of continuous speech, passage by passage, cut into segments afterwards.

Legend: n segments, K time points of a segment, D dimensions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from braindec.signals.passages import Passage
from braindec.types import DataError, Stimuli


class SoundNetwork(Protocol):
    """What a target needs of a network of sounds: that of one sound at a time, at a known rate."""

    output_rate_hz: float

    def encode(self, stimuli: Stimuli) -> np.ndarray:
        """Embeddings float32 (sounds, time points, D)."""
        ...

    def describe(self) -> dict[str, Any]:
        """What identifies the embeddings, as plain values."""
        ...

    def to(self, device: str) -> Any:
        """Move to a device."""
        ...


class PassageTarget:
    """Embeddings over time (n, K, D) of segments of passages.

    A network with context (wav2vec 2.0) sees a whole passage and nothing beyond it: what is said in a test passage can
    therefore not reach the target of a training segment.

    Fitted attributes: ``mean_`` and ``scale_`` (D,) over the training segments' time points; 0 and 1 without
    ``standardise``.

    Parameters
    ----------
    network : e.g. `braindec.frozen.wav2vec2.Wav2Vec2` or `braindec.targets.sounds.Mel`.
    standardise : each dimension less its training mean, over its training standard deviation.
    device : where the network runs: ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one.

    Source: Defossez et al. 2023, section 2.2 (a deep representation of the sound, cut to the segment).
    """

    def __init__(self, network: SoundNetwork, standardise: bool = True, device: str = "auto") -> None:
        self.network = network
        self.standardise = standardise
        self.device = device
        self._kept: dict[str, np.ndarray] = {}

    def fit(self, stimuli: Stimuli) -> None:
        """Take mean and spread over the training segments."""
        raw_NKD = self._raw(stimuli)
        n_dims = raw_NKD.shape[2]
        self.mean_, self.scale_ = np.zeros(n_dims, np.float32), np.ones(n_dims, np.float32)
        if self.standardise:
            self.mean_ = raw_NKD.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
            spread = raw_NKD.std(axis=(0, 1), dtype=np.float64)
            self.scale_ = np.where(spread > 1e-6, spread, 1.0).astype(np.float32)

    def embed(self, stimuli: Stimuli) -> np.ndarray:
        """Float32 (n, K, D).

        Raises
        ------
        DataError
            If the target is not fitted, the stimuli are no segments of passages, or a segment leaves its passage.
        """
        if not hasattr(self, "mean_"):
            raise DataError("PassageTarget: not fitted; call fit with the training stimuli first")
        return np.asarray((self._raw(stimuli) - self.mean_) / self.scale_, dtype=np.float32)

    def _raw(self, stimuli: Stimuli) -> np.ndarray:
        missing = [name for name in ("passage", "start_s", "length_s") if name not in stimuli.extras]
        if missing:
            raise DataError(
                f"PassageTarget: the stimuli have no {missing} in their extras; it needs segments of continuous speech"
            )
        rate_hz = self.network.output_rate_hz
        length = round(float(stimuli.extras["length_s"][0]) * rate_hz)
        made: list[np.ndarray] = []
        for passage, start_s in zip(stimuli.extras["passage"], stimuli.extras["start_s"], strict=True):
            whole_KD = self._of(passage)
            first = round((float(start_s) - passage.start_s) * rate_hz)
            if first < 0 or first + length > len(whole_KD) + 1:
                raise DataError(
                    f"PassageTarget: a segment at {start_s:.2f} s leaves its passage {passage.name!r} "
                    f"({len(whole_KD) / rate_hz:.2f} s from {passage.start_s:.2f} s)"
                )
            first = min(first, len(whole_KD) - length)  # a passage's last time point may be lost to rounding
            made.append(whole_KD[first : first + length])
        self._kept.clear()
        return np.stack(made)

    def _of(self, passage: Passage) -> np.ndarray:
        key = passage.fingerprint()
        if key not in self._kept:
            self.network.to(_resolved(self.device))
            try:
                heard = Stimuli((passage.name,), audio=(passage.sound,), audio_rate_hz=passage.rate_hz)
                self._kept[key] = self.network.encode(heard)[0]
            finally:
                self.network.to("cpu")
        return self._kept[key]

    def fingerprint(self) -> str:
        """Text that changes when the embeddings do: the network's description and the fitted statistics."""
        fitted = [values.tobytes().hex() for values in self.state().values()] if hasattr(self, "mean_") else []
        described = self.network.describe()
        return json.dumps([described, self.standardise, "by passage", fitted], sort_keys=True, default=str)

    def state(self) -> dict[str, np.ndarray]:
        """Mean and scale."""
        return {"mean": self.mean_, "scale": self.scale_}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what `state` gave."""
        self.mean_, self.scale_ = np.asarray(state["mean"]), np.asarray(state["scale"])


def _resolved(device: str) -> str:
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
