"""Linear adapters. Legend: B batch, S space, T time, W width."""

from __future__ import annotations

import torch
from torch import nn

from braindec.models.blocks import Residual, norm_block
from braindec.models.shapes import SignalShape


class LinearAdapter(nn.Module):
    """Flatten and map linearly: (B, S, T) -> (B, W)."""

    def __init__(self, signal: SignalShape, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(signal.n_values, width), nn.Dropout(dropout))
        self.out_shape = (width,)

    def forward(self, signal_BST: torch.Tensor) -> torch.Tensor:
        """Features (B, W)."""
        return self.layers(signal_BST)


class RidgeAdapter(LinearAdapter):
    """A linear adapter whose weights decay by ``weight_decay``, whatever the rest of the network does.

    Source: MindEye2 (Scotti et al. 2024), shared-subject ridge layer.
    """

    def __init__(self, signal: SignalShape, width: int, weight_decay: float) -> None:
        super().__init__(signal, width)
        self.weight_decay = weight_decay


class ResidualAdapter(nn.Module):
    """Linear, layer norm, GELU and dropout, then residual blocks: (B, S, T) -> (B, W).

    Source: See Through Their Minds (YulongBonjour/STTM), ``input_proj`` and ``input_res_block``.
    """

    def __init__(
        self,
        signal: SignalShape,
        width: int,
        n_blocks: int = 1,
        dropout: float = 0.5,
        block_dropout: float = 0.15,
    ) -> None:
        super().__init__()
        blocks = [Residual(norm_block(width, width, block_dropout)) for _ in range(n_blocks)]
        self.layers = nn.Sequential(nn.Flatten(), norm_block(signal.n_values, width, dropout), *blocks)
        self.out_shape = (width,)

    def forward(self, signal_BST: torch.Tensor) -> torch.Tensor:
        """Features (B, W)."""
        return self.layers(signal_BST)
