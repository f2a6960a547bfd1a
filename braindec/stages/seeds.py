"""Noise that belongs to an item, whatever its batch, its place in it, or the machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from braindec.types import Predictions


def item_seeds(predictions: Predictions, seed: int, sample: int = 0) -> list[int]:
    """One 62-bit seed an item, from the run's seed, the item's id and the number of the sample."""
    return [
        int.from_bytes(hashlib.blake2b(f"{seed}|{item}|{sample}".encode(), digest_size=8).digest(), "little") >> 2
        for item in predictions.table["item_id"]
    ]


def item_noise(seeds: Sequence[int], shape: Sequence[int], device: str, dtype: torch.dtype) -> Tensor:
    """Standard-normal noise (n, *shape), row i from seed i alone, the same on every device."""
    rows = [torch.randn(tuple(shape), generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
    return torch.stack(rows).to(device, dtype)


def derived_seed(seed: int, purpose: int) -> int:
    """Another 62-bit seed of the same item, for noise of another purpose than its latents'."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=8).digest(), "little") >> 2
