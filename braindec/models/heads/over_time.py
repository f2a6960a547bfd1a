"""A head that keeps the axis of time. Legend: B batch, C channels, T time, K tokens, D embedding dimensions."""

from __future__ import annotations

import torch
from torch import nn

from braindec.models.heads.output import HeadOutput
from braindec.types import DataError


class TimeHead(nn.Module):
    """Two convolutions of length 1 at every time point: (B, C, T) -> (B, K, D), a target with one token a time point.

    A target with fewer time points than the encoder gets means over as many stretches: 120 Hz targets of 1024 dims
    take 1.5 MB a segment, at 20 Hz a sixth of it.

    ``hidden`` is the width between the convolutions, None for twice the encoder's.
    Source: Defossez et al. 2023, section 2.3 (320 -> 640, GELU, 640 -> the target's dimensions).

    Raises
    ------
    DataError
        If the target's number of time points does not divide the encoder's.
    """

    def __init__(self, in_shape: tuple[int, ...], shape_KD: tuple[int, int], hidden: int | None = None) -> None:
        super().__init__()
        if len(in_shape) != 2 or in_shape[1] % shape_KD[0]:
            raise DataError(
                f"TimeHead: the encoder gives (channels, time) {in_shape}, the target has {shape_KD[0]} time points; "
                "give the target the recording's sampling rate or a whole part of it "
                "(targets.NAME.network.output_rate_hz), and the encoder aggregation=none"
            )
        width = hidden or 2 * in_shape[0]
        self.stretch = in_shape[1] // shape_KD[0]
        self.layers = nn.Sequential(nn.Conv1d(in_shape[0], width, 1), nn.GELU(), nn.Conv1d(width, shape_KD[1], 1))

    def forward(self, latent_BCT: torch.Tensor) -> HeadOutput:
        """Value and contrast, the same."""
        value_BDT = self.layers(latent_BCT)
        if self.stretch > 1:
            value_BDT = nn.functional.avg_pool1d(value_BDT, self.stretch)
        value_BKD = value_BDT.transpose(1, 2)
        return HeadOutput(value_BKD, value_BKD)
