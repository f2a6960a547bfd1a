"""Small convolutional networks for few trials. Legend: B batch, S channels, T time, F filters."""

from __future__ import annotations

import torch
from torch import nn

from braindec.types import DataError


class CompactConv(nn.Module):
    """Filters over time, each with its own filters over channels, then a separable convolution: (B, S, T) -> (B, W).

    Parameters
    ----------
    n_filters, kernel : temporal filters and their length in samples (odd).
    n_spatial : spatial filters of each temporal one.
    pool : samples averaged after the spatial filters.
    second_kernel : length of the separable convolution, in pooled samples (odd).

    Raises
    ------
    DataError
        If features are not channels x time, a kernel is even, or time is shorter than ``pool``.

    Source: EEGNet (Lawhern et al. 2018, table 2), without its second pooling and norm limits.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        n_filters: int = 8,
        kernel: int = 33,
        n_spatial: int = 2,
        pool: int = 8,
        second_kernel: int = 7,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        n_channels, n_times = _checked(in_shape, (kernel, second_kernel), pool, "CompactConv")
        width = n_filters * n_spatial
        self.layers = nn.Sequential(
            nn.Conv2d(1, n_filters, (1, kernel), padding=(0, kernel // 2), bias=False),
            nn.BatchNorm2d(n_filters),
            nn.Conv2d(n_filters, width, (n_channels, 1), groups=n_filters, bias=False),
            nn.BatchNorm2d(width),
            nn.ELU(),
            nn.AvgPool2d((1, pool)),
            nn.Dropout(dropout),
            nn.Conv2d(width, width, (1, second_kernel), padding=(0, second_kernel // 2), groups=width, bias=False),
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ELU(),
            nn.Dropout(dropout),
            nn.Flatten(),
        )
        self.out_shape = (width * (n_times // pool),)

    def forward(self, features_BST: torch.Tensor) -> torch.Tensor:
        """Latent (B, W)."""
        return self.layers(features_BST[:, None])


class SpatialTemporalConv(nn.Module):
    """Mixtures of channels, then filters over time, then pooling: (B, S, T) -> (B, W).

    The first map is linear over channels only, so that many channels cost little; good for averaged responses.

    Parameters
    ----------
    n_spatial : mixtures of channels.
    n_filters, kernel : filters over time and mixtures, and their length in samples (odd).
    pool : samples averaged.

    Raises
    ------
    DataError
        If features are not channels x time, the kernel is even, or time is shorter than ``pool``.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        n_spatial: int = 32,
        n_filters: int = 32,
        kernel: int = 5,
        pool: int = 4,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        n_channels, n_times = _checked(in_shape, (kernel,), pool, "SpatialTemporalConv")
        self.layers = nn.Sequential(
            nn.Conv1d(n_channels, n_spatial, 1, bias=False),
            nn.BatchNorm1d(n_spatial),
            nn.Conv1d(n_spatial, n_filters, kernel, padding=kernel // 2),
            nn.BatchNorm1d(n_filters),
            nn.ELU(),
            nn.AvgPool1d(pool),
            nn.Dropout(dropout),
            nn.Flatten(),
        )
        self.out_shape = (n_filters * (n_times // pool),)

    def forward(self, features_BST: torch.Tensor) -> torch.Tensor:
        """Latent (B, W)."""
        return self.layers(features_BST)


def _checked(in_shape: tuple[int, ...], kernels: tuple[int, ...], pool: int, name: str) -> tuple[int, int]:
    if len(in_shape) != 2:
        raise DataError(f"{name}: expected features (channels, time), found {in_shape}")
    if any(kernel % 2 == 0 for kernel in kernels):
        raise DataError(f"{name}: expected odd kernels, found {kernels}")
    if in_shape[1] < pool:
        raise DataError(f"{name}.pool: {in_shape[1]} time points are fewer than {pool}; choose a smaller pool")
    return in_shape[0], in_shape[1]
