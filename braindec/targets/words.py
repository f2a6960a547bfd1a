"""The words of a stimulus' captions as a target."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Literal

import numpy as np

from braindec.targets.tokens import flat_values
from braindec.types import DataError, Stimuli

_FUNCTION_WORDS_TEXT = """
a an the this that these those some of in on at to by for from with into onto over under up down out off as and or but
is are was were be been being has have having it its he she his her him they them their there who which while very one
two
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS_TEXT.split())
"""English words that say nothing about a picture; they are never in the vocabulary."""

_WORD = re.compile(r"[a-z]+")


def words_of(captions: tuple[str, ...]) -> list[str]:
    """Lower-case words (letters only) of all captions of one stimulus, without `FUNCTION_WORDS`."""
    return [word for caption in captions for word in _WORD.findall(caption.lower()) if word not in FUNCTION_WORDS]


class CaptionWords:
    """Bag of words of a stimulus' captions: one token, D = size of the vocabulary.

    With ``weighting="tfidf"`` a word's count in the stimulus' captions is multiplied by its smoothed inverse document
    frequency, ln((1 + n) / (1 + df)) + 1 over the n training stimuli, and each row is scaled to length 1. With
    ``"binary"`` a value is 1 where the word occurs. A stimulus without any known word has an all-zero row.

    Source: Salton & Buckley 1988, in the smoothed form of scikit-learn's ``TfidfVectorizer``.

    Fitted attributes: ``words_`` (alphabetical) and ``idf_`` (D,).

    Parameters
    ----------
    min_count : a word is in the vocabulary when the captions of at least so many training stimuli contain it.
    weighting : ``"tfidf"`` or ``"binary"``.
    """

    def __init__(self, min_count: int, weighting: Literal["tfidf", "binary"] = "tfidf") -> None:
        if min_count < 1:
            raise DataError(f"target CaptionWords: expected min_count >= 1, found {min_count}")
        if weighting not in ("tfidf", "binary"):
            raise DataError(f"target CaptionWords: weighting must be 'tfidf' or 'binary', found {weighting!r}")
        self.min_count = min_count
        self.weighting = weighting

    def fit(self, stimuli: Stimuli) -> None:
        """Take the vocabulary and its document frequencies from the training captions.

        Raises
        ------
        DataError
            If there are no captions, or no word occurs in ``min_count`` stimuli.
        """
        document_frequency = Counter(word for captions in _captions(stimuli) for word in set(words_of(captions)))
        self.words_ = tuple(sorted(word for word, count in document_frequency.items() if count >= self.min_count))
        if not self.words_:
            raise DataError(
                f"target CaptionWords: no word occurs in the captions of {self.min_count} of the {len(stimuli)} "
                "training stimuli; lower min_count"
            )
        counts = np.array([document_frequency[word] for word in self.words_])
        self.idf_ = np.log((1 + len(stimuli)) / (1 + counts)) + 1

    def embed(self, stimuli: Stimuli) -> np.ndarray:
        """Float32 (n, 1, D). Raises `DataError` without captions."""
        column = {word: index for index, word in enumerate(self._fitted())}
        values = np.zeros((len(stimuli), len(column)))
        for row, captions in enumerate(_captions(stimuli)):
            for word, count in Counter(words_of(captions)).items():
                if word in column:
                    values[row, column[word]] = count
        if self.weighting == "binary":
            values = (values > 0).astype(np.float64)
        else:
            values *= self.idf_
            length = np.linalg.norm(values, axis=1, keepdims=True)
            values = np.divide(values, length, out=values, where=length > 0)
        return values.astype(np.float32)[:, None]

    def top_words(self, values: np.ndarray, n_words: int) -> tuple[tuple[str, ...], ...]:
        """The ``n_words`` words of largest value in each row of (n, 1, D), largest first; ties alphabetically."""
        words = self._fitted()
        order = np.argsort(-flat_values(values, len(words), "CaptionWords"), axis=1, kind="stable")[:, :n_words]
        return tuple(tuple(words[i] for i in row) for row in order)

    def value_names(self) -> tuple[str, ...]:
        """What each value stands for: the words."""
        return self._fitted()

    def state(self) -> dict[str, np.ndarray]:
        """Vocabulary and inverse document frequencies."""
        return {"words": np.array(self._fitted(), dtype=np.str_), "idf": self.idf_}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what `state` gave."""
        self.words_ = tuple(str(word) for word in state["words"])
        self.idf_ = np.asarray(state["idf"])

    def _fitted(self) -> tuple[str, ...]:
        if not hasattr(self, "words_"):
            raise DataError("target CaptionWords: not fitted; call fit with the training stimuli first")
        return self.words_


def _captions(stimuli: Stimuli) -> tuple[tuple[str, ...], ...]:
    if stimuli.captions is None:
        raise DataError(f"target CaptionWords: needs Stimuli.captions, but these {len(stimuli)} stimuli have none")
    return stimuli.captions
