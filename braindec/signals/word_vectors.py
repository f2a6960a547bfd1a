"""Fixed vectors of words without any trained weights: pseudo-random unit vectors, a function of the word's letters.

Legend: L words, D dimensions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

_FUNCTION_WORDS = "a an the this that its his her of in on at to by for from with and or who was is most through as"
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())


def word_vector(word: str, n_dims: int) -> np.ndarray:
    """Float64 (D,) of length 1, the same on every machine; unrelated for any two different words."""
    key = hashlib.sha256(word.lower().encode()).digest()
    drawn = np.random.default_rng(int.from_bytes(key[:8], "big")).standard_normal(n_dims)
    return np.asarray(drawn / np.linalg.norm(drawn))


def sentence_vector(words: Sequence[str], n_dims: int) -> np.ndarray:
    """Sum of the vectors of distinct content words over the root of their number, float64 (D,); zero without any."""
    content = sorted({word.lower() for word in words} - FUNCTION_WORDS)
    if not content:
        return np.zeros(n_dims)
    return np.asarray(np.stack([word_vector(word, n_dims) for word in content]).sum(axis=0) / np.sqrt(len(content)))
