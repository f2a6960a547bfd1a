from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evidence import make_evidence
from hypothesis import given, settings
from hypothesis import strategies as st

from braindec.metrics.captions import Bleu, CaptionWords, corpus_bleu, sentence_bleu, tokens
from braindec.types import DataError, Evidence

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), min_size=1, max_size=8)


def with_captions(decoded: tuple[str, ...], truth: tuple[tuple[str, ...], ...]) -> Evidence:
    evidence = make_evidence(len(truth))
    return replace(evidence, captions=decoded, gallery=replace(evidence.gallery, captions=truth))


def test_tokens() -> None:
    assert tokens("A man's dog -- two Ünits, 3 cats!") == ["a", "man's", "dog", "two", "ünits", "3", "cats"]
    assert tokens("...") == []


def test_word_overlap_takes_the_best_reference() -> None:
    evidence = with_captions(("the red dog", "", "x"), (("a cat", "A red dog runs."), ("a cat",), ("...",)))
    f1, jaccard = CaptionWords().scores(evidence)
    np.testing.assert_allclose(f1.values, [2 * 2 / 7, 0.0, np.nan])
    np.testing.assert_allclose(jaccard.values, [2 / 5, 0.0, np.nan])


@pytest.mark.parametrize("metric", [CaptionWords(), Bleu(1), Bleu(4)])
def test_identical_captions_are_perfect_and_missing_ones_give_nothing(metric: CaptionWords | Bleu) -> None:
    evidence = make_evidence(6)
    for scores in metric.scores(evidence):
        np.testing.assert_allclose(scores.values, 1.0)
    assert metric.scores(replace(evidence, captions=None)) == ()
    assert metric.scores(replace(evidence, gallery=replace(evidence.gallery, captions=None))) == ()


def test_bleu_by_hand() -> None:
    reference, decoded = ["the", "cat", "is", "on", "the", "mat"], ["the", "the", "the", "cat"]
    # Clipped unigrams: the (2) + cat (1) of 4; bigram "the cat" 1 of 3; brevity exp(1 - 6 / 4).
    assert sentence_bleu([reference], decoded, 1) == pytest.approx(3 / 4 * np.exp(-0.5))
    assert corpus_bleu([[reference]], [decoded], 2) == pytest.approx(np.sqrt(3 / 4 * 1 / 3) * np.exp(-0.5))
    assert sentence_bleu([reference], decoded, 2) == pytest.approx(np.sqrt(3 / 4 * 2 / 4) * np.exp(-0.5))
    assert sentence_bleu([reference], [], 4) == 0.0
    assert corpus_bleu([[reference]], [decoded], 4) == 0.0


def test_corpus_bleu_pools_counts() -> None:
    references, decoded = [[["a", "b"]], [["c", "d", "e", "f"]]], [["a", "b"], ["c", "x", "y", "z"]]
    assert corpus_bleu(references, decoded, 1) == pytest.approx(3 / 6)
    with pytest.raises(DataError, match="reference"):
        corpus_bleu([[]], [["a"]], 1)
    with pytest.raises(DataError, match="2 decoded"):
        corpus_bleu([[["a"]]], [["a"], ["b"]], 1)


@settings(max_examples=40, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=3), WORDS, st.integers(1, 4))
def test_bleu_is_bounded_and_ignores_the_order_of_references(
    references: list[list[str]], decoded: list[str], n: int
) -> None:
    value = sentence_bleu(references, decoded, n)
    assert 0.0 <= value <= 1.0
    assert sentence_bleu(references[::-1], decoded, n) == pytest.approx(value)


def test_n_is_checked() -> None:
    with pytest.raises(DataError, match="at least 1"):
        Bleu(0)
