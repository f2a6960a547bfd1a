from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from braindec.metrics.segments import SegmentRetrieval, places_of
from braindec.types import DataError, Evidence, Stimuli


def evidence(
    values: np.ndarray, predicted: np.ndarray, sentence: list[str], start: list[float], rows: list[int]
) -> Evidence:
    n = len(sentence)
    gallery = Stimuli(
        tuple(f"s{i}" for i in range(n)),
        extras={
            "sentence": tuple(sentence),
            "sound": ("a",) * n,
            "start_s": np.array(start),
            "length_s": np.full(n, 3.0),
        },
    )
    table = pd.DataFrame({"item_id": [f"i{i}" for i in range(len(rows))], "subject": "x", "fold": "f"}).assign(
        stimulus_id=[f"s{r}" for r in rows], n_repetitions=1
    )
    return Evidence(
        table, gallery, np.array(rows), embeddings={"t": predicted[:, None]}, gallery_embeddings={"t": values[:, None]}
    )


@pytest.fixture
def perfect() -> Evidence:
    """Four sentences of three words, one second apart."""
    values = np.eye(12, dtype=np.float32)
    sentence = [f"z{i // 3}" for i in range(12)]
    return evidence(values, values.copy(), sentence, [float(i) for i in range(12)], list(range(12)))


def by_name(evidence: Evidence, **options) -> dict[str, np.ndarray]:
    return {s.name: s for s in SegmentRetrieval(k=(1, 2), **options).scores(evidence)}  # type: ignore[misc]


def test_perfect_predictions(perfect: Evidence) -> None:
    found = by_name(perfect)
    assert found["t_segment_top1"].values.tolist() == [1.0] * 12
    assert found["t_wrong_sentence"].values.tolist() == [0.0] * 12
    assert found["t_wrong_word"].values.tolist() == [0.0] * 12
    assert found["t_sentence_top1"].values.tolist() == [1.0] * 12
    assert found["t_segment_top2"].chance == pytest.approx(2 / 12)


def test_thinned_candidates_do_not_overlap(perfect: Evidence) -> None:
    places = places_of(perfect.gallery, 0.0)
    assert places is not None
    assert np.flatnonzero(places.thinned_G).tolist() == [0, 3, 6, 9]
    score = by_name(perfect)["t_segment_apart_top1"]
    assert np.isnan(score.values).sum() == 8
    assert score.gallery_size == 4
    assert score.chance == pytest.approx(0.25)
    half = places_of(perfect.gallery, 0.7)
    assert half is not None
    assert half.thinned_G.all()


def test_errors_of_word_and_of_sentence_are_told_apart(perfect: Evidence) -> None:
    predicted = np.eye(12, dtype=np.float32)
    predicted[0] = predicted[1]  # another word of the same sentence
    predicted[3] = np.eye(12)[9] + 0.1 * np.eye(12)[3]  # another sentence, but the right word within its own
    found = by_name(
        evidence(
            np.eye(12, dtype=np.float32),
            predicted,
            [f"z{i // 3}" for i in range(12)],
            list(map(float, range(12))),
            list(range(12)),
        )
    )
    assert found["t_wrong_sentence"].values[[0, 3]].tolist() == [0.0, 1.0]
    assert found["t_wrong_word"].values[[0, 3]].tolist() == [1.0, 0.0]


def test_a_sentence_is_found_from_several_weak_predictions() -> None:
    rng = np.random.default_rng(0)
    n_sentences, n_words = 40, 8
    values = rng.standard_normal((n_sentences * n_words, 200)).astype(np.float32)
    predicted = values + 7 * rng.standard_normal(values.shape).astype(np.float32)
    sentence = [f"z{i // n_words}" for i in range(len(values))]
    found = by_name(
        evidence(values, predicted, sentence, list(map(float, range(len(values)))), list(range(len(values))))
    )
    assert found["t_sentence_top1"].values.mean() > 0.9 > 0.5 > found["t_segment_top1"].values.mean()


def test_predictions_that_know_nothing_score_chance_whatever_the_sentences_length() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(2, 15, 60)
    sentence = [f"z{i}" for i, n in enumerate(sizes) for _ in range(n)]
    values = rng.standard_normal((len(sentence), 30)).astype(np.float32)
    hits = []
    for seed in range(20):
        predicted = np.random.default_rng(seed + 1).standard_normal(values.shape).astype(np.float32)
        found = by_name(
            evidence(values, predicted, sentence, list(map(float, range(len(sentence)))), list(range(len(sentence))))
        )
        per_sentence = pd.Series(found["t_sentence_top2"].values).groupby(sentence).first()
        hits.append(per_sentence.mean())
        assert found["t_sentence_top2"].chance == pytest.approx(2 / 60)
    assert np.mean(hits) == pytest.approx(2 / 60, abs=0.02)


def test_constant_predictions_tie(perfect: Evidence) -> None:
    flat = evidence(
        np.eye(12, dtype=np.float32), np.ones((12, 12), np.float32), [f"z{i // 3}" for i in range(12)],
        list(map(float, range(12))), list(range(12)),
    )  # fmt: skip
    found = by_name(flat)
    np.testing.assert_allclose(found["t_segment_top1"].values, 1 / 12)
    np.testing.assert_allclose(found["t_wrong_sentence"].values, 9 / 12)
    np.testing.assert_allclose(found["t_wrong_word"].values, 2 / 3)
    np.testing.assert_allclose(found["t_sentence_top1"].values, 1 / 4)


def test_pictures_are_no_segments() -> None:
    plain = Evidence(
        pd.DataFrame({"item_id": ["i"], "subject": "x", "fold": "f", "stimulus_id": "s", "n_repetitions": 1}),
        Stimuli(("s",)),
        np.array([0]),
        embeddings={"t": np.ones((1, 1, 2), np.float32)},
    )
    assert SegmentRetrieval().scores(plain) == ()
    with pytest.raises(DataError, match="most_overlap"):
        SegmentRetrieval(most_overlap=1.0)
