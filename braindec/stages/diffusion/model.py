"""What a latent diffusion network offers to the sampler, whatever its family.

Legend: n pictures, K tokens, D dimensions, C latent channels, h w latent height and width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from braindec.frozen.base import Dtype
from braindec.frozen.dual_diffusion import Stream
from braindec.frozen.loading import LoadReport, load_strictly, read_checkpoint
from braindec.frozen.vae import AutoencoderKL
from braindec.frozen.weights import resolve
from braindec.stages.diffusion.halves import Halves
from braindec.types import DataError

DIFFUSERS_FILES = ("diffusion_pytorch_model*.safetensors", "diffusion_pytorch_model*.bin")


class DiffusionModel(ABC):
    """A frozen U-Net with its VAE, its scheduler's settings and its kinds of conditioning.

    Parameters
    ----------
    weights : hub id or folder in diffusers' layout.
    dtype : type of weights and activations; latents between steps stay float32.
    compiled : compile U-Net and VAE for the device (implies ``channels_last``; worth its minutes on a whole test set).
    channels_last : memory layout that convolutions on GPUs prefer.

    Attributes
    ----------
    reports_ : what each part's checkpoint gave, after loading.
    """

    def __init__(
        self, weights: str, dtype: Dtype = "float32", compiled: bool = False, channels_last: bool = False
    ) -> None:
        self.weights = weights
        self.dtype: Dtype = dtype
        self.compiled = compiled
        self.channels_last = channels_last
        self.device = "cpu"
        self.reports_: dict[str, LoadReport] = {}
        self._unet: Any = None

    @abstractmethod
    def load_unet(self, path: Path) -> Any:
        """The U-Net, loaded strictly."""

    @abstractmethod
    def streams(self) -> tuple[Stream, ...]:
        """The kinds of conditioning, in the order in which the U-Net sees them."""

    @abstractmethod
    def absent(self, stream: Stream) -> np.ndarray:
        """Tokens (K, D) that stand for a stream that is not given."""

    def vae_place(self, path: Path) -> Path:
        """Folder of the VAE."""
        return path / "vae"

    def on(self, device: str) -> Self:
        """Load on first use, and move to a device; returns itself."""
        self.device = device
        if self._unet is None:
            path = resolve(self.weights)
            self._unet = self.load_unet(path).eval().requires_grad_(False)
            self.scheduler_settings = _scheduler_settings(path)
            self.vae = AutoencoderKL(str(self.vae_place(path)), device, self.dtype, compiled=self.compiled)
            self.vae.image_size = self._unet.config.sample_size * self._vae_factor()
            self.halves = Halves(self._unet, self.compiled)
            self._absent = {stream.name: self.absent(stream) for stream in self.streams()}
        # The plain method: diffusers' own warns of a dtype that is meant.
        nn.Module.to(self._unet, device, self.vae.torch_dtype)
        if self.compiled or self.channels_last:
            nn.Module.to(self._unet, memory_format=torch.channels_last)
        self.vae.to(device)
        return self

    def latent_shape(self) -> tuple[int, int, int]:
        """(C, h, w) of one picture's latents."""
        config = self._unet.config
        return config.in_channels, config.sample_size, config.sample_size

    def context(self, conditions: Mapping[str, np.ndarray], n: int) -> Tensor:
        """Tokens (n, K, D) of all streams, one after another; streams that are not given are `absent`.

        Raises
        ------
        DataError
            If a stream is unknown, or its tokens have another shape than the network was trained with.
        """
        known = {stream.name: stream for stream in self.streams()}
        for name, values in conditions.items():
            if name not in known:
                raise DataError(f"{self.weights}: no conditioning is called {name!r}; it has {sorted(known)}")
            expected = (n, known[name].tokens, known[name].dim)
            if values.shape != expected:
                raise DataError(
                    f"{self.weights}: conditioning {name!r} must be (picture, token, dim) {expected}, found "
                    f"{values.shape}; train with the target that holds these tokens"
                )
        parts = []
        for stream in known.values():
            given = conditions.get(stream.name)
            values = np.repeat(self._absent[stream.name][None], n, axis=0) if given is None else given
            parts.append(torch.as_tensor(np.asarray(values, np.float32) * np.float32(stream.scale)))
        return torch.cat(parts, dim=1).to(self.device, self._unet.dtype)

    def encode_images(self, images: np.ndarray) -> Tensor:
        """Pictures uint8 (n, H, W, 3) of any size -> latents float32 (n, C, h, w): the posterior's mean."""
        channels, height, width = self.latent_shape()
        return self.vae.encode_batch(images).float().reshape(len(images), channels, height, width)

    def decode_latents(self, latents_nChw: Tensor) -> Tensor:
        """Latents -> pixels (n, 3, H, W) in [-1, 1]."""
        return self.vae.decode_latents(latents_nChw.to(self.vae.torch_dtype))

    def load_part(self, kind: Any, folder: Path) -> Any:
        """A diffusers network of a known class from a folder; raises `DataError` if it does not fit."""
        if not (folder / "config.json").is_file():
            raise DataError(f"{folder}: expected a diffusers folder with config.json, found none")
        module = kind.from_config(kind.load_config(folder, local_files_only=True))
        self.reports_[folder.name] = load_strictly(module, read_checkpoint(folder, DIFFUSERS_FILES))
        return module

    def _vae_factor(self) -> int:
        return 2 ** (len(self.vae.module.config.block_out_channels) - 1)


def _scheduler_settings(path: Path) -> dict[str, Any]:
    from diffusers import DDIMScheduler

    folder = path / "scheduler"
    if not (folder / "scheduler_config.json").is_file():
        raise DataError(f"{folder}: expected scheduler_config.json, found none")
    return dict(DDIMScheduler.load_config(folder, local_files_only=True))
