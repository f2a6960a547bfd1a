"""Heads of an encoder that gives queries. Legend: B batch, Q queries, W width, K tokens, D embedding dimensions."""

from __future__ import annotations

import torch
from torch import nn

from braindec.models.heads.output import HeadOutput
from braindec.types import DataError


class QueriesHead(nn.Module):
    """The queries themselves: (B, Q, W) -> (B, K, D) with Q = K and W = D, a language model's states.

    Raises
    ------
    DataError
        If the target has another shape than the queries.
    """

    def __init__(self, in_shape: tuple[int, ...], shape_KD: tuple[int, int]) -> None:
        super().__init__()
        if tuple(in_shape) != tuple(shape_KD):
            raise DataError(
                f"QueriesHead: the encoder gives {tuple(in_shape)}, the target is {tuple(shape_KD)}; set "
                "decoder.encoder.n_queries and out_width to the target's"
            )

    def forward(self, latent_BQW: torch.Tensor) -> HeadOutput:
        """Value and contrast, the same."""
        return HeadOutput(latent_BQW, latent_BQW)


class PooledHead(nn.Module):
    """Mean over queries, layer norm, linear map: (B, Q, W) -> (B, K, D)."""

    def __init__(self, in_shape: tuple[int, ...], shape_KD: tuple[int, int]) -> None:
        super().__init__()
        self.shape_KD = shape_KD
        self.layers = nn.Sequential(nn.LayerNorm(in_shape[-1]), nn.Linear(in_shape[-1], shape_KD[0] * shape_KD[1]))

    def forward(self, latent_BQW: torch.Tensor) -> HeadOutput:
        """Value and contrast, the same."""
        value_BKD = self.layers(latent_BQW.mean(dim=1)).unflatten(1, self.shape_KD)
        return HeadOutput(value_BKD, value_BKD)


class NothingHead(nn.Module):
    """Zeros, for a target that objectives read and nothing predicts (tokens to be written)."""

    def __init__(self, in_shape: tuple[int, ...], shape_KD: tuple[int, int]) -> None:
        super().__init__()
        self.shape_KD = shape_KD

    def forward(self, latent_BQW: torch.Tensor) -> HeadOutput:
        """Zeros."""
        zeros_BKD = latent_BQW.new_zeros((len(latent_BQW), *self.shape_KD))
        return HeadOutput(zeros_BKD, zeros_BKD)
