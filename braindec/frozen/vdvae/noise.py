"""Noise that belongs to an image, not to its batch: one seed an image, one draw for all latent layers.

Legend: N images, Z latent channels, H W height and width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from braindec.frozen.noise import noise_of
from braindec.frozen.vdvae.config import VDVAEConfig


@dataclass(frozen=True)
class PixelNoise:
    """Uniform noise in [0, 1] of the output distribution: (N, M, H, W) and (N, 3, H, W)."""

    component: Tensor
    pixel: Tensor


def image_seeds(images: np.ndarray, seed: int) -> list[int]:
    """One seed an image from its own pixels and ``seed``: an image's noise never depends on its neighbours."""
    digests = (
        hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=8, key=str(seed).encode())
        for image in images
    )
    return [int.from_bytes(digest.digest(), "little") >> 1 for digest in digests]


def latent_noise(
    config: VDVAEConfig, seeds: Sequence[int], layers: range, device: torch.device | str, draw_on: str = "cpu"
) -> list[Tensor]:
    """Standard-normal noise (N, Z, H, W) of the given consecutive layers, on ``device``.

    Parameters
    ----------
    layers : layers that are drawn; the list returned has empty tensors for those before them.
    draw_on : device whose generator draws; ``"cpu"`` gives the same pictures on every machine, ``"cuda"`` is faster.
    """
    sizes = config.latent_sizes()
    specs = config.decoder_specs()
    drawn = sizes[layers.start : layers.stop]
    parts = noise_of(seeds, (sum(drawn),), device, draw_on=draw_on).split(list(drawn), dim=1)
    shaped = [
        part.reshape(len(seeds), config.latent_channels, specs[layer].resolution, specs[layer].resolution)
        for layer, part in zip(layers, parts, strict=True)
    ]
    return [torch.empty(0)] * layers.start + shaped


def pixel_noise(
    config: VDVAEConfig, seeds: Sequence[int], device: torch.device | str, draw_on: str = "cpu"
) -> PixelNoise:
    """Noise of the output distribution, on ``device``; seeds are offset so that it differs from the latents'."""
    shape = (config.mixtures + 3, config.image_size, config.image_size)
    offset = [(seed + 1) % 2**63 for seed in seeds]
    component, pixel = noise_of(offset, shape, device, "uniform", draw_on).split([config.mixtures, 3], dim=1)
    return PixelNoise(component, pixel)
