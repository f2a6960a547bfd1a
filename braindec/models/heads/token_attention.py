"""STTM's head: tokens that attend to each other. Legend: B batch, W width, K tokens, E token width, D dimensions."""

from __future__ import annotations

import torch
from torch import nn

from braindec.models.blocks import contrast_projector
from braindec.models.heads.output import HeadOutput
from braindec.models.shapes import flat_size


class TokenAttentionHead(nn.Module):
    """Latent to narrow tokens, self-attention over tokens, perceptron to the target's width: (B, W) -> (B, K, D).

    Parameters
    ----------
    token_width : width E of a token before the perceptron.
    n_heads, attention_width : heads, and dimensions of all queries, keys and values together.
    projector_width : hidden width of the contrast path's projector.

    Source: See Through Their Minds (YulongBonjour/STTM, ``hidd2token``, ``SelfAttention_with_MLP``, ``projector``).
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        shape_KD: tuple[int, int],
        token_width: int = 128,
        n_heads: int = 8,
        attention_width: int = 768,
        projector_width: int = 2048,
        dropout: float = 0.15,
        attention_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        n_tokens, n_dimensions = shape_KD
        n_in = flat_size(in_shape)
        self.token_width, self.n_heads, self.attention_dropout = token_width, n_heads, attention_dropout
        self.to_tokens = nn.Sequential(
            nn.Flatten(), nn.LayerNorm(n_in), nn.GELU(), nn.Linear(n_in, n_tokens * token_width)
        )
        self.norm_before, self.norm_after = nn.LayerNorm(token_width), nn.LayerNorm(token_width)
        self.qkv = nn.Linear(token_width, 3 * attention_width)
        self.out = nn.Linear(attention_width, token_width)
        self.dropout = nn.Dropout(dropout)
        self.mlp = nn.Sequential(
            nn.Linear(token_width, 2 * n_dimensions),
            nn.LayerNorm(2 * n_dimensions),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * n_dimensions, n_dimensions),
        )
        self.projector = contrast_projector(n_dimensions, projector_width)

    def forward(self, latent: torch.Tensor) -> HeadOutput:
        """Value and contrast."""
        tokens_BKE = self.to_tokens(latent).unflatten(1, (-1, self.token_width))
        batch, n_tokens, _ = tokens_BKE.shape
        qkv = self.qkv(self.norm_before(tokens_BKE)).view(batch, n_tokens, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(
            qkv[0], qkv[1], qkv[2], dropout_p=self.attention_dropout if self.training else 0.0
        )
        attended = self.out(attended.transpose(1, 2).reshape(batch, n_tokens, -1))
        value_BKD = self.mlp(self.norm_after(tokens_BKE + self.dropout(attended)))
        return HeadOutput(value_BKD, self.projector(value_BKD))
