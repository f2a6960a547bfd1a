"""Sentences as sums of fixed word vectors: a text embedding without trained weights.

Legend: n stimuli, D dimensions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from braindec.signals.word_vectors import sentence_vector
from braindec.types import DataError, Stimuli

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


class HashedWords:
    """Mean over a stimulus' texts of `braindec.signals.word_vectors.sentence_vector`: (n, 1, D). Nothing is fitted.

    Its captions (paraphrases) are read where there are any, else its text. Simulated readers' cortices follow these
    vectors, word by word.
    """

    def __init__(self, n_dims: int = 64) -> None:
        self.n_dims = n_dims

    def fit(self, stimuli: Stimuli) -> None:
        """Nothing to learn."""

    def embed(self, stimuli: Stimuli) -> np.ndarray:
        """Float32 (n, 1, D). Raises `DataError` when the stimuli have neither captions nor texts."""
        if stimuli.captions is None and stimuli.texts is None:
            raise DataError(f"target HashedWords: these {len(stimuli)} stimuli have neither captions nor texts")
        groups = stimuli.captions or tuple((text,) for text in stimuli.texts or ())
        made = [
            np.mean([sentence_vector(_WORD.findall(text), self.n_dims) for text in texts], axis=0) for texts in groups
        ]
        return np.stack(made).astype(np.float32)[:, None]

    def state(self) -> dict[str, np.ndarray]:
        """Empty: nothing is fitted."""
        return {}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Nothing to take over."""
