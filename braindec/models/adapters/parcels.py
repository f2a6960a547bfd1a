"""Whole-brain parcels over time. Legend: B batch, S parcels, T time points (scans)."""

from __future__ import annotations

import torch
from torch import nn

from braindec.models.shapes import SignalShape
from braindec.types import DataError


class ParcelSequence(nn.Module):
    """Scans as a sequence, one token of all parcels a time point: (B, S, T) -> (B, T, S).

    Nothing is learned: parcels of one atlas mean the same in every subject.

    Parameters
    ----------
    n_parcels : parcels of the atlas, checked; None takes what there is.
    dropout : in training, so large a share of all values is set to 0 (sparse coding); the others are not rescaled.
    shuffle : in training, scans of a trial come in a random order.

    Raises
    ------
    DataError
        If the signal does not have ``n_parcels`` positions.

    Source: WAVE (PPWangyc/WAVE, ``FVL._transform_fmri``).
    """

    def __init__(
        self, signal: SignalShape, n_parcels: int | None = None, dropout: float = 0.0, shuffle: bool = False
    ) -> None:
        super().__init__()
        if n_parcels is not None and signal.n_space != n_parcels:
            raise DataError(
                f"ParcelSequence.n_parcels: expected {n_parcels} parcels, found {signal.n_space} positions; "
                "average the recording in the atlas's parcels first, or set n_parcels"
            )
        self.dropout = dropout
        self.shuffle = shuffle
        self.out_shape = (signal.n_times, signal.n_space)

    def forward(self, signal_BST: torch.Tensor) -> torch.Tensor:
        """The sequence."""
        sequence_BTS = signal_BST.transpose(1, 2)
        if self.training and self.dropout:
            sequence_BTS = sequence_BTS * (torch.rand_like(sequence_BTS) >= self.dropout)
        if self.training and self.shuffle:
            order_BT = torch.rand(sequence_BTS.shape[:2], device=signal_BST.device).argsort(dim=1)
            sequence_BTS = sequence_BTS.gather(1, order_BT[:, :, None].expand_as(sequence_BTS))
        return sequence_BTS
