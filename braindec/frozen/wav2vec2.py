"""wav2vec 2.0: speech embeddings over time, averaged over layers.

Legend: N sounds, K time points, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from braindec.frozen.base import Dtype, FrozenNetwork
from braindec.frozen.hub import load_transformers
from braindec.frozen.loading import LoadReport
from braindec.types import DataError, Stimuli

MODEL_RATE_HZ = 16_000
_PRETRAINING = ("quantizer.*", "project_q.*", "project_hid.*", "lm_head.*")
_VARIANCE_FLOOR = 1e-7


class Wav2Vec2(FrozenNetwork):
    """Mean of some hidden layers, resampled in time: (time, 1024) of wav2vec2-large-xlsr-53.

    Every sound of one call must have the same length; cut the audio to segments before.

    Parameters
    ----------
    layers : transformer layers that are averaged, counted from 1.
    output_rate_hz : time points a second of the result.
    audio_rate_hz : sampling rate of bare waveforms (`Stimuli` carry their own).

    Source: Defossez et al. 2023 (layers 14-18 of wav2vec2-large-xlsr-53 at 120 Hz).
    """

    modality = "audio"

    def __init__(
        self,
        weights: str = "facebook/wav2vec2-large-xlsr-53",
        device: str = "cpu",
        dtype: Dtype = "float32",
        batch_size: int = 16,
        layers: tuple[int, ...] = (14, 15, 16, 17, 18),
        output_rate_hz: float = 120.0,
        audio_rate_hz: float = MODEL_RATE_HZ,
    ) -> None:
        super().__init__(weights, device, dtype, batch_size)
        self.layers = layers
        self.output_rate_hz = output_rate_hz
        self.audio_rate_hz = audio_rate_hz

    def load(self, path: Path) -> tuple[nn.Module, LoadReport]:
        """Load strictly; the parts that serve pretraining only are left out.

        Raises
        ------
        DataError
            If a layer is asked for that the network does not have.
        """
        from transformers import Wav2Vec2Model

        module, report = load_transformers(Wav2Vec2Model, path, allow_unexpected=_PRETRAINING)
        depth = module.config.num_hidden_layers
        if not self.layers or min(self.layers) < 1 or max(self.layers) > depth:
            raise DataError(f"{path}: expected layers between 1 and {depth}, found {self.layers}")
        return module, report

    def preprocessing(self) -> dict[str, Any]:
        """Rates and layers; each sound is standardised to zero mean and unit variance."""
        return {"model_rate_hz": MODEL_RATE_HZ, "output_rate_hz": self.output_rate_hz, "layers": list(self.layers)}

    def encode_batch(self, inputs: Sequence[np.ndarray]) -> Tensor:
        """Embeddings (N, K, D) of waveforms at 16 kHz."""
        lengths = {len(sound) for sound in inputs}
        if len(lengths) != 1:
            raise DataError(f"{self.weights}: expected sounds of one length, found {sorted(lengths)} samples")
        sounds = torch.from_numpy(np.stack(inputs).astype(np.float32)).to(self.device)
        variance, mean = torch.var_mean(sounds, dim=1, correction=0, keepdim=True)
        sounds = ((sounds - mean) / (variance + _VARIANCE_FLOOR).sqrt()).to(self.torch_dtype)
        states = self.module(sounds, output_hidden_states=True).hidden_states
        mean_NKD = torch.stack([states[layer].float() for layer in self.layers]).mean(dim=0)
        n_points = round(next(iter(lengths)) / MODEL_RATE_HZ * self.output_rate_hz)
        return functional.interpolate(mean_NKD.transpose(1, 2), n_points, mode="linear").transpose(1, 2)

    def _source(self, stimuli: Stimuli | np.ndarray | Sequence[Any]) -> Any:
        rate_hz = stimuli.audio_rate_hz if isinstance(stimuli, Stimuli) else self.audio_rate_hz
        sounds = super()._source(stimuli)
        if rate_hz is None:
            raise DataError(f"{type(self).__name__}: Stimuli.audio_rate_hz is not set")
        return _Resampled(sounds, rate_hz)


class _Resampled:
    """Waveforms at 16 kHz, resampled when they are asked for."""

    def __init__(self, sounds: Sequence[np.ndarray], rate_hz: float) -> None:
        self._sounds = sounds
        self._ratio = Fraction(MODEL_RATE_HZ / rate_hz).limit_denominator(10_000)

    def __len__(self) -> int:
        return len(self._sounds)

    def __getitem__(self, row: int) -> np.ndarray:
        from scipy.signal import resample_poly

        if self._ratio == 1:
            return self._sounds[row]
        return resample_poly(self._sounds[row], self._ratio.numerator, self._ratio.denominator)
