"""Residual multilayer perceptron. Legend: B batch, W width."""

from __future__ import annotations

import torch
from torch import nn

from braindec.models.blocks import Residual, norm_block
from braindec.models.shapes import flat_size


class ResidualMLP(nn.Module):
    """Residual blocks of linear, layer norm, GELU, dropout: (B, W) -> (B, W).

    With ``width`` a first block maps inputs of any shape to that width.
    Source: Brain-Diffuser's successors MindEye and MindBridge (``ResMLP``), STTM (``mlp``).
    """

    def __init__(
        self, in_shape: tuple[int, ...], n_blocks: int = 4, dropout: float = 0.15, width: int | None = None
    ) -> None:
        super().__init__()
        n_in = flat_size(in_shape)
        first = [] if width is None else [norm_block(n_in, width, dropout)]
        n_hidden = n_in if width is None else width
        blocks = [Residual(norm_block(n_hidden, n_hidden, dropout)) for _ in range(n_blocks)]
        self.layers = nn.Sequential(nn.Flatten(), *first, *blocks)
        self.out_shape = (n_hidden,)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Latent (B, W)."""
        return self.layers(features)


class NoEncoder(nn.Module):
    """The features as they are, for systems whose adapter and head do all the work."""

    def __init__(self, in_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.out_shape = in_shape

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """The features."""
        return features
