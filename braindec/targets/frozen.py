"""A frozen network's embedding as the target. The network is given by configuration; this file imports none.

Legend: n stimuli, K tokens, D dimensions.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import numpy as np

from braindec.types import DataError, Stimuli


class EncodingNetwork(Protocol):
    """What a target needs of a frozen network."""

    device: str
    batch_size: int

    def encode(self, stimuli: Stimuli) -> np.ndarray:
        """Embeddings float32 (n, K, D)."""
        ...

    def encode_batches(
        self, stimuli: Stimuli, *, rows: Iterable[np.ndarray], kept: Literal["float32", "float16"]
    ) -> Iterator[np.ndarray]:
        """Embeddings of each array of rows in turn, in the dtype asked for."""
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
    device : where it runs: ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one, each process its own. Between
        uses it rests in main memory, so that several targets and a decoder share a GPU.
    stored : dtype that the embeddings are kept in.
    """

    distinct = True

    def __init__(
        self, network: EncodingNetwork, device: str = "auto", stored: Literal["float32", "float16"] = "float32"
    ) -> None:
        self.network = network
        self.device = device
        self.stored = stored

    @property
    def batch_size(self) -> int:
        """Stimuli a forward pass."""
        return self.network.batch_size

    def fit(self, stimuli: Stimuli) -> None:
        """Nothing to learn."""

    def embed(self, stimuli: Stimuli) -> np.ndarray:
        """Float32 (n, K, D). Raises `DataError` when the stimuli lack what the network reads."""
        with self._placed():
            return self.network.encode(stimuli)

    def embed_batches(self, stimuli: Stimuli, rows: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Values (len(rows), K, D) in the dtype ``stored`` of each array of rows in turn."""
        with self._placed():
            yield from self.network.encode_batches(stimuli, rows=rows, kept=self.stored)

    @contextmanager
    def _placed(self) -> Iterator[None]:
        self.network.to(_resolved(self.device))
        try:
            yield
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

    def __init__(
        self, network: DecodingNetwork, device: str = "auto", stored: Literal["float32", "float16"] = "float32"
    ) -> None:
        super().__init__(network, device, stored)
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
        with self._placed():
            return self.network.decode(values, seeds)


def _resolved(device: str) -> str:
    if device != "auto":
        return device
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    local = int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")))
    return f"cuda:{local % torch.cuda.device_count()}"
