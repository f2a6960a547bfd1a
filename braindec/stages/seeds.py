"""Seeds that belong to an item, whatever its batch, its place in it, or the machine."""

from __future__ import annotations

import hashlib

from braindec.types import Predictions


def item_seeds(predictions: Predictions, seed: int, sample: int = 0) -> list[int]:
    """One 62-bit seed an item, from the run's seed, the item's id and the number of the sample."""
    return [
        int.from_bytes(hashlib.blake2b(f"{seed}|{item}|{sample}".encode(), digest_size=8).digest(), "little") >> 2
        for item in predictions.table["item_id"]
    ]


def derived_seed(seed: int, purpose: int) -> int:
    """Another 62-bit seed of the same item, for noise of another purpose than its latents'."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=8).digest(), "little") >> 2
