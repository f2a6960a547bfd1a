"""A transformer over tokens: patches of a volume, or parcels scan by scan.

Legend: B batch, K tokens, V values of a token, W width.
Source: Dosovitskiy et al. 2021 (ViT: norm first, class token, learnt positions); Radford et al. 2019 (GPT-2: causal);
Thomas et al. 2022 (athms/learning-from-brains: a class scan after the others).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from braindec.types import DataError

Pooling = Literal["class", "last", "mean", "class_scan", "concat"]
Activation = Literal["gelu", "gelu_tanh"]


class TransformerBlock(nn.Module):
    """Norm, self-attention, norm, perceptron, each with a residual: (B, K, W) -> (B, K, W)."""

    def __init__(self, width: int, n_heads: int, hidden: int, dropout: float, activation: Activation = "gelu") -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        bend = nn.GELU(approximate="tanh" if activation == "gelu_tanh" else "none")
        self.mlp = nn.Sequential(nn.Linear(width, hidden), bend, nn.Linear(hidden, width), nn.Dropout(dropout))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, tokens_BKW: torch.Tensor, seen: torch.Tensor | None, causal: bool, kept: slice | None = None
    ) -> torch.Tensor:
        """Tokens, or those of ``kept`` alone, after attention to all.

        ``seen`` is a mask (B, 1, 1, K) of the tokens that may be attended to, or None for all; ``causal`` goes with all
        tokens only.
        """
        batch, n_tokens, _ = tokens_BKW.shape
        qkv = self.qkv(self.norm_attention(tokens_BKW)).view(batch, n_tokens, 3, self.n_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        if kept is not None:
            query, tokens_BKW = query[:, :, kept], tokens_BKW[:, kept]
        attended = nn.functional.scaled_dot_product_attention(
            query, key, value, seen, dropout_p=self.dropout.p if self.training else 0.0, is_causal=causal
        )
        tokens_BKW = tokens_BKW + self.dropout(self.out(attended.transpose(1, 2).flatten(2)))
        return tokens_BKW + self.mlp(self.norm_mlp(tokens_BKW))


class TokenTransformer(nn.Module):
    """Tokens through a transformer into one latent: (B, K, V) -> (B, W).

    Parameters
    ----------
    width, depth, n_heads : W, blocks, and heads that W divides by.
    hidden : width of the blocks' perceptrons; None takes 4 W.
    pooling : ``class`` the token that stands before the others, ``mean`` over tokens, ``last`` the last token through
        a linear map and tanh, ``class_scan`` the same of a learnt token (of V values) that stands after the others,
        ``concat`` all tokens one after another, (B, K * W): what is read of a patch may then depend on its place.
    causal : each token sees itself and those before it only; needs a pooling whose token sees all: ``last`` or
        ``class_scan``.
    skip_empty : tokens that are wholly 0 (patches without a voxel) are left out of attention and mean.
    n_positions : places that have a learnt position; None: as many as there are tokens. More, so that an encoder
        pre-trained on long sequences reads short ones.
    activation : of the blocks' perceptrons; ``gelu_tanh`` is GPT-2's.

    Raises
    ------
    DataError
        If features are not tokens, heads do not divide the width, there are more tokens than positions, or ``causal``
        meets another pooling or ``skip_empty``.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        width: int = 768,
        depth: int = 12,
        n_heads: int = 12,
        hidden: int | None = None,
        dropout: float = 0.1,
        pooling: Pooling = "class",
        causal: bool = False,
        skip_empty: bool = False,
        n_positions: int | None = None,
        activation: Activation = "gelu",
    ) -> None:
        super().__init__()
        if len(in_shape) != 2:
            raise DataError(f"TokenTransformer: expected features (token, value), found {in_shape}")
        if width % n_heads:
            raise DataError(f"TokenTransformer: expected a width that {n_heads} heads divide, found {width}")
        if causal and (pooling not in ("last", "class_scan") or skip_empty):
            raise DataError(
                "TokenTransformer.causal: needs pooling=last or class_scan without skip_empty; others see too few"
            )
        n_tokens, n_values = in_shape
        if n_positions is not None and n_tokens > n_positions:
            raise DataError(
                f"TokenTransformer.n_positions: {n_tokens} tokens (scans), but positions for {n_positions}; raise it, "
                "or take fewer scans"
            )
        self.pooling: Pooling = pooling
        self.causal, self.skip_empty = causal, skip_empty
        self.n_tokens = n_tokens
        self.embed = nn.Sequential(nn.Linear(n_values, width), nn.LayerNorm(width))
        self.dropout = nn.Dropout(dropout)
        self.position = nn.Parameter(0.02 * torch.randn(n_positions or n_tokens, width))
        self.first = nn.Parameter(0.02 * torch.randn(1, width)) if pooling == "class" else None
        self.class_scan = nn.Parameter(torch.randn(1, n_values)) if pooling == "class_scan" else None
        self.class_position = nn.Parameter(0.02 * torch.randn(1, width)) if pooling == "class_scan" else None
        width_of_mlp = 4 * width if hidden is None else hidden
        self.blocks = nn.ModuleList(
            TransformerBlock(width, n_heads, width_of_mlp, dropout, activation) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.pool: nn.Module = nn.Identity()
        if pooling in ("last", "class_scan"):
            self.pool = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Dropout(dropout))
        self.out_shape = (n_tokens * width,) if pooling == "concat" else (width,)

    def tokens(self, tokens_BKV: torch.Tensor) -> torch.Tensor:
        """Every token as the blocks leave it, before pooling: (B, K, W), without a class token."""
        tokens = self._through(self._embedded(tokens_BKV), None, None)
        return tokens if self.pooling != "class" else tokens[:, 1:]

    def forward(self, tokens_BKV: torch.Tensor) -> torch.Tensor:
        """Latent (B, W)."""
        seen_BK = (tokens_BKV != 0).any(dim=2) if self.skip_empty else None
        tokens = self._embedded(tokens_BKV)
        if self.class_scan is not None:
            asked = self.dropout(self.embed(self.class_scan) + self.class_position)
            tokens = torch.cat([tokens, asked.expand(len(tokens), 1, -1)], dim=1)
        if self.first is not None and seen_BK is not None:
            seen_BK = nn.functional.pad(seen_BK, (1, 0), value=True)
        mask = None if seen_BK is None else seen_BK[:, None, None]
        if self.pooling == "class":
            return self._through(tokens, mask, slice(0, 1))[:, 0]
        if self.pooling in ("last", "class_scan"):
            return self.pool(self._through(tokens, mask, slice(-1, None))[:, 0])
        tokens = self._through(tokens, mask, None)
        if self.pooling == "concat":
            return (tokens if seen_BK is None else tokens * seen_BK[:, :, None]).flatten(1)
        if seen_BK is None:
            return tokens.mean(dim=1)
        weight_BK = seen_BK.to(tokens.dtype)
        return torch.einsum("bkw,bk->bw", tokens, weight_BK) / weight_BK.sum(dim=1, keepdim=True).clamp(min=1)

    def _embedded(self, tokens_BKV: torch.Tensor) -> torch.Tensor:
        tokens = self.dropout(self.embed(tokens_BKV) + self.position[: tokens_BKV.shape[1]])
        if self.first is not None:
            tokens = torch.cat([self.first.expand(len(tokens), 1, -1), tokens], dim=1)
        return tokens

    def _through(self, tokens: torch.Tensor, mask: torch.Tensor | None, kept: slice | None) -> torch.Tensor:
        """Tokens after all blocks; where one is kept, the last block makes nothing else. That one sees all others."""
        whole = len(self.blocks) if kept is None else len(self.blocks) - 1
        for block in self.blocks[:whole]:
            tokens = block(tokens, mask, self.causal)
        for block in self.blocks[whole:]:
            tokens = block(tokens, mask, False, kept)
        return self.norm(tokens)
