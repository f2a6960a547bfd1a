"""What a latent diffusion network offers to the sampler, whatever its family.

Legend: n pictures, K tokens, D dimensions, C latent channels, h w latent height and width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from braindec.frozen.base import Dtype
from braindec.frozen.dual_diffusion import Stream
from braindec.frozen.loading import LoadReport, load_strictly, read_checkpoint
from braindec.frozen.noise import noise_of
from braindec.frozen.vae import AutoencoderKL
from braindec.frozen.weights import resolve
from braindec.stages.diffusion.conditioning import Conditioning
from braindec.stages.diffusion.halves import Halves
from braindec.stages.diffusion.regions import compile_regions
from braindec.types import DataError

_VAE_BATCH = 16
DIFFUSERS_FILES = ("diffusion_pytorch_model*.safetensors", "diffusion_pytorch_model*.bin")


class DiffusionModel(ABC):
    """A frozen U-Net with its VAE, its scheduler's settings and its kinds of conditioning.

    Parameters
    ----------
    weights : hub id or folder in diffusers' layout.
    dtype : type of weights and activations; latents between steps stay float32.
    compiled : compile the repeated blocks of U-Net and VAE for the device (implies ``channels_last``; worth its minute
        on a whole test set).
    channels_last : memory layout that convolutions on GPUs prefer.
    image_size : side of the pictures in pixels; None is what the U-Net was made for.

    Attributes
    ----------
    reports_ : what each part's checkpoint gave, after loading.
    """

    def __init__(
        self,
        weights: str,
        dtype: Dtype = "float32",
        compiled: bool = False,
        channels_last: bool = False,
        image_size: int | None = None,
    ) -> None:
        self.weights = weights
        self.dtype: Dtype = dtype
        self.compiled = compiled
        self.channels_last = channels_last
        self.image_size = image_size
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

    def noise_levels(self, path: Path) -> dict[str, Any]:
        """The settings of the folder's scheduler."""
        from diffusers import DDIMScheduler

        folder = path / "scheduler"
        if not (folder / "scheduler_config.json").is_file():
            raise DataError(f"{folder}: expected scheduler_config.json, found none")
        return dict(DDIMScheduler.load_config(folder, local_files_only=True))

    def timesteps(self, steps: int) -> list[int] | None:
        """Timesteps of a walk of so many steps, from most noise to least; None leaves them to the scheduler."""
        return None

    def encode_texts(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Conditionings float32 (n, K, D) of texts, by name, as the network's own text encoders make them.

        Raises
        ------
        DataError
            If the network has no text encoder.
        """
        raise DataError(f"{self.weights}: {type(self).__name__} has no text encoder; condition it on predicted tokens")

    def on(self, device: str) -> Self:
        """Load on first use, and move to a device; returns itself."""
        self.device = device
        if self._unet is None:
            path = resolve(self.weights)
            self._unet = self.load_unet(path).eval().requires_grad_(False)
            self.scheduler_settings = self.noise_levels(path)
            self.vae = AutoencoderKL(str(self.vae_place(path)), device, self.dtype, batch_size=_VAE_BATCH)
            self.vae.image_size = self.image_size or self._unet.config.sample_size * self._vae_factor()
            self.halves = self.make_halves(path)
            self._absent = {stream.name: self.absent(stream) for stream in self.streams()}
            if self.compiled:
                for part in self._parts():
                    compile_regions(part)
        for part in self._parts():
            # The plain method: diffusers' own warns of a dtype that is meant.
            nn.Module.to(part, device, self.vae.torch_dtype)
            if self.compiled or self.channels_last:
                nn.Module.to(part, memory_format=torch.channels_last)
        self.vae.to(device)
        return self

    def make_halves(self, path: Path) -> Halves:
        """What evaluates the network."""
        return Halves(self._unet)

    def _parts(self) -> list[nn.Module]:
        parts = [self._unet, self.vae.module, self.halves.control]
        return [part for part in parts if part is not None]

    @property
    def unet_dtype(self) -> torch.dtype:
        """Type of the network's inputs."""
        return self.vae.torch_dtype

    def latent_shape(self) -> tuple[int, int, int]:
        """(C, h, w) of one picture's latents."""
        side = self.vae.image_size // self._vae_factor()
        return self.vae.module.config.latent_channels, side, side

    def conditioning(self, conditions: Mapping[str, np.ndarray], seeds: Sequence[int]) -> Conditioning:
        """What the network is given for pictures of these seeds; streams that are not given are `absent`.

        Raises
        ------
        DataError
            If a stream is unknown, or its tokens have another shape than the network was trained with.
        """
        return Conditioning(self.tokens(self.checked(conditions, len(seeds)), len(seeds)))

    def contrast(self, given: Conditioning, seeds: Sequence[int]) -> Conditioning:
        """What guidance leads away from: the same with every stream absent."""
        return replace(given, tokens_nKD=self.tokens({}, len(seeds)))

    def checked(self, conditions: Mapping[str, np.ndarray], n: int) -> Mapping[str, np.ndarray]:
        """The conditions, after checking names and shapes against `streams`."""
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
        return conditions

    def first_noise(self, seeds: Sequence[int]) -> Tensor:
        """Standard-normal noise float32 (n, C, h, w), row i from seed i alone."""
        return noise_of(seeds, self.latent_shape(), self.device)

    def tokens(self, conditions: Mapping[str, np.ndarray], n: int) -> Tensor:
        """Tokens (n, K, D) of the streams that attention reads, one after another."""
        parts = []
        for stream in self.streams():
            if stream.name not in self.attended:
                continue
            # What is absent is the same for every picture: it is placed once, not copied for each batch.
            values = conditions.get(stream.name, self._absent[stream.name][None])
            scaled = np.asarray(values, np.float32) * np.float32(stream.scale)
            parts.append(self.placed(scaled).expand(n, -1, -1))
        return torch.cat(parts, dim=1)

    @property
    def attended(self) -> tuple[str, ...]:
        """Names of the streams that attention reads."""
        return tuple(stream.name for stream in self.streams())

    def placed(self, values: Tensor | np.ndarray) -> Tensor:
        """On the network's device, in its type."""
        return torch.as_tensor(values).to(self.device, self.unet_dtype)

    def encode_images(self, images: np.ndarray) -> Tensor:
        """Pictures uint8 (n, H, W, 3) of any size -> latents float32 (n, C, h, w): the posterior's mean."""
        channels, height, width = self.latent_shape()
        parts = [self.vae.encode_batch(images[rows]).float() for rows in self._vae_rows(len(images))]
        return torch.cat(parts)[: len(images)].reshape(len(images), channels, height, width)

    def as_latents(self, values_NCD: np.ndarray) -> Tensor:
        """Predicted latents (N, C, side * side) of any size -> start latents float32 (N, C, h, w) on the CPU.

        Raises
        ------
        DataError
            If they are no square maps of the VAE's channels.
        """
        channels, height, width = self.latent_shape()
        side = round(values_NCD.shape[2] ** 0.5)
        if values_NCD.shape[1] != channels or side * side != values_NCD.shape[2]:
            raise DataError(
                f"{self.weights}: start latents must be (picture, {channels}, side * side), found {values_NCD.shape}"
            )
        latents = torch.as_tensor(np.asarray(values_NCD, np.float32)).unflatten(2, (side, side))
        return nn.functional.interpolate(latents, (height, width), mode="bilinear") if side != height else latents

    def decode_latents(self, latents_nChw: Tensor) -> Tensor:
        """Latents -> pixels (n, 3, H, W) in [-1, 1]."""
        latents_nChw = latents_nChw.to(self.vae.torch_dtype)
        parts = [self.vae.decode_latents(latents_nChw[rows]) for rows in self._vae_rows(len(latents_nChw))]
        return torch.cat(parts)[: len(latents_nChw)]

    def _vae_rows(self, n: int) -> list[np.ndarray]:
        """Rows of a few pictures at a time: at 512 px more than 31 overflow the indices of some kernels.

        Compiled, the last few are filled up with the first, so that one shape serves all.
        """
        size = min(self.vae.batch_size, n)
        rows = [np.arange(start, min(start + size, n)) for start in range(0, n, size)]
        return [np.resize(np.append(part, np.arange(n)), size) for part in rows] if self.compiled else rows

    def load_part(self, kind: Any, folder: Path) -> Any:
        """A diffusers network of a known class from a folder; raises `DataError` if it does not fit."""
        if not (folder / "config.json").is_file():
            raise DataError(f"{folder}: expected a diffusers folder with config.json, found none")
        module = kind.from_config(kind.load_config(folder, local_files_only=True))
        self.reports_[folder.name] = load_strictly(module, read_checkpoint(folder, DIFFUSERS_FILES))
        return module

    def _vae_factor(self) -> int:
        return 2 ** (len(self.vae.module.config.block_out_channels) - 1)
