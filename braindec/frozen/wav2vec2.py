"""wav2vec 2.0: speech embeddings over time, averaged over layers.

Legend: N sounds, K time points, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from braindec.frozen.base import Dtype, FrozenNetwork
from braindec.frozen.hub import load_transformers
from braindec.frozen.loading import LoadReport
from braindec.frozen.sounds import ResampledSounds, at_rate, rate_of, stacked
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
        # One layer more than is averaged, since the network normalises what its last layer gives.
        module.encoder.layers = module.encoder.layers[: max(self.layers) + 1]
        return module, report

    def preprocessing(self) -> dict[str, Any]:
        """Rates and layers; each sound is standardised to zero mean and unit variance."""
        return {"model_rate_hz": MODEL_RATE_HZ, "output_rate_hz": self.output_rate_hz, "layers": list(self.layers)}

    def encode_batch(self, inputs: Sequence[np.ndarray]) -> Tensor:
        """Embeddings (N, K, D) of waveforms at 16 kHz."""
        sounds = stacked(inputs, self.device, self.weights)
        n_samples = sounds.shape[1]
        variance, mean = torch.var_mean(sounds, dim=1, correction=0, keepdim=True)
        sounds = ((sounds - mean) / (variance + _VARIANCE_FLOOR).sqrt()).to(self.torch_dtype)
        states = self.module(sounds, output_hidden_states=True).hidden_states
        mean_NKD = torch.stack([states[layer].float() for layer in self.layers]).mean(dim=0)
        return at_rate(mean_NKD, n_samples, MODEL_RATE_HZ, self.output_rate_hz)

    def _source(self, stimuli: Stimuli | np.ndarray | Sequence[Any]) -> Any:
        rate_hz = rate_of(stimuli, self.audio_rate_hz, type(self).__name__)
        return ResampledSounds(super()._source(stimuli), rate_hz, MODEL_RATE_HZ)
