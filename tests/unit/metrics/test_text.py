from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braindec.metrics.text import DistinctTexts, RougeN, WordErrorRate, edit_distance
from braindec.metrics.zero_shot import ZeroShot
from braindec.targets.hashed_words import HashedWords
from braindec.types import DataError, Evidence, Stimuli

words = st.lists(st.sampled_from("abcd"), max_size=8)


def evidence(said: list[str], true: list[tuple[str, ...]], **extras) -> Evidence:
    n = len(true)
    ids = tuple(f"s{i}" for i in range(n))
    table = pd.DataFrame({"item_id": ids, "subject": "x", "fold": "f", "stimulus_id": ids, "n_repetitions": 1})
    gallery = Stimuli(ids, captions=tuple(true), extras=extras)
    return Evidence(table, gallery, np.arange(n), captions=tuple(said))


@settings(max_examples=60, deadline=None)
@given(words, words, words)
def test_edit_distance_is_a_metric(a: list[str], b: list[str], c: list[str]) -> None:
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, b) == edit_distance(b, a) <= edit_distance(a, c) + edit_distance(c, b)
    assert abs(len(a) - len(b)) <= edit_distance(a, b) <= max(len(a), len(b))


def test_word_error_rate_takes_the_nearest_truth() -> None:
    found = WordErrorRate().scores(
        evidence(
            ["The film bores.", "", "one two three four"], [("a film", "the film bores us"), ("one two",), ("one",)]
        )
    )[0]
    np.testing.assert_allclose(found.values, [1 / 4, 1.0, 3.0])
    assert found.direction == "lower"


def test_rouge_equals_the_reference() -> None:
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rouge1", "rouge2"])
    pairs = [
        ("the cat sat on the mat", "the cat lay on a mat"),
        ("one two two three", "two two two"),
        ("nothing alike", "other words"),
        ("same words here", "same words here"),
    ]
    found = {s.name: s.values for s in RougeN().scores(evidence([b for _, b in pairs], [(a,) for a, _ in pairs]))}
    for row, (true, said) in enumerate(pairs):
        expected = scorer.score(true, said)
        assert found["rouge1"][row] == pytest.approx(expected["rouge1"].fmeasure)
        assert found["rouge2"][row] == pytest.approx(expected["rouge2"].fmeasure)
    assert found["rougeL"][3] == 1
    assert found["rougeL"][2] == 0


def test_distinct_texts_count() -> None:
    score = DistinctTexts().scores(evidence(["A b.", "a b", "c", "a b"], [("x",)] * 4))[0]
    assert score.values.sum() == pytest.approx(2)
    assert score.flags == ("2 different texts of 4",)


def zero_shot(**options) -> ZeroShot:
    return ZeroShot("t", "kind", {"fruit": "apple pear plum", "tool": "hammer saw nail"}, HashedWords(64), **options)


def reading(texts: list[str], kinds: list[str]) -> Evidence:
    made = evidence(texts, [(t,) for t in texts], kind=tuple(kinds))
    values = HashedWords(64).embed(Stimuli(tuple(made.gallery.ids), captions=made.gallery.captions))
    return Evidence(made.table, made.gallery, made.truth, embeddings={"t": values})


def test_zero_shot_stands_beside_the_majority_class() -> None:
    score = zero_shot().scores(
        reading(
            ["an apple fell", "plum and pear", "pear tree", "rusty saw", "big hammer"], ["fruit"] * 3 + ["tool", ""]
        )
    )[0]
    np.testing.assert_array_equal(score.values, [1, 1, 1, 1, np.nan])
    assert score.chance == 0.75
    assert score.name == "kind_zero_shot"


def test_predictions_without_direction_draw_a_label() -> None:
    made = reading(["an apple", "a saw"], ["fruit", "tool"])
    flat = Evidence(made.table, made.gallery, made.truth, embeddings={"t": np.zeros((2, 1, 64), np.float32)})
    assert zero_shot().scores(flat)[0].values.tolist() == [0.5, 0.5]


def test_zero_shot_bad_input() -> None:
    with pytest.raises(DataError, match="no description of"):
        zero_shot().scores(reading(["an apple"], ["animal"]))
    with pytest.raises(DataError, match="two labels"):
        ZeroShot("t", "kind", {"one": "x"}, HashedWords())
    with pytest.raises(DataError, match="targets.t"):
        ZeroShot("t", "kind", {"fruit": "a", "tool": "b"}, None).scores(reading(["an apple"], ["fruit"]))
