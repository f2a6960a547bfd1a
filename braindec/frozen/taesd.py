"""The TAESD family of tiny autoencoders; parameter names are those of madebyollin/taesd.

Legend: N images, C latent channels, H W height and width.

Source: madebyollin/taesd taesd.py (architecture and parameter layout).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from braindec.types import DataError

WIDTH = 64
LATENT_LIMIT = 3.0
_POOL_GROUPS = 4


class TinyBlock(nn.Module):
    """Residual block of three 3x3 convolutions; with ``pooled``, a normalised 1x1 branch is added before it."""

    def __init__(self, pooled: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(3):
            layers += [nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.ReLU()]
        self.conv = nn.Sequential(*layers[:-1])
        if pooled:
            inner = WIDTH * _POOL_GROUPS
            self.pool: nn.Module | None = nn.Sequential(
                nn.Conv2d(WIDTH, inner, 1, bias=False),
                nn.GroupNorm(_POOL_GROUPS, inner),
                nn.ReLU(),
                nn.Conv2d(inner, WIDTH, 1, bias=False),
            )
        else:
            self.pool = None

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Apply the block."""
        if self.pool is not None:
            x_NCHW = x_NCHW + self.pool(x_NCHW)
        return torch.relu(self.conv(x_NCHW) + x_NCHW)


class _SoftClamp(nn.Module):
    """Keeps latents within +-3, smoothly."""

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return torch.tanh(x_NCHW / LATENT_LIMIT) * LATENT_LIMIT


class TinyEncoder(nn.Sequential):
    """Pixels in [0, 1], (N, 3, 8 H, 8 W) -> latents (N, C, H, W)."""

    def __init__(self, latent_channels: int, pooled: bool) -> None:
        layers: list[nn.Module] = [nn.Conv2d(3, WIDTH, 3, padding=1), TinyBlock(False)]
        for stage in range(3):
            layers.append(nn.Conv2d(WIDTH, WIDTH, 3, stride=2, padding=1, bias=False))
            layers += [TinyBlock(pooled and stage == 2) for _ in range(3)]
        super().__init__(*layers, nn.Conv2d(WIDTH, latent_channels, 3, padding=1))

    @classmethod
    def like(cls, state: Mapping[str, Tensor]) -> TinyEncoder:
        """The encoder that a checkpoint's shapes call for."""
        return cls(_channels(state, "14.weight", 0), any(".pool." in key for key in state))


class TinyDecoder(nn.Sequential):
    """Latents (N, C, H, W) -> pixels around [0, 1], (N, 3, 8 H, 8 W)."""

    def __init__(self, latent_channels: int, pooled: bool) -> None:
        layers: list[nn.Module] = [_SoftClamp(), nn.Conv2d(latent_channels, WIDTH, 3, padding=1), nn.ReLU()]
        for stage in range(3):
            layers += [TinyBlock(pooled and stage == 0) for _ in range(3)]
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)]
        super().__init__(*layers, TinyBlock(False), nn.Conv2d(WIDTH, 3, 3, padding=1))

    @classmethod
    def like(cls, state: Mapping[str, Tensor]) -> TinyDecoder:
        """The decoder that a checkpoint's shapes call for."""
        return cls(_channels(state, "1.weight", 1), any(".pool." in key for key in state))


def _channels(state: Mapping[str, Tensor], key: str, axis: int) -> int:
    if key not in state or state[key].ndim != 4:
        raise DataError(f"tiny autoencoder: expected a convolution {key!r} in the checkpoint, found none")
    return state[key].shape[axis]
