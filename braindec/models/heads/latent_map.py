"""A head for the latents of an image autoencoder. Legend: B batch, W width, C channels, P pixels a side."""

from __future__ import annotations

import itertools
import math

import torch
from torch import nn

from braindec.models.heads.output import HeadOutput
from braindec.models.shapes import flat_size
from braindec.types import DataError


class LatentMapHead(nn.Module):
    """A small map, upsampled by convolutions: (B, W) -> (B, C, P * P), a target with one token a latent channel.

    Source: MindEye2's low-level branch (``blin1``, 64 channels of 7 x 7, two doublings), with plain residual-free
    convolutions in place of the autoencoder's decoder.

    Raises
    ------
    DataError
        If the target is not a square map whose side divides by four.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        shape_KD: tuple[int, int],
        channels: tuple[int, int, int] = (128, 64, 32),
        n_first: int = 64,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        side = math.isqrt(shape_KD[1])
        if side * side != shape_KD[1] or side % 4:
            raise DataError(
                f"LatentMapHead: expected a target (channels, side * side), side / 4 whole, found {shape_KD}"
            )
        self.small = (n_first, side // 4, side // 4)
        self.linear = nn.Linear(flat_size(in_shape), flat_size(self.small))
        self.norm = nn.Sequential(nn.Dropout(dropout), nn.Unflatten(1, self.small), nn.GroupNorm(1, n_first))
        widths = (n_first, *channels)
        layers: list[nn.Module] = []
        for i, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
            layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.GroupNorm(1, n_out), nn.SiLU()]
            if i < 2:
                layers.append(nn.Upsample(scale_factor=2, mode="nearest"))
        self.upsample = nn.Sequential(*layers, nn.Conv2d(channels[-1], shape_KD[0], 3, padding=1))

    def forward(self, latent: torch.Tensor) -> HeadOutput:
        """Value and contrast, the same."""
        maps = self.upsample(self.norm(self.linear(latent.flatten(1))))
        value_BKD = maps.flatten(2)
        return HeadOutput(value_BKD, value_BKD)
