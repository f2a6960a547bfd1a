"""Any network of the braindecode package by name. Legend: B batch, C channels, T time, W width."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from braindec.types import DataError

NON_COMMERCIAL = {
    "BrainModule": "CC BY-NC 4.0",
    "EEGMiner": "CC BY-NC 4.0, and patented",
    "EMG2QwertyNet": "CC BY-NC-SA 4.0",
    "MetaNeuromotorHand": "CC BY-NC 4.0",
    "VEMG2Pose": "CC BY-NC-SA 4.0",
}
"""braindecode networks whose licence forbids commercial use (as of braindecode 1.8); the package itself is BSD-3."""


def declared_licence(network: type) -> str:
    """What a network's class says of its licence, for networks newer than the list; empty where it says nothing."""
    card = getattr(getattr(network, "_hub_mixin_info", None), "model_card_data", None)
    return str(getattr(card, "license", None) or "")


def _check_licence(name: str, licence: str) -> None:
    if "-nc" in licence.lower():
        raise DataError(
            f"BraindecodeModel.name: {name} is licensed for non-commercial use only ({licence}); set "
            "allow_non_commercial: true if your use is, or take another encoder"
        )


class BraindecodeModel(nn.Module):
    """A braindecode network as an encoder: (B, C, T) -> (B, W).

    Parameters
    ----------
    name : class in ``braindecode.models``: ``EEGNet``, ``ShallowFBCSPNet``, ``EEGConformer``, ``ATCNet``, ...
    width : number of outputs, the network's ``n_outputs``.
    rate_hz : sampling rate, for the networks that ask for it.
    channels : names of the channels in their order, for the networks that ask for them (``Labram``).
    options : further arguments of that class.

    Raises
    ------
    DataError
        If the package is missing or has no such network, the network cannot take such signals or gives other outputs,
        or its licence is non-commercial and ``allow_non_commercial`` is not set.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        name: str,
        width: int,
        rate_hz: float | None = None,
        channels: Sequence[str] | None = None,
        options: Mapping[str, Any] | None = None,
        allow_non_commercial: bool = False,
    ) -> None:
        super().__init__()
        if not allow_non_commercial:
            _check_licence(name, NON_COMMERCIAL.get(name, ""))
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
        if not allow_non_commercial:
            _check_licence(name, declared_licence(getattr(models, name)))
        n_channels, n_times = in_shape
        if channels is not None and len(channels) != n_channels:
            raise DataError(f"BraindecodeModel.channels: expected {n_channels} names, found {len(channels)}")
        given = {"n_chans": n_channels, "n_times": n_times, "n_outputs": width, **(options or {})}
        if rate_hz is not None:
            given["sfreq"] = rate_hz
        self.out_shape = (width,)
        self.named: dict[str, list[str]] = {}
        try:
            self.network = getattr(models, name)(**given)
            if channels is not None and "ch_names" in inspect.signature(self.network.forward).parameters:
                self.named = {"ch_names": [channel.upper() for channel in channels]}
            self.network.eval()
            with torch.no_grad():
                found = tuple(self(torch.zeros(1, n_channels, n_times)).shape)
        except Exception as error:  # each network has its own needs, and its own ways to say so
            raise DataError(
                f"BraindecodeModel {name!r}: does not work for {n_channels} channels x {n_times} samples with options "
                f"{dict(options or {})}: {error}"
            ) from error
        if found != (1, width):
            raise DataError(f"BraindecodeModel {name!r}: expected {width} outputs a trial, found {found[1]}")
        self.network.train()

    def forward(self, features_BCT: torch.Tensor) -> torch.Tensor:
        """Outputs (B, W)."""
        return self.network(features_BCT, **self.named).flatten(1)
