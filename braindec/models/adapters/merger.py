"""Spatial attention over sensor positions: any montage becomes the same virtual channels.

Legend: B batch, S sensors, T time, C virtual channels, P position features, A axes of a position.
Source: Defossez et al. 2023, equations 1-3; Meta's neuraltrain (MIT), ``FourierEmb`` and ``ChannelMerger``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from braindec.models.adapters.channels import noisy
from braindec.models.shapes import SignalShape
from braindec.types import DataError

MARGIN = 0.2
"""Positions in [0, 1] lie inside one period of 1 + 2 margins, so that opposite edges differ."""


def flat_positions(positions_m: np.ndarray) -> np.ndarray:
    """Sensor places (S, 3) in metres -> float32 (S, 2) in [0, 1], seen from above.

    Azimuthal equidistant projection about the centre of the sensors: the distance from the middle is the angle from
    the vertical, so that sensors low on the head stay apart. Both axes are scaled by the same factor.
    """
    centred = positions_m - (positions_m.max(axis=0) + positions_m.min(axis=0)) / 2
    horizontal = np.hypot(centred[:, 0], centred[:, 1])
    angle = np.arctan2(horizontal, centred[:, 2])
    direction = centred[:, :2] / np.maximum(horizontal, 1e-12)[:, None]
    plane = direction * angle[:, None]
    low, high = plane.min(axis=0), plane.max(axis=0)
    scale = max(float((high - low).max()), 1e-12)
    return ((plane - (high + low) / 2) / scale + 0.5).astype(np.float32)


def fourier_features(positions_SA: torch.Tensor, n_frequencies: int) -> torch.Tensor:
    """Cosine and sine of every combination of ``n_frequencies`` frequencies an axis: (S, A) -> (S, 2 * n^A)."""
    rates = 2 * math.pi * torch.arange(n_frequencies, device=positions_SA.device) / (1 + 2 * MARGIN)
    phases_SAF = (positions_SA + MARGIN)[..., None] * rates
    total = phases_SAF[:, 0]
    for axis in range(1, positions_SA.shape[1]):
        total = (total[:, :, None] + phases_SAF[:, axis, None, :]).flatten(1)
    return torch.cat([torch.cos(total), torch.sin(total)], dim=1)


class ChannelMerger(nn.Module):
    """A stem: virtual channels as attention-weighted means of sensors, the weights a function of place only.

    Parameters
    ----------
    signals : subject -> shape of its signal; each needs places of its sensors.
    n_virtual : number C of virtual channels.
    n_features : number P of position features, 2 * (an integer squared).
    dropout : in training, sensors within this distance (in units of the head's width) of a random place are left out.
    n_channels : a 1 x 1 convolution to as many channels follows; None for none.
    noise : in training, white noise of this SD, in units of the signal's SD over the batch, is added at the sensors.

    Raises
    ------
    DataError
        If a subject's sensors have no places, or ``n_features`` is not 2 * n^2.
    """

    def __init__(
        self,
        signals: Mapping[str, SignalShape],
        n_virtual: int = 270,
        n_features: int = 2048,
        dropout: float = 0.2,
        n_channels: int | None = None,
        noise: float = 0.0,
    ) -> None:
        super().__init__()
        n_frequencies = math.isqrt(n_features // 2)
        if 2 * n_frequencies**2 != n_features:
            raise DataError(f"ChannelMerger.n_features: expected 2 * n * n, found {n_features}")
        self.heads = nn.Parameter(torch.randn(n_virtual, n_features) / math.sqrt(n_features))
        self.dropout = dropout
        self.noise = noise
        self.project = nn.Identity() if n_channels is None else nn.Conv1d(n_virtual, n_channels, 1)
        self.n_out = n_channels or n_virtual
        self.places = nn.ParameterDict()
        self.features = nn.ParameterDict()
        for subject, signal in signals.items():
            if signal.positions_m is None:
                raise DataError(
                    f"subject {subject!r}: ChannelMerger needs the places of its sensors (Space.positions_m), found "
                    "none; give the reader a montage, or use a decoder without a merger"
                )
            if not np.isfinite(signal.positions_m).all():
                lost = np.flatnonzero(~np.isfinite(signal.positions_m).all(axis=1))
                raise DataError(f"subject {subject!r}: Space.positions_m is not finite for the sensors {lost[:5]}")
            places = torch.from_numpy(flat_positions(signal.positions_m)).to(self.heads.device)
            self.places[subject] = nn.Parameter(places, requires_grad=False)
            self.features[subject] = nn.Parameter(fourier_features(places, n_frequencies), requires_grad=False)

    def out_signal(self, signal: SignalShape) -> SignalShape:
        """Shape of what a subject's adapter is given."""
        return SignalShape(self.n_out, signal.n_times)

    def forward(self, signal_BST: torch.Tensor, subject: str) -> torch.Tensor:
        """Channels (B, C, T)."""
        scores_CS = self.heads @ self.features[subject].T
        if self.training and self.dropout:
            centre = torch.rand(1, 2, device=scores_CS.device)
            near_S = (self.places[subject] - centre).norm(dim=1) <= self.dropout
            # If a small array lies wholly within the radius, nothing would be left to attend to.
            near_S = near_S & ~near_S.all()
            scores_CS = scores_CS.masked_fill(near_S, float("-inf"))
        if self.training and self.noise:
            signal_BST = noisy(signal_BST, self.noise)
        return self.project(torch.matmul(scores_CS.softmax(dim=1).to(signal_BST.dtype), signal_BST))
