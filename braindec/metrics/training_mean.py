"""The average of the training stimuli: image, embedding, caption, concept.

Legend: H W image height and width, K tokens, D dimensions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from braindec.metrics.captions import tokens
from braindec.types import DataError, Stimuli, TargetEmbeddings

_IMAGES_AT_ONCE = 64
_VALUES_AT_ONCE = 1 << 24


def mean_image(stimuli: Stimuli) -> np.ndarray:
    """Mean of all images, uint8 (H, W, 3), read a few at a time."""
    if stimuli.images is None:
        raise DataError("mean image: the training stimuli have no images")
    total = np.zeros(stimuli.images.shape[1:])
    for start in range(0, len(stimuli), _IMAGES_AT_ONCE):
        total += np.asarray(stimuli.images[start : start + _IMAGES_AT_ONCE]).sum(axis=0, dtype=np.float64)
    return np.round(total / len(stimuli)).astype(np.uint8)


def mean_embedding(embeddings: TargetEmbeddings, ids: Sequence[str] | None = None) -> np.ndarray:
    """Mean embedding of the given stimuli, or of all, float32 (K, D)."""
    rows = np.arange(len(embeddings.ids))
    if ids is not None:
        index = {stimulus_id: row for row, stimulus_id in enumerate(embeddings.ids)}
        rows = np.array([index[i] for i in ids])
    return mean_of_rows(embeddings.values, rows).astype(np.float32)


def mean_of_rows(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Mean over the given rows of (n, K, D), float64 (K, D); memory-mapped values are read a part at a time."""
    total = np.zeros(values.shape[1:])
    step = max(1, _VALUES_AT_ONCE // max(1, total.size))
    for start in range(0, len(rows), step):
        total += values[rows[start : start + step]].sum(axis=0, dtype=np.float64)
    return total / len(rows)


def central_caption(captions: Sequence[str]) -> str:
    """The most frequent caption, or, when none occurs twice, the one nearest to their average bag of words."""
    counts = Counter(captions)
    caption, count = min(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    if count > 1:
        return caption
    bags = [set(tokens(text)) for text in captions]
    frequency = Counter(word for bag in bags for word in bag)
    closeness = [sum(frequency[word] for word in sorted(bag)) / max(1.0, np.sqrt(len(bag))) for bag in bags]
    return min(zip(closeness, captions, strict=True), key=lambda entry: (-entry[0], entry[1]))[1]


def majority_concept(stimuli: Stimuli) -> str:
    """The most frequent concept, the first in the alphabet among equals."""
    if stimuli.concepts is None:
        raise DataError("majority concept: the training stimuli have no concepts")
    counts = Counter(stimuli.concepts)
    return min(counts.items(), key=lambda entry: (-entry[1], entry[0]))[0]
