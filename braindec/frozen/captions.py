"""Captions to texts and back: a stimulus with several captions gets the mean of their embeddings.

Legend: n stimuli, t texts, K tokens, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from braindec.types import DataError


def flatten_captions(entries: Sequence[str | Sequence[str]], max_captions: int) -> tuple[list[str], list[int]]:
    """All texts in order, and how many belong to each entry; at most the first ``max_captions`` of each.

    Raises
    ------
    DataError
        If an entry has no caption.
    """
    texts: list[str] = []
    counts: list[int] = []
    for row, entry in enumerate(entries):
        captions = [entry] if isinstance(entry, str) else list(entry)[:max_captions]
        if not captions:
            raise DataError(f"captions: stimulus {row} of the batch has none; give each at least one")
        texts += captions
        counts.append(len(captions))
    return texts, counts


def mean_by_entry(values_tKD: Tensor, counts: Sequence[int]) -> Tensor:
    """Mean (n, K, D) of each entry's texts."""
    return torch.stack([part.mean(dim=0) for part in values_tKD.split(list(counts))])
