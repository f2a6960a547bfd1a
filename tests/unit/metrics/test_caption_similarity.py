from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from braindec.metrics.caption_similarity import CLIP_SCORE_PREFIX, ClipScore, SentenceSimilarity
from braindec.metrics.meteor import align, meteor
from braindec.types import Evidence, Stimuli
from tests.unit.metrics.evidence import prediction_table


class Letters:
    """Texts as counts of the letters a, b, c; pictures as their mean colour."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def encode(self, stimuli: Sequence[str] | np.ndarray) -> np.ndarray:
        if isinstance(stimuli, np.ndarray):
            return stimuli.mean(axis=(1, 2))[:, None, :]
        self.seen += list(stimuli)
        texts = [text.removeprefix(CLIP_SCORE_PREFIX) for text in stimuli]
        return np.array([[[text.count(letter) for letter in "abc"]] for text in texts], dtype=np.float32)

    def describe(self) -> dict[str, str]:
        return {"weights": "letters", "sha256": "0123456789abcdef"}


def evidence() -> Evidence:
    pictures = np.zeros((3, 2, 2, 3), np.uint8)
    pictures[0, ..., 0], pictures[1, ..., 1], pictures[2, ..., 2] = 9, 9, 9
    gallery = Stimuli(("x", "y", "z"), pictures, (("b", "aa"), ("b",), ()))
    return Evidence(prediction_table(["x", "y", "z"]), gallery, np.arange(3), captions=("a", "ab", "c"))


def test_the_nearest_true_caption_counts() -> None:
    (scores,) = SentenceSimilarity(Letters()).scores(evidence())
    np.testing.assert_allclose(scores.values, [1, np.sqrt(0.5), np.nan])
    assert "weights: letters (0123456789ab)" in scores.flags
    (first,) = SentenceSimilarity(Letters(), first_only=True).scores(evidence())
    np.testing.assert_allclose(first.values, [0, np.sqrt(0.5), np.nan])


def test_clip_score_is_the_weighted_cosine_and_permutations_encode_nothing() -> None:
    text = Letters()
    metric, given = ClipScore(text, Letters()), evidence()
    (scores,) = metric.scores(given)
    np.testing.assert_allclose(scores.values, [2.5, 2.5 * np.sqrt(0.5), 2.5])
    (permuted,) = metric.scores(given.permuted(np.array([2, 0, 1])))
    np.testing.assert_allclose(permuted.values, [0, 0, 0], atol=1e-12)
    assert len(text.seen) == 3


def test_meteor_by_hand() -> None:
    reference = ["the", "cats", "sat", "on", "the", "mat"]
    assert align(reference, ["on", "the", "mat", "the", "cat"]) == {0: 3, 1: 4, 2: 5, 3: 0, 4: 1}
    # Five of six words in two chunks.
    precision, recall = 1.0, 5 / 6
    expected = precision * recall / (0.9 * precision + 0.1 * recall) * (1 - 0.5 * (2 / 5) ** 3)
    assert meteor([["dog"], reference], ["on", "the", "mat", "the", "cat"]) == pytest.approx(expected)
    assert meteor([reference], []) == 0
    assert meteor([reference], ["dog"]) == 0
