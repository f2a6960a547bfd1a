"""Mel spectrograms: what speech embeddings are compared with. Nothing is learnt, so there are no weights.

Legend: N sounds, W samples, F frequencies, K time points, D mel bands.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from braindec.frozen.base import Dtype, FrozenNetwork
from braindec.frozen.loading import LoadReport
from braindec.frozen.sounds import ResampledSounds, rate_of, stacked
from braindec.types import DataError, Stimuli

_FLOOR = 1e-5
_HZ, _MELS = 700.0, 2595.0


class MelSpectrogram(FrozenNetwork):
    """Logarithm of the power in mel bands, (time, bands).

    Every sound of one call must have the same length; cut the audio to segments before.

    Parameters
    ----------
    n_bands : triangular bands from 0 to half of ``rate_hz``, evenly spaced on the mel scale (HTK's formula).
    rate_hz : sampling rate that the sounds are brought to.
    window, hop : samples of the periodic Hann window, and from one window to the next.
    output_rate_hz : time points a second of the result.
    audio_rate_hz : sampling rate of bare waveforms (`Stimuli` carry their own).

    Source: Defossez et al. 2023 (120 bands, windows of 512 samples every 128 at 16 kHz, power normalised by the
    window's, log of 1e-5 + power).
    """

    modality = "audio"

    def __init__(
        self,
        device: str = "cpu",
        dtype: Dtype = "float32",
        batch_size: int = 64,
        n_bands: int = 120,
        rate_hz: float = 16_000.0,
        window: int = 512,
        hop: int = 128,
        output_rate_hz: float = 120.0,
        audio_rate_hz: float = 16_000.0,
    ) -> None:
        super().__init__("computed", device, dtype, batch_size)
        self.n_bands = n_bands
        self.rate_hz = rate_hz
        self.window = window
        self.hop = hop
        self.output_rate_hz = output_rate_hz
        self.audio_rate_hz = audio_rate_hz

    @property
    def module(self) -> Any:
        """The window and the bands, on the device."""
        if self._module is None:
            self.adopt(self._transform())
        return self._module

    def load(self, path: Path) -> tuple[nn.Module, LoadReport]:
        """Refused: there are no weights to read."""
        raise DataError(f"{path}: a mel spectrogram has no weights")

    def preprocessing(self) -> dict[str, Any]:
        """Every setting of the transform."""
        return {
            "n_bands": self.n_bands,
            "rate_hz": self.rate_hz,
            "window": self.window,
            "hop": self.hop,
            "output_rate_hz": self.output_rate_hz,
        }

    def encode_batch(self, inputs: Sequence[np.ndarray]) -> Tensor:
        """Log mel power (N, K, D) of waveforms at ``rate_hz``."""
        module = self.module
        sounds_NW = stacked(inputs, self.device, type(self).__name__)
        # The transform needs single precision at least: half has no Fourier transform on a CPU.
        window = module.window.float()
        spectrum_NFK = torch.stft(sounds_NW, self.window, self.hop, window=window, center=True, return_complex=True)
        power_NFK = spectrum_NFK.abs().square() / window.square().sum()
        bands_NDK = torch.einsum("fd,nfk->ndk", module.bands.float(), power_NFK)
        frames_NKD = (_FLOOR + bands_NDK).log().transpose(1, 2)
        return self._at_middles(frames_NKD, sounds_NW.shape[1])

    def _at_middles(self, frames_NKD: Tensor, n_samples: int) -> Tensor:
        """Frames, which are centred on every ``hop``-th sample, at the middle of each output point's time.

        By time and not by stretching to a length, so that a segment has the values that it has in a longer sound.
        """
        n_points = round(n_samples / self.rate_hz * self.output_rate_hz)
        middles = (torch.arange(n_points, dtype=torch.float64) + 0.5) / self.output_rate_hz * self.rate_hz / self.hop
        middles = middles.clamp(max=frames_NKD.shape[1] - 1)
        before = middles.long().clamp(max=max(0, frames_NKD.shape[1] - 2))
        after = (before + 1).clamp(max=frames_NKD.shape[1] - 1)
        share = (middles - before).to(frames_NKD).unsqueeze(1)
        before, after = before.to(frames_NKD.device), after.to(frames_NKD.device)
        return torch.lerp(frames_NKD[:, before], frames_NKD[:, after], share)

    def _source(self, stimuli: Stimuli | np.ndarray | Sequence[Any]) -> Any:
        rate_hz = rate_of(stimuli, self.audio_rate_hz, type(self).__name__)
        return ResampledSounds(super()._source(stimuli), rate_hz, self.rate_hz)

    def _transform(self) -> nn.Module:
        module = nn.Module()
        module.register_buffer("window", torch.hann_window(self.window))
        module.register_buffer("bands", mel_bands(self.window // 2 + 1, self.n_bands, self.rate_hz))
        return module


def mel_bands(n_frequencies: int, n_bands: int, rate_hz: float) -> Tensor:
    """Triangular bands (F, D) over frequencies from 0 to half the sampling rate, each with its peak at 1.

    Raises
    ------
    DataError
        If a quarter of the bands is so narrow that no frequency falls into them; a few at the low end stay at the
        floor.
    """
    highest = _MELS * np.log10(1 + rate_hz / 2 / _HZ)
    edges_hz = _HZ * (10 ** (np.linspace(0, highest, n_bands + 2) / _MELS) - 1)
    frequencies_F1 = np.linspace(0, rate_hz / 2, n_frequencies)[:, None]
    rising = (frequencies_F1 - edges_hz[:-2]) / np.diff(edges_hz)[:-1]
    falling = (edges_hz[2:] - frequencies_F1) / np.diff(edges_hz)[1:]
    bands_FD = np.maximum(0, np.minimum(rising, falling))
    empty = np.flatnonzero(bands_FD.max(axis=0) == 0)
    if len(empty) > n_bands // 4:
        raise DataError(
            f"MelSpectrogram: {len(empty)} of {n_bands} bands hold no frequency of the transform; use fewer bands or a "
            "longer window"
        )
    return torch.from_numpy(bands_FD.astype(np.float32))
