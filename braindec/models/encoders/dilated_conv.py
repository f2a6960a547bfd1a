"""Residual dilated convolutions over time, then temporal aggregation. Legend: B batch, C channels, T time, W width.

Source: Defossez et al. 2023 (section 2.3) and Benchetrit et al. 2024; sizes as `SimpleConv` and `SimpleConvTimeAgg` of
Meta's neuraltrain (MIT).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from braindec.types import DataError

Aggregation = Literal["mean", "linear", "attention", "none"]


class ConvBlock(nn.Module):
    """Dilated convolution, batch norm, GELU, dropout, residual where shapes allow, and optionally a gate."""

    def __init__(
        self, n_in: int, n_out: int, kernel: int, dilation: int, dropout: float, gate: bool, gate_context: int
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(n_in, n_out, kernel, padding=kernel // 2 * dilation, dilation=dilation),
            nn.BatchNorm1d(n_out),
            nn.GELU(),
            nn.Dropout(dropout),
        )
        self.residual = n_in == n_out
        self.gate: nn.Module = nn.Identity()
        if gate:
            self.gate = nn.Sequential(
                nn.Conv1d(n_out, 2 * n_out, 1 + 2 * gate_context, padding=gate_context), nn.GLU(dim=1)
            )

    def forward(self, values_BCT: torch.Tensor) -> torch.Tensor:
        """Values (B, n_out, T)."""
        result = self.layers(values_BCT)
        return self.gate(result + values_BCT if self.residual else result)


class AttentionOverTime(nn.Module):
    """Weighted mean over time, weights from a small network of each time point: (B, C, T) -> (B, C).

    Source: Bahdanau et al. 2015, equation 6, without a query.
    """

    def __init__(self, n_channels: int, hidden: int = 256) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(n_channels, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, values_BCT: torch.Tensor) -> torch.Tensor:
        """Means (B, C)."""
        weights_BT = self.score(values_BCT.transpose(1, 2))[..., 0].softmax(dim=1)
        return torch.einsum("bct,bt->bc", values_BCT, weights_BT)


class DilatedConvEncoder(nn.Module):
    """Convolutions with growing dilation, then aggregation over time: (B, C, T) -> (B, W), or (B, W, T) with ``none``.

    Parameters
    ----------
    hidden, depth, kernel : channels, number of convolutions and their length (odd).
    dilation_growth, dilation_period : dilation of convolution i is growth^(i mod period).
    gate_every, gate_context : a gated convolution follows every so many; 0 for none.
    width : output channels (1 x 1 convolutions to twice ``hidden``, then to ``width``); None keeps ``hidden``.
    aggregation : how the axis of time is reduced.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        hidden: int = 320,
        depth: int = 10,
        kernel: int = 3,
        dilation_growth: int = 2,
        dilation_period: int = 5,
        gate_every: int = 2,
        gate_context: int = 1,
        dropout: float = 0.0,
        width: int | None = None,
        aggregation: Aggregation = "attention",
    ) -> None:
        super().__init__()
        if len(in_shape) != 2:
            raise DataError(f"DilatedConvEncoder: expected features (channels, time), found {in_shape}")
        if kernel % 2 == 0:
            raise DataError(f"DilatedConvEncoder.kernel: expected an odd length, found {kernel}")
        n_channels, n_times = in_shape
        blocks = []
        for i in range(depth):
            dilation = dilation_growth ** (i % dilation_period)
            gate = gate_every > 0 and (i + 1) % gate_every == 0
            blocks.append(
                ConvBlock(n_channels if i == 0 else hidden, hidden, kernel, dilation, dropout, gate, gate_context)
            )
        self.blocks = nn.Sequential(*blocks)
        self.project: nn.Module = nn.Identity()
        if width is not None:
            self.project = nn.Sequential(nn.Conv1d(hidden, 2 * hidden, 1), nn.GELU(), nn.Conv1d(2 * hidden, width, 1))
        n_out = width or hidden
        self.aggregate: nn.Module = nn.Identity()
        if aggregation == "linear":
            self.aggregate = nn.Sequential(nn.Linear(n_times, 1), nn.Flatten())
        elif aggregation == "attention":
            self.aggregate = AttentionOverTime(n_out)
        elif aggregation == "mean":
            self.aggregate = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten())
        self.out_shape: tuple[int, ...] = (n_out, n_times) if aggregation == "none" else (n_out,)

    def forward(self, features_BCT: torch.Tensor) -> torch.Tensor:
        """Latent."""
        return self.aggregate(self.project(self.blocks(features_BCT)))
