"""A network of sound without trained weights, for `braindec.targets.passages.PassageTarget`.

Legend: K time points, D features.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from braindec.signals.speech_network import speech_features
from braindec.types import DataError, Stimuli


class UntrainedSpeech:
    """The fixed network of `braindec.signals.speech_network`, which simulated listeners' cortices follow."""

    def __init__(self, output_rate_hz: float = 120.0, n_features: int = 64) -> None:
        self.output_rate_hz = output_rate_hz
        self.n_features = n_features

    def encode(self, stimuli: Stimuli) -> np.ndarray:
        """Float32 (sounds, K, D). Raises `DataError` without audio, or for sounds of several lengths."""
        if stimuli.audio is None or stimuli.audio_rate_hz is None:
            raise DataError("UntrainedSpeech: the stimuli have no audio, or no audio_rate_hz; choose another target")
        lengths = {len(sound) for sound in stimuli.audio}
        if len(lengths) != 1:
            raise DataError(
                f"UntrainedSpeech: expected sounds of one length a call, found {sorted(lengths)[:5]} samples"
            )
        rate_hz = stimuli.audio_rate_hz
        return np.stack([speech_features(s, rate_hz, self.output_rate_hz, self.n_features) for s in stimuli.audio])

    def describe(self) -> dict[str, Any]:
        """Class and arguments."""
        return {"network": "untrained", "output_rate_hz": self.output_rate_hz, "n_features": self.n_features}

    def to(self, device: str) -> UntrainedSpeech:
        """Runs on the CPU always; returns itself."""
        return self
