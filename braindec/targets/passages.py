"""What a network makes of continuous speech, passage by passage, cut into segments afterwards.

Legend: n segments, K time points of a segment, D dimensions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
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
    network : e.g. `braindec.frozen.wav2vec2.Wav2Vec2` or `braindec.frozen.mel.MelSpectrogram`.
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
        """Take mean and spread over the training segments' time points, a segment at a time."""
        count, total_D, squares_D = 0, np.zeros(1), np.zeros(1)
        for values_KD in self._segments(stimuli):
            count += len(values_KD)
            total_D = total_D + values_KD.sum(axis=0, dtype=np.float64)
            squares_D = squares_D + (values_KD.astype(np.float64) ** 2).sum(axis=0)
        self.mean_, self.scale_ = np.zeros(len(total_D), np.float32), np.ones(len(total_D), np.float32)
        if self.standardise:
            mean_D = total_D / count
            spread_D = np.sqrt(np.maximum(squares_D / count - mean_D**2, 0))
            self.mean_ = mean_D.astype(np.float32)
            self.scale_ = np.where(spread_D > 1e-6, spread_D, 1.0).astype(np.float32)

    def embed(self, stimuli: Stimuli) -> np.ndarray:
        """Float32 (n, K, D).

        Raises
        ------
        DataError
            If the target is not fitted, the stimuli are no segments of passages, or a segment leaves its passage.
        """
        if not hasattr(self, "mean_"):
            raise DataError("PassageTarget: not fitted; call fit with the training stimuli first")
        whole: np.ndarray | None = None
        for row, values_KD in enumerate(self._segments(stimuli)):
            if whole is None:
                whole = np.empty((len(stimuli), *values_KD.shape), np.float32)
            whole[row] = (values_KD - self.mean_) / self.scale_
        self._kept.clear()
        if whole is None:
            raise DataError("PassageTarget: expected at least one segment, found none")
        return whole

    def _segments(self, stimuli: Stimuli) -> Iterator[np.ndarray]:
        """What the network makes of each segment (K, D), in order."""
        missing = [name for name in ("passage", "start_s", "length_s") if name not in stimuli.extras]
        if missing:
            raise DataError(
                f"PassageTarget: the stimuli have no {missing} in their extras; it needs segments of continuous speech"
            )
        rate_hz = self.network.output_rate_hz
        self.network.to(_resolved(self.device))
        try:
            for row, passage in enumerate(stimuli.extras["passage"]):
                whole_KD = self._of(passage)
                start_s, length = float(stimuli.extras["start_s"][row]), float(stimuli.extras["length_s"][row])
                n_points, first = round(length * rate_hz), round((start_s - passage.start_s) * rate_hz)
                if first < 0 or first + n_points > len(whole_KD) + 1:
                    raise DataError(
                        f"PassageTarget: segment {stimuli.ids[row]!r} at {start_s:.2f} s leaves its passage "
                        f"{passage.name!r} ({len(whole_KD) / rate_hz:.2f} s from {passage.start_s:.2f} s)"
                    )
                first = min(first, len(whole_KD) - n_points)  # a passage's last time point may be lost to rounding
                yield whole_KD[first : first + n_points]
        finally:
            self.network.to("cpu")

    def _of(self, passage: Passage) -> np.ndarray:
        """The whole passage (K, D); kept from a fit to the next embedding, which mostly shows the same passages."""
        key = passage.fingerprint()
        if key not in self._kept:
            heard = Stimuli((passage.name,), audio=(passage.sound,), audio_rate_hz=passage.rate_hz)
            self._kept[key] = self.network.encode(heard)[0]
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
