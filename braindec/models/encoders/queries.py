"""Learned queries that read a recording: blocks conditioned by a prompt, then causal decoder blocks.

Legend: B batch, K tokens of the recording, Q queries, W width, D width of the output.

Source: GLIM (6 adaLN blocks of width 128, 96 queries through 6 causal decoder blocks, to 1024; code ours); adaptive
layer norm of Peebles & Xie 2023 (DiT), section 3.2.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from braindec.types import DataError


def sinusoids(n_positions: int, width: int) -> torch.Tensor:
    """Sine and cosine positions (n_positions, width). Source: Vaswani et al. 2017, section 3.5."""
    position = torch.arange(n_positions)[:, None]
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    table = torch.zeros(n_positions, width)
    table[:, 0::2] = torch.sin(position * rate)
    table[:, 1::2] = torch.cos(position * rate)[:, : width // 2]
    return table


class Attention(nn.Module):
    """Multi-head attention of tokens over others, through torch's fused kernel."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens_BQW: torch.Tensor, others_BKW: torch.Tensor, causal: bool = False) -> torch.Tensor:
        """Tokens (B, Q, W)."""
        query = self.query(tokens_BQW).unflatten(2, (self.n_heads, -1)).transpose(1, 2)
        key, value = self.key_value(others_BKW).unflatten(2, (2, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
        return self.out(mixed.transpose(1, 2).flatten(2))


def perceptron(width: int, ratio: int, dropout: float) -> nn.Sequential:
    """Two linear maps with GELU between them."""
    return nn.Sequential(
        nn.Linear(width, ratio * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(ratio * width, width)
    )


class PromptedBlock(nn.Module):
    """Self-attention and perceptron; a prompt scales, shifts and gates their layer norms. The identity at first."""

    def __init__(self, width: int, n_heads: int, ratio: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(2))
        self.attention = Attention(width, n_heads)
        self.mlp = perceptron(width, ratio, dropout)
        last = nn.Linear(width, 6 * width)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.modulate = nn.Sequential(nn.SiLU(), last)

    def forward(self, tokens_BKW: torch.Tensor, prompt_BW: torch.Tensor) -> torch.Tensor:
        """Tokens (B, K, W)."""
        scale, shift, gate, scale_2, shift_2, gate_2 = self.modulate(prompt_BW)[:, None].chunk(6, dim=2)
        normed = self.norms[0](tokens_BKW) * (1 + scale) + shift
        tokens_BKW = tokens_BKW + gate * self.attention(normed, normed)
        normed = self.norms[1](tokens_BKW) * (1 + scale_2) + shift_2
        return tokens_BKW + gate_2 * self.mlp(normed)


class QueryBlock(nn.Module):
    """Causal self-attention of the queries, attention to the recording, perceptron."""

    def __init__(self, width: int, n_heads: int, ratio: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.own = Attention(width, n_heads)
        self.cross = Attention(width, n_heads)
        self.mlp = perceptron(width, ratio, dropout)

    def forward(self, queries_BQW: torch.Tensor, tokens_BKW: torch.Tensor) -> torch.Tensor:
        """Queries (B, Q, W)."""
        normed = self.norms[0](queries_BQW)
        queries_BQW = queries_BQW + self.own(normed, normed, causal=True)
        queries_BQW = queries_BQW + self.cross(self.norms[1](queries_BQW), tokens_BKW)
        return queries_BQW + self.mlp(self.norms[2](queries_BQW))


class QueryEncoder(nn.Module):
    """Tokens of a recording, the first of them its prompt, to learned queries: (B, 1 + K, W) -> (B, Q, D).

    Parameters
    ----------
    depth, query_depth : prompted blocks over the recording, and decoder blocks of the queries.
    n_queries, out_width : Q and D, those of the language model's states.
    n_heads, ratio, dropout : of every block.

    Raises
    ------
    DataError
        If the input has no axis of tokens, or the heads do not divide its width.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        depth: int = 6,
        query_depth: int = 6,
        n_queries: int = 96,
        out_width: int = 1024,
        n_heads: int = 8,
        ratio: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if len(in_shape) != 2 or in_shape[0] < 2 or in_shape[1] % n_heads:
            raise DataError(
                f"QueryEncoder: expected tokens (1 + K, W) with W a multiple of {n_heads} heads, found {in_shape}; use "
                "the adapter TimeTokens"
            )
        width = in_shape[1]
        self.position: torch.Tensor
        self.register_buffer("position", sinusoids(in_shape[0] - 1, width), persistent=False)
        self.blocks = nn.ModuleList(PromptedBlock(width, n_heads, ratio, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.queries = nn.Parameter(0.02 * torch.randn(n_queries, width))
        self.decoder = nn.ModuleList(QueryBlock(width, n_heads, ratio, dropout) for _ in range(query_depth))
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, out_width))
        self.out_shape = (n_queries, out_width)

    def forward(self, tokens_BKW: torch.Tensor) -> torch.Tensor:
        """Queries (B, Q, D)."""
        prompt_BW, recording_BKW = tokens_BKW[:, 0], tokens_BKW[:, 1:] + self.position
        for block in self.blocks:
            recording_BKW = block(recording_BKW, prompt_BW)
        recording_BKW = self.norm(recording_BKW)
        queries_BQW = self.queries.expand(len(tokens_BKW), -1, -1)
        for block in self.decoder:
            queries_BQW = block(queries_BQW, recording_BKW)
        return self.out(queries_BQW)
