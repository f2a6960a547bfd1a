"""Temporal, then spatial convolution, as in NICE, and ATM, which puts a transformer over channels before it.

Legend: B batch, S channels, T time, F filters, W width of a token.
"""

from __future__ import annotations

import torch
from torch import nn

from braindec.models.blocks import initialise_normal
from braindec.types import DataError


class TemporalSpatialConv(nn.Module):
    """Convolution over time, average pooling, convolution over all channels: (B, S, T) -> (B, W).

    Parameters
    ----------
    n_filters, kernel, pool, pool_step : 40 filters of 25 samples, pooled over 51 samples every 5 (at 250 Hz).
    init_std : standard deviation of the initial weights; None keeps torch's defaults.

    Source: NICE (Song et al. 2024; eeyhsong/NICE-EEG, ``PatchEmbedding``).
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        n_filters: int = 40,
        kernel: int = 25,
        pool: int = 51,
        pool_step: int = 5,
        dropout: float = 0.5,
        init_std: float | None = None,
    ) -> None:
        super().__init__()
        n_channels, n_times = in_shape
        n_pooled = (n_times - kernel + 1 - pool) // pool_step + 1
        if n_times < kernel + pool - 1:
            raise DataError(
                f"TemporalSpatialConv: needs at least {kernel + pool - 1} time points, found {n_times}; choose a "
                "shorter kernel or pool, or a longer window"
            )
        self.layers = nn.Sequential(
            nn.Conv2d(1, n_filters, (1, kernel)),
            nn.AvgPool2d((1, pool), (1, pool_step)),
            nn.BatchNorm2d(n_filters),
            nn.ELU(),
            nn.Conv2d(n_filters, n_filters, (n_channels, 1)),
            nn.BatchNorm2d(n_filters),
            nn.ELU(),
            nn.Dropout(dropout),
            nn.Conv2d(n_filters, n_filters, (1, 1)),
        )
        if init_std is not None:
            initialise_normal(self, init_std)
        self.pool, self.pool_step = pool, pool_step
        self.out_shape = (n_filters * n_pooled,)

    def forward(self, features_BST: torch.Tensor) -> torch.Tensor:
        """Latent (B, W): filters fastest, as in the source."""
        return self.layers[2:](self.pooled(features_BST))[:, :, 0].transpose(1, 2).flatten(1)

    def pooled(self, features_BST: torch.Tensor) -> torch.Tensor:
        """What the first two layers give, (B, F, S, T'), as one convolution: a mean of outputs is one of kernels.

        The outputs at every time point, several times as many as the pooled ones, are never made.
        """
        temporal: nn.Conv2d = self.layers[0]  # type: ignore[assignment]
        mean = torch.full((1, 1, self.pool), 1 / self.pool, device=features_BST.device, dtype=temporal.weight.dtype)
        kernel_FK = nn.functional.conv1d(temporal.weight[:, :, 0], mean, padding=self.pool - 1)[:, 0]
        windows_BSTK = features_BST.unfold(2, kernel_FK.shape[1], self.pool_step)
        return nn.functional.linear(windows_BSTK, kernel_FK, temporal.bias).permute(0, 3, 1, 2)


class ChannelAttention(nn.Module):
    """One transformer layer over channel tokens, norm last: (B, 1 + S, W) -> (B, 1 + S, W).

    Queries, keys and values have ``n_heads * (W // n_heads)`` dimensions, which may be fewer than W.
    Source: ATM's ``EncoderLayer`` (an iTransformer).
    """

    def __init__(self, width: int, n_heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        inner = n_heads * (width // n_heads)
        self.n_heads = n_heads
        self.qkv = nn.Linear(width, 3 * inner)
        self.out = nn.Linear(inner, width)
        self.norm_attention, self.norm_mlp, self.norm_last = (nn.LayerNorm(width) for _ in range(3))
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width), nn.Dropout(dropout)
        )
        self.dropout = nn.Dropout(dropout)
        self.attention_dropout = dropout

    def forward(self, tokens_BNW: torch.Tensor) -> torch.Tensor:
        """Tokens of the same shape."""
        batch, n_tokens, _ = tokens_BNW.shape
        qkv = self.qkv(tokens_BNW).view(batch, n_tokens, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(
            qkv[0], qkv[1], qkv[2], dropout_p=self.attention_dropout if self.training else 0.0
        )
        attended = self.out(attended.transpose(1, 2).reshape(batch, n_tokens, -1))
        tokens = self.norm_attention(tokens_BNW + self.dropout(attended))
        return self.norm_last(self.norm_mlp(tokens + self.mlp(tokens)))


class ATMEncoder(nn.Module):
    """Attention over channels, then temporal-spatial convolution: tokens (B, 1 + S, W) -> (B, W').

    The subject's token (the first) takes part in the attention and is dropped before the convolution. The published
    code keeps the first S of 1 + S tokens there, which drops the last channel and convolves the subject's token.

    Source: ATM (Li et al. 2024; dongyangli-del/EEG_Image_decode, ``ATMS``).
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        n_heads: int = 4,
        hidden: int = 256,
        dropout: float = 0.25,
        n_filters: int = 40,
        kernel: int = 25,
        pool: int = 51,
        pool_step: int = 5,
    ) -> None:
        super().__init__()
        n_tokens, width = in_shape
        self.attention = ChannelAttention(width, n_heads, hidden, dropout)
        self.convolution = TemporalSpatialConv((n_tokens - 1, width), n_filters, kernel, pool, pool_step)
        self.out_shape = self.convolution.out_shape

    def forward(self, tokens_BNW: torch.Tensor) -> torch.Tensor:
        """Latent (B, W')."""
        return self.convolution(self.attention(tokens_BNW)[:, 1:])
