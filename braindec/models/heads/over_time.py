"""A head that keeps the axis of time. Legend: B batch, C channels, T time, K tokens, D embedding dimensions."""

from __future__ import annotations

import torch
from torch import nn

from braindec.models.heads.output import HeadOutput
from braindec.types import DataError


class TimeHead(nn.Module):
    """Two convolutions of length 1 at every time point: (B, C, T) -> (B, T, D), a target with one token a time point.

    ``hidden`` is the width between them, None for twice the encoder's.
    Source: Defossez et al. 2023, section 2.3 (320 -> 640, GELU, 640 -> the target's dimensions).

    Raises
    ------
    DataError
        If the target has another number of time points than the encoder's output.
    """

    def __init__(self, in_shape: tuple[int, ...], shape_KD: tuple[int, int], hidden: int | None = None) -> None:
        super().__init__()
        if len(in_shape) != 2 or in_shape[1] != shape_KD[0]:
            raise DataError(
                f"TimeHead: the encoder gives (channels, time) {in_shape}, the target has {shape_KD[0]} time points; "
                "give the target the recording's sampling rate (targets.NAME.network.output_rate_hz), and the encoder "
                "aggregation=none"
            )
        width = hidden or 2 * in_shape[0]
        self.layers = nn.Sequential(nn.Conv1d(in_shape[0], width, 1), nn.GELU(), nn.Conv1d(width, shape_KD[1], 1))

    def forward(self, latent_BCT: torch.Tensor) -> HeadOutput:
        """Value and contrast, the same."""
        value_BTD = self.layers(latent_BCT).transpose(1, 2)
        return HeadOutput(value_BTD, value_BTD)
