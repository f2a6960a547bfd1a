"""Stretches of time become tokens, after a token that says who reads.

Legend: B batch, S space, T time, K tokens, W width.
"""

from __future__ import annotations

import torch
from torch import nn

from braindec.models.shapes import SignalShape
from braindec.types import DataError


class TimeTokens(nn.Module):
    """Each stretch of ``patch`` samples as one token, after the subject's prompt: (B, S, T) -> (B, 1 + K, W).

    Source: GLIM (tokens of width 128 and a prompt embedding; code ours).

    Raises
    ------
    DataError
        If ``patch`` does not divide the number of time points.
    """

    def __init__(self, signal: SignalShape, width: int = 128, patch: int = 1) -> None:
        super().__init__()
        if patch < 1 or signal.n_times % patch:
            raise DataError(
                f"TimeTokens.patch: {patch} does not divide the {signal.n_times} time points; choose another"
            )
        self.project = nn.Conv1d(signal.n_space, width, patch, stride=patch)
        self.prompt = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.out_shape = (1 + signal.n_times // patch, width)

    def forward(self, signal_BST: torch.Tensor) -> torch.Tensor:
        """Tokens, the prompt first."""
        tokens_BKW = self.project(signal_BST).transpose(1, 2)
        return torch.cat([self.prompt.expand(len(tokens_BKW), -1, -1), tokens_BKW], dim=1)
