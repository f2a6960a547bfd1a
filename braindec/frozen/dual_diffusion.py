"""Latent diffusion guided by image tokens, text tokens, or both, and optionally by depth.

Legend: n pictures, K tokens, D dimensions, C latent channels, h w latent height and width.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from braindec.contracts import Progress, no_progress
from braindec.frozen.base import Dtype
from braindec.frozen.images import to_uint8
from braindec.frozen.loading import LoadReport, load_strictly, read_checkpoint
from braindec.frozen.vae import AutoencoderKL
from braindec.frozen.weights import resolve
from braindec.types import DataError

_FILES = ("diffusion_pytorch_model*.safetensors", "diffusion_pytorch_model*.bin")
CONDITIONING = "conditioning.json"


@dataclass(frozen=True)
class Stream:
    """One kind of conditioning: ``tokens`` rows of ``dim`` values, multiplied by ``scale`` before the U-Net sees them.

    ``network`` and ``output`` say what makes them: a folder relative to the diffusion's own, and its output's name.
    """

    name: str
    tokens: int
    dim: int
    scale: float
    network: str
    output: str


class DualDiffusion:
    """Generates pictures from token streams by DDIM and classifier-free guidance.

    A folder of weights holds ``unet``, ``scheduler``, optionally ``controlnet`` (all as diffusers writes them) and
    ``conditioning.json``, which names the streams and the VAE. The U-Net attends to all streams, one after another;
    an absent stream is zeros, and so is every stream of the unconditional pass.

    Parameters
    ----------
    weights : hub id or folder.
    device, dtype, batch_size : as in `braindec.frozen.base.FrozenNetwork`.
    steps : DDIM steps of a whole walk; image-to-image takes the last ``strength`` of them.
    guidance : weight of classifier-free guidance; 1 is none.

    Source: Ho and Salimans 2022 (arXiv:2207.12598); Song et al. 2021 (DDIM); Zhang et al. 2023 (ControlNet);
    terminal noise as in Lin et al. 2024 (arXiv:2305.08891).
    """

    def __init__(
        self,
        weights: str,
        device: str = "cpu",
        dtype: Dtype = "float32",
        batch_size: int = 32,
        steps: int = 30,
        guidance: float = 3.0,
    ) -> None:
        self.weights = weights
        self.device = device
        self.dtype = dtype
        self.batch_size = batch_size
        self.steps = steps
        self.guidance = guidance
        self.reports_: dict[str, LoadReport] = {}
        self._parts: dict[str, Any] | None = None

    @property
    def parts(self) -> dict[str, Any]:
        """``unet``, ``scheduler``, ``vae``, ``streams`` and, if there is one, ``controlnet``; loaded on first use."""
        if self._parts is None:
            self._parts = self._load(resolve(self.weights))
        return self._parts

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The streams that the U-Net attends to, in order."""
        return self.parts["streams"]

    def _load(self, path: Path) -> dict[str, Any]:
        from diffusers import ControlNetModel, DDIMScheduler, UNet2DConditionModel

        streams, vae = read_conditioning(path)
        parts: dict[str, Any] = {"streams": streams, "scheduler": DDIMScheduler.from_pretrained(path / "scheduler")}
        parts["unet"] = self._network(UNet2DConditionModel, path / "unet")
        if (path / "controlnet").is_dir():
            parts["controlnet"] = self._network(ControlNetModel, path / "controlnet")
        size = parts["unet"].config.sample_size
        parts["vae"] = AutoencoderKL(str(path / vae), self.device, self.dtype, self.batch_size)
        scale = 2 ** (len(parts["vae"].module.config.block_out_channels) - 1)
        parts["vae"].image_size = size * scale
        return parts

    def _network(self, kind: Any, folder: Path) -> nn.Module:
        if not (folder / "config.json").is_file():
            raise DataError(f"{folder}: expected a diffusers folder with config.json, found none")
        module = kind.from_config(kind.load_config(folder, local_files_only=True))
        self.reports_[folder.name] = load_strictly(module, read_checkpoint(folder, _FILES))
        torch_dtype = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[self.dtype]
        return nn.Module.to(module.eval().requires_grad_(False), self.device, torch_dtype)

    def generate(
        self,
        conditions: Mapping[str, np.ndarray],
        seeds: Sequence[int],
        images: np.ndarray | None = None,
        strength: float = 1.0,
        depth: np.ndarray | None = None,
        control: float = 1.0,
        progress: Progress = no_progress,
    ) -> np.ndarray:
        """Pictures uint8 (n, H, W, 3), one a seed; a picture depends on its own seed and conditions only.

        Parameters
        ----------
        conditions : stream name -> tokens (n, K, D); streams that are not given are absent.
        images : uint8 (n, H, W, 3) to start from, with ``strength`` in (0, 1] of the walk; 1 starts from noise.
        depth : (n, H, W) in [0, 1], nearer is larger, with ``control`` the weight of the ControlNet.

        Raises
        ------
        DataError
            If a stream is unknown or of another shape, or depth is given without a ControlNet.
        """
        n = len(seeds)
        _check(conditions, self.streams, n)
        if depth is not None and "controlnet" not in self.parts:
            raise DataError(f"{self.weights}: depth was given, but there is no controlnet in the folder")
        if not 0 < strength <= 1:
            raise DataError(f"strength: expected a value above 0 and at most 1, found {strength}")
        found = []
        with torch.inference_mode():
            for start in progress(range(0, n, self.batch_size), "diffusion"):
                rows = slice(start, start + self.batch_size)
                noise = self._noise(seeds[rows])
                context = self._context({name: values[rows] for name, values in conditions.items()}, len(noise))
                begin = None if images is None else self._latents(images[rows])
                guide = None if depth is None else self._depth(depth[rows])
                latents = self._walk(noise, context, begin, strength, guide, control)
                found.append(to_uint8(self.parts["vae"].decode_latents(latents)))
        return np.concatenate(found)

    def _walk(
        self,
        noise_nChw: Tensor,
        context_nKD: Tensor,
        begin_nChw: Tensor | None,
        strength: float,
        depth_n1HW: Tensor | None,
        control: float,
    ) -> Tensor:
        scheduler, unet = self.parts["scheduler"], self.parts["unet"]
        scheduler.set_timesteps(self.steps, device=self.device)
        times = scheduler.timesteps
        latents = noise_nChw
        if begin_nChw is not None and strength < 1:
            times = times[self.steps - max(1, round(self.steps * strength)) :]
            latents = scheduler.add_noise(begin_nChw, noise_nChw, times[:1].expand(len(noise_nChw)))
        guided = self.guidance != 1
        context = torch.cat([context_nKD, torch.zeros_like(context_nKD)]) if guided else context_nKD
        depth = torch.cat([depth_n1HW] * 2) if guided and depth_n1HW is not None else depth_n1HW
        for step in times:
            inputs = torch.cat([latents] * 2) if guided else latents
            extra: dict[str, Any] = {}
            if depth is not None:
                down, middle = self.parts["controlnet"](
                    inputs, step, context, controlnet_cond=depth, conditioning_scale=control, return_dict=False
                )
                extra = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
            output = unet(inputs, step, context, **extra).sample
            if guided:
                given, without = output.chunk(2)
                output = without + self.guidance * (given - without)
            latents = scheduler.step(output, step, latents).prev_sample
        return latents

    def _noise(self, seeds: Sequence[int]) -> Tensor:
        unet = self.parts["unet"]
        side = unet.config.sample_size
        shape = (unet.config.in_channels, side, side)
        rows = [torch.randn(shape, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
        return torch.stack(rows).to(self.device, unet.dtype)

    def _context(self, conditions: Mapping[str, np.ndarray], n: int) -> Tensor:
        parts = []
        for stream in self.streams:
            if stream.name in conditions:
                values = torch.as_tensor(np.asarray(conditions[stream.name], dtype=np.float32) * stream.scale)
            else:
                values = torch.zeros(n, stream.tokens, stream.dim)
            parts.append(values)
        return torch.cat(parts, dim=1).to(self.device, self.parts["unet"].dtype)

    def _latents(self, images: np.ndarray) -> Tensor:
        values = self.parts["vae"].encode_batch(images)
        side = self.parts["unet"].config.sample_size
        return values.unflatten(2, (side, side)).to(self.parts["unet"].dtype)

    def _depth(self, depth: np.ndarray) -> Tensor:
        values = torch.as_tensor(np.asarray(depth, dtype=np.float32), device=self.device).unsqueeze(1)
        side = self.parts["vae"].image_size
        if values.shape[-2:] != (side, side):
            values = torch.nn.functional.interpolate(values, (side, side), mode="bilinear", antialias=True)
        return values.to(self.parts["unet"].dtype)


def read_conditioning(path: Path) -> tuple[tuple[Stream, ...], str]:
    """The streams of a diffusion's folder, and where its VAE is, relative to it; raises `DataError` if unreadable."""
    file = path / CONDITIONING
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        return tuple(Stream(**entry) for entry in settings["streams"]), str(settings["vae"])
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError(
            f"{file}: expected the conditioning of a dual-guided diffusion, could not read it ({error})"
        ) from error


def _check(conditions: Mapping[str, np.ndarray], streams: Sequence[Stream], n: int) -> None:
    known = {stream.name: stream for stream in streams}
    for name, values in conditions.items():
        if name not in known:
            raise DataError(f"conditions: unknown stream {name!r}; the network has {sorted(known)}")
        expected = (n, known[name].tokens, known[name].dim)
        if values.shape != expected:
            raise DataError(f"conditions: stream {name!r} must be {expected}, found {values.shape}")
