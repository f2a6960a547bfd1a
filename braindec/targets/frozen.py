"""A frozen network's embedding as the target. The network is given by configuration; this file imports none.

Legend: n stimuli, K tokens, D dimensions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from braindec.types import DataError, Stimuli


class EncodingNetwork(Protocol):
    """What a target needs of a frozen network."""

    device: str

    def encode(self, stimuli: Stimuli) -> np.ndarray:
        """Embeddings float32 (n, K, D)."""
        ...

    def describe(self) -> dict[str, Any]:
        """What identifies the embeddings, as plain values."""
        ...

    def to(self, device: str) -> Any:
        """Move to a device."""
        ...


class DecodingNetwork(EncodingNetwork, Protocol):
    """A network that also turns its embeddings back into pictures, one noise seed an item."""

    def decode(self, values: np.ndarray, seeds: Sequence[int]) -> np.ndarray:
        """Embeddings (n, K, D) -> images uint8 (n, H, W, 3)."""
        ...


class FrozenTarget:
    """The embedding (n, K, D) that a frozen network gives each stimulus. Nothing is fitted.

    Parameters
    ----------
    network : the network, e.g. `braindec.frozen.clip.ClipVision`; its weights are read on first use.
    device : where it runs: ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one. Between uses it rests in main
        memory, so that several targets and a decoder share a GPU.
    """

    def __init__(self, network: EncodingNetwork, device: str = "auto") -> None:
        self.network = network
        self.device = device

    def fit(self, stimuli: Stimuli) -> None:
        """Nothing to learn."""

    def embed(self, stimuli: Stimuli) -> np.ndarray:
        """Float32 (n, K, D). Raises `DataError` when the stimuli lack what the network reads."""
        self.network.to(_resolved(self.device))
        try:
            return self.network.encode(stimuli)
        finally:
            self.network.to("cpu")

    def fingerprint(self) -> str:
        """Text that changes when the embeddings do: the network's class, weights, preprocessing and type."""
        return json.dumps(self.network.describe(), sort_keys=True, default=str)

    def state(self) -> dict[str, np.ndarray]:
        """Empty: nothing is fitted."""
        return {}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Nothing to take over."""


class FrozenImageTarget(FrozenTarget):
    """As `FrozenTarget`, of a network that can turn embeddings back into pictures (an autoencoder)."""

    def __init__(self, network: DecodingNetwork, device: str = "auto") -> None:
        super().__init__(network, device)
        self.network: DecodingNetwork = network

    def decode(self, values: np.ndarray) -> np.ndarray:
        """Embeddings (n, K, D) -> images uint8 (n, H, W, 3); noise, where any is drawn, is seeded by an item's values.

        Raises
        ------
        DataError
            If a value is not finite.
        """
        if not np.isfinite(values).all():
            raise DataError("target embeddings: NaN or infinite values cannot be decoded; check the predictions")
        values = np.ascontiguousarray(values, dtype=np.float32)
        # By content, so that an item's picture never depends on its neighbours.
        seeds = [int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=7).digest(), "little") for row in values]
        self.network.to(_resolved(self.device))
        try:
            return self.network.decode(values, seeds)
        finally:
            self.network.to("cpu")


def _resolved(device: str) -> str:
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
