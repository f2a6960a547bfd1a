"""MindBridge's adapter: any number of voxels, pooled to one length, and the way back.

Legend: B batch, S space, T time, V pooled length, M values of a window, W width.
Source: MindBridge (Wang et al. 2024; littlepure2333/MindBridge, ``src/models.py``).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from braindec.models.shapes import SignalShape
from braindec.types import DataError


class Bottleneck(nn.Module):
    """Residual down-ReLU-up map that starts as the identity: (B, V) -> (B, V)."""

    def __init__(self, n_features: int, width: int) -> None:
        super().__init__()
        self.down = nn.Linear(n_features, width)
        self.up = nn.Linear(width, n_features)
        for parameter in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(parameter)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Values of the same shape."""
        return values + self.up(torch.relu(self.down(values)))


def pooling_windows(n_values: int, n_windows: int) -> torch.Tensor:
    """Values that each window of an adaptive pooling looks at: int64 (V, M); short windows repeat their last value.

    Torch's own pooling kernel gives each row of a batch to few processors, which takes longer than the adapter itself.
    """
    window_V = np.arange(n_windows, dtype=np.int64)
    first_V = window_V * n_values // n_windows
    last_V = -(-(window_V + 1) * n_values // n_windows) - 1
    longest = int((last_V - first_V).max()) + 1
    return torch.from_numpy(np.minimum(first_V[:, None] + np.arange(longest), last_V[:, None]))


class PooledAdapter(nn.Module):
    """Adaptive max-pooling to ``pooled_size`` values, bottleneck, then an embedding: (B, S, T) -> (B, W).

    Raises `DataError` when the signal has fewer values than ``pooled_size``: pooling would repeat values.
    """

    def __init__(
        self, signal: SignalShape, pooled_size: int, width: int, bottleneck: int = 128, dropout: float = 0.5
    ) -> None:
        super().__init__()
        if signal.n_values < pooled_size:
            raise DataError(
                f"PooledAdapter.pooled_size: expected at most the {signal.n_values} values of a trial, "
                f"found {pooled_size}; choose a smaller pooled_size"
            )
        self.register_buffer("window_VM", pooling_windows(signal.n_values, pooled_size), persistent=False)
        self.embedding = nn.Sequential(
            Bottleneck(pooled_size, bottleneck),
            nn.Linear(pooled_size, width),
            nn.LayerNorm(width),
            nn.GELU(),
            nn.Dropout(dropout),
        )
        self.out_shape = (width,)
        self.reduced_size = pooled_size
        self.bottleneck = bottleneck

    def reduce(self, signal_BST: torch.Tensor) -> torch.Tensor:
        """The pooled signal (B, V) that a builder rebuilds."""
        window_VM: torch.Tensor = self.window_VM  # type: ignore[assignment]
        return signal_BST.flatten(1)[:, window_VM].amax(dim=2)

    def embed(self, pooled_BV: torch.Tensor) -> torch.Tensor:
        """Features (B, W) of a pooled signal."""
        return self.embedding(pooled_BV)

    def forward(self, signal_BST: torch.Tensor) -> torch.Tensor:
        """Features (B, W)."""
        return self.embed(self.reduce(signal_BST))


class PooledBuilder(nn.Module):
    """Rebuilds a subject's pooled signal from shared features: (B, W) -> (B, V)."""

    def __init__(self, adapter: PooledAdapter) -> None:
        super().__init__()
        pooled_size = adapter.reduced_size
        self.layers = nn.Sequential(
            nn.Linear(adapter.out_shape[0], pooled_size),
            nn.LayerNorm(pooled_size),
            nn.GELU(),
            Bottleneck(pooled_size, adapter.bottleneck),
        )

    def forward(self, features_BW: torch.Tensor) -> torch.Tensor:
        """The rebuilt pooled signal."""
        return self.layers(features_BW)
