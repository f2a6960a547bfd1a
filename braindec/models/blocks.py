"""Small blocks that several networks use. Legend: B batch, F features."""

from __future__ import annotations

import torch
from torch import nn


class Residual(nn.Module):
    """``x + block(x)``."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """The sum."""
        return values + self.block(values)


def norm_block(n_in: int, n_out: int, dropout: float) -> nn.Sequential:
    """Linear, layer norm, GELU, dropout: (B, n_in) -> (B, n_out)."""
    return nn.Sequential(nn.Linear(n_in, n_out), nn.LayerNorm(n_out), nn.GELU(), nn.Dropout(dropout))


def contrast_projector(n_features: int, hidden: int, activate: bool = True) -> nn.Sequential:
    """The three-layer projector of MindEye and STTM, token by token: (..., F) -> (..., F).

    Source: MedARC-AI/MindEyeV2 ``BrainNetwork.projector``; YulongBonjour/STTM ``projector``.
    """
    first = [nn.LayerNorm(n_features), nn.GELU()] if activate else [nn.LayerNorm(n_features)]
    return nn.Sequential(
        *first,
        nn.Linear(n_features, hidden),
        nn.LayerNorm(hidden),
        nn.GELU(),
        nn.Linear(hidden, hidden),
        nn.LayerNorm(hidden),
        nn.GELU(),
        nn.Linear(hidden, n_features),
    )


def initialise_normal(module: nn.Module, std: float) -> None:
    """Draw weights of convolutions and linear maps from N(0, std), of batch norms from N(1, std).

    Source: eeyhsong/NICE-EEG ``weights_init_normal``.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv1d | nn.Conv2d | nn.Linear):
            nn.init.normal_(part.weight, 0.0, std)
        elif isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(part.weight, 1.0, std)
