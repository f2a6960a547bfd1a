"""The words to be written, as a language model's tokens: a target that objectives read and nothing predicts.

Legend: n stimuli, P paraphrases, L tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from braindec.types import DataError, Stimuli


class TokenisingNetwork(Protocol):
    """What this target needs of a language model: its vocabulary, named by its weights."""

    weights: str

    def ids(self, texts: Sequence[str], length: int) -> np.ndarray:
        """Tokens int64 (n, L), -100 where a text has ended."""
        ...


class TokenIds:
    """Tokens of a stimulus' first paraphrases, float32 (n, P, L), -100 where a text has ended. Nothing is fitted.

    A stimulus with fewer paraphrases repeats them; one without captions uses its text.

    Parameters
    ----------
    network : the language model, e.g. `braindec.frozen.seq2seq.Seq2Seq`.
    length : tokens a text is cut to.
    n_paraphrases : how many are kept of a stimulus.
    """

    def __init__(self, network: TokenisingNetwork, length: int = 48, n_paraphrases: int = 3) -> None:
        self.network = network
        self.length = length
        self.n_paraphrases = n_paraphrases

    def fit(self, stimuli: Stimuli) -> None:
        """Nothing to learn."""

    def embed(self, stimuli: Stimuli) -> np.ndarray:
        """Float32 (n, P, L); token numbers below 2^24 are exact. Raises `DataError` without captions and texts."""
        groups = stimuli.captions or (None if stimuli.texts is None else tuple((text,) for text in stimuli.texts))
        if groups is None:
            raise DataError("target TokenIds: the stimuli have neither captions nor texts")
        texts = [own[i % len(own)] for own in groups for i in range(self.n_paraphrases)]
        ids = self.network.ids(texts, self.length)
        return ids.astype(np.float32).reshape(len(stimuli), self.n_paraphrases, self.length)

    def fingerprint(self) -> str:
        """Text that changes when the tokens do."""
        return json.dumps([self.network.weights, self.length, self.n_paraphrases])

    def state(self) -> dict[str, np.ndarray]:
        """Empty: nothing is fitted."""
        return {}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Nothing to take over."""
