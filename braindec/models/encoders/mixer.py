"""MLP mixer over (M, W) features. Legend: B batch, M time points of fMRI or tokens, W width."""

from __future__ import annotations

import torch
from torch import nn

from braindec.models.shapes import flat_size
from braindec.types import DataError


def _mixing(n_features: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(n_features),
        nn.Linear(n_features, n_features),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(n_features, n_features),
    )


class MixerEncoder(nn.Module):
    """Blocks that mix features, then tokens: (B, W) or (B, M, W) -> (B, M * W).

    Source: MindEye2 (Scotti et al. 2024; MedARC-AI/MindEyeV2, ``BrainNetwork``). With one token (M = 1, as there) its
    token mixing sees a layer norm of a single number, which is constant; it is kept because the weights are published.
    """

    def __init__(self, in_shape: tuple[int, ...], n_blocks: int = 4, dropout: float = 0.15) -> None:
        super().__init__()
        if len(in_shape) not in (1, 2):
            raise DataError(f"MixerEncoder: expected features (W,) or (M, W), found {in_shape}")
        width = in_shape[-1]
        n_tokens = in_shape[0] if len(in_shape) == 2 else 1
        self.width = width
        self.features = nn.ModuleList(_mixing(width, dropout) for _ in range(n_blocks))
        self.tokens = nn.ModuleList(_mixing(n_tokens, dropout) for _ in range(n_blocks))
        self.out_shape = (flat_size(in_shape),)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Latent (B, M * W)."""
        values_BMW = features.reshape(len(features), -1, self.width)
        # Each of the two mixings carries its own residual stream, as in the source.
        stream_BMW, stream_BWM = values_BMW, values_BMW.transpose(1, 2)
        for mix_features, mix_tokens in zip(self.features, self.tokens):
            values_BMW = mix_features(values_BMW) + stream_BMW
            stream_BMW = values_BMW
            values_BWM = mix_tokens(values_BMW.transpose(1, 2)) + stream_BWM
            stream_BWM = values_BWM
            values_BMW = values_BWM.transpose(1, 2)
        return values_BMW.flatten(1)
