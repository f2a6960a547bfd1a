"""Sounds as audio networks read them: at one sampling rate and of one length.

Legend: N sounds, W samples, K time points, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from braindec.types import DataError, Stimuli


class ResampledSounds:
    """Waveforms at another rate, resampled when they are asked for."""

    def __init__(self, sounds: Sequence[np.ndarray], rate_hz: float, wanted_hz: float) -> None:
        self._sounds = sounds
        self._ratio = Fraction(wanted_hz / rate_hz).limit_denominator(10_000)

    def __len__(self) -> int:
        return len(self._sounds)

    def __getitem__(self, row: int) -> np.ndarray:
        from scipy.signal import resample_poly

        if self._ratio == 1:
            return self._sounds[row]
        return resample_poly(self._sounds[row], self._ratio.numerator, self._ratio.denominator)


def rate_of(stimuli: object, bare_rate_hz: float, network: str) -> float:
    """Sampling rate of stimuli, or the given one of bare waveforms.

    Raises
    ------
    DataError
        If stimuli do not say theirs.
    """
    if not isinstance(stimuli, Stimuli):
        return bare_rate_hz
    if stimuli.audio_rate_hz is None:
        raise DataError(f"{network}: Stimuli.audio_rate_hz is not set")
    return stimuli.audio_rate_hz


def stacked(sounds: Sequence[np.ndarray], device: str, network: str) -> Tensor:
    """Sounds float32 (N, W) on a device.

    Raises
    ------
    DataError
        If they differ in length.
    """
    lengths = {len(sound) for sound in sounds}
    if len(lengths) != 1:
        raise DataError(f"{network}: expected sounds of one length, found {sorted(lengths)} samples")
    return torch.from_numpy(np.stack(sounds).astype(np.float32)).to(device)


def at_rate(frames_NKD: Tensor, n_samples: int, sampling_hz: float, output_hz: float) -> Tensor:
    """Frames that cover ``n_samples``, interpolated to ``output_hz`` time points a second."""
    n_points = round(n_samples / sampling_hz * output_hz)
    return functional.interpolate(frames_NKD.transpose(1, 2), n_points, mode="linear").transpose(1, 2)
