"""Networks of sound without weights, for `braindec.targets.passages.PassageTarget`.

Legend: K time points, M mel bands, D features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from braindec.signals.audio import mel_spectrogram
from braindec.signals.speech_network import speech_features
from braindec.types import DataError, Stimuli


class Mel:
    """Log amplitude in mel bands, see `braindec.signals.audio.mel_spectrogram`: (sounds, K, ``n_bands``)."""

    def __init__(self, output_rate_hz: float = 120.0, n_bands: int = 40) -> None:
        self.output_rate_hz = output_rate_hz
        self.n_bands = n_bands

    def encode(self, stimuli: Stimuli) -> np.ndarray:
        """Float32 (sounds, K, M). Raises `DataError` without audio, or for sounds of several lengths."""
        return _each(stimuli, lambda sound, rate: mel_spectrogram(sound, rate, self.output_rate_hz, self.n_bands))

    def describe(self) -> dict[str, Any]:
        """Class and arguments."""
        return {"network": "mel", "output_rate_hz": self.output_rate_hz, "n_bands": self.n_bands}

    def to(self, device: str) -> Mel:
        """Runs on the CPU always; returns itself."""
        return self


class UntrainedSpeech:
    """The fixed network of `braindec.signals.speech_network`, which simulated listeners' cortices follow."""

    def __init__(self, output_rate_hz: float = 120.0, n_features: int = 64) -> None:
        self.output_rate_hz = output_rate_hz
        self.n_features = n_features

    def encode(self, stimuli: Stimuli) -> np.ndarray:
        """Float32 (sounds, K, D). Raises `DataError` without audio, or for sounds of several lengths."""
        return _each(stimuli, lambda sound, rate: speech_features(sound, rate, self.output_rate_hz, self.n_features))

    def describe(self) -> dict[str, Any]:
        """Class and arguments."""
        return {"network": "untrained", "output_rate_hz": self.output_rate_hz, "n_features": self.n_features}

    def to(self, device: str) -> UntrainedSpeech:
        """Runs on the CPU always; returns itself."""
        return self


def _each(stimuli: Stimuli, make: Callable[[np.ndarray, float], np.ndarray]) -> np.ndarray:
    if stimuli.audio is None or stimuli.audio_rate_hz is None:
        raise DataError("sound target: the stimuli have no audio, or no audio_rate_hz; choose another target")
    lengths = {len(sound) for sound in stimuli.audio}
    if len(lengths) != 1:
        raise DataError(f"sound target: expected sounds of one length a call, found {sorted(lengths)[:5]} samples")
    return np.stack([make(sound, stimuli.audio_rate_hz) for sound in stimuli.audio])
