"""Any network of the braindecode package by name. Legend: B batch, C channels, T time, W width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from braindec.types import DataError

NON_COMMERCIAL = {
    "BrainModule": "CC BY-NC 4.0",
    "EEGMiner": "CC BY-NC 4.0, and patented",
    "VEMG2Pose": "CC BY-NC-SA 4.0",
}
"""braindecode networks whose licence forbids commercial use (as of braindecode 1.8); the package itself is BSD-3."""


class BraindecodeModel(nn.Module):
    """A braindecode network as an encoder: (B, C, T) -> (B, W).

    Parameters
    ----------
    name : class in ``braindecode.models``: ``EEGNet``, ``ShallowFBCSPNet``, ``EEGConformer``, ``ATCNet``, ...
    width : number of outputs, the network's ``n_outputs``.
    rate_hz : sampling rate, for the networks that ask for it.
    options : further arguments of that class.

    Raises
    ------
    DataError
        If the package is missing, has no such network, or the network's licence is non-commercial and
        ``allow_non_commercial`` is not set.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        name: str,
        width: int,
        rate_hz: float | None = None,
        options: Mapping[str, Any] | None = None,
        allow_non_commercial: bool = False,
    ) -> None:
        super().__init__()
        if name in NON_COMMERCIAL and not allow_non_commercial:
            raise DataError(
                f"BraindecodeModel.name: {name} is licensed for non-commercial use only ({NON_COMMERCIAL[name]}); set "
                "allow_non_commercial: true if your use is, or take another encoder"
            )
        try:
            from braindecode import models
        except (ImportError, OSError, RuntimeError) as error:
            # A torchaudio that was built for another torch fails with an error of its own.
            raise DataError(
                f"BraindecodeModel {name!r}: the package braindecode cannot be imported ({error}); pip install "
                "braindecode, with the torchaudio that matches your torch"
            ) from error
        if not hasattr(models, name):
            known = sorted(n for n in vars(models) if n[0].isupper())
            raise DataError(f"BraindecodeModel.name: braindecode has no {name!r}; it has {', '.join(known)}")
        n_channels, n_times = in_shape
        given = {"n_chans": n_channels, "n_times": n_times, "n_outputs": width, **(options or {})}
        if rate_hz is not None:
            given["sfreq"] = rate_hz
        self.network = getattr(models, name)(**given)
        self.out_shape = (width,)

    def forward(self, features_BCT: torch.Tensor) -> torch.Tensor:
        """Outputs (B, W)."""
        return self.network(features_BCT).flatten(1)
