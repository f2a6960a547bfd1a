from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evidence import make_evidence
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from braindec.metrics import ranking
from braindec.metrics.matching import csls, hungarian, sinkhorn
from braindec.metrics.retrieval import Retrieval
from braindec.types import DataError, Evidence, Scores


def by_name(metric: Retrieval, evidence: Evidence) -> dict[str, Scores]:
    return {scores.name: scores for scores in metric.scores(evidence)}


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 8), st.integers(1, 10), st.floats(0, 4), st.integers(0, 500))
def test_forward_equals_sorting_by_hand(n_gallery: int, n_rows: int, noise: float, seed: int) -> None:
    truth = np.random.default_rng(seed).integers(0, n_gallery, n_rows)
    evidence = make_evidence(n_gallery, truth=truth, noise=noise, seed=seed)
    found = by_name(Retrieval("e", k=(1, 3)), evidence)
    for row, own in enumerate(truth):
        query = evidence.embeddings["e"][row].ravel()
        angles = [
            query @ g.ravel() / np.linalg.norm(query) / np.linalg.norm(g) for g in evidence.gallery_embeddings["e"]
        ]
        place = list(np.argsort(angles)[::-1]).index(own)
        assert found["e_forward_rank"].values[row] == place + 1
        assert found["e_forward_top1"].values[row] == (place == 0)
        assert found["e_forward_top3"].values[row] == (place < 3)
        assert found["e_forward_normalised_rank"].values[row] == pytest.approx(place / (n_gallery - 1))


def test_backward_ranks_predictions_of_other_stimuli() -> None:
    evidence = make_evidence(3, truth=np.array([0, 0, 1, 2]))
    embedding = evidence.embeddings["e"].copy()
    embedding[0] = evidence.gallery_embeddings["e"][1]
    found = by_name(Retrieval("e", ways=("backward",)), replace(evidence, embeddings={"e": embedding}))
    ranks = found["e_backward_rank"].values
    # Row 1 is a perfect prediction of stimulus 0: its sibling (row 0) does not compete with it.
    assert ranks[1] == 1
    # Row 0 looks like stimulus 1 and ties with row 2 when stimulus 1 searches for row 2.
    assert ranks[2] == 1.5
    assert found["e_backward_top1"].gallery_size == 4
    assert found["e_backward_top1"].chance == pytest.approx(np.mean([1 / 3, 1 / 3, 1 / 4, 1 / 4]))


def test_perfect_predictions_and_names() -> None:
    found = by_name(Retrieval(), make_evidence(8))
    assert set(found) == {
        f"e_{way}_{what}" for way in ("forward", "backward") for what in ("top1", "top5", "rank", "normalised_rank")
    }
    for scores in found.values():
        best = {"top1": 1, "top5": 1, "rank": 1, "normalised_rank": 0}[scores.name.split("_", 2)[2]]
        np.testing.assert_array_equal(scores.values, best)
    assert found["e_forward_top5"].chance == pytest.approx(5 / 8)
    assert found["e_forward_rank"].direction == "lower"


def test_constant_predictions_score_exactly_chance_both_ways() -> None:
    evidence = make_evidence(10)
    constant = np.repeat(evidence.embeddings["e"][:1] * 0 + 1, 10, axis=0)
    found = by_name(Retrieval("e"), replace(evidence, embeddings={"e": constant}))
    for name in ("e_forward_top1", "e_backward_top1", "e_backward_top5", "e_backward_normalised_rank"):
        assert found[name].values.mean() == pytest.approx(found[name].chance)
    zeros = by_name(Retrieval("e"), replace(evidence, embeddings={"e": constant * 0}))
    np.testing.assert_allclose(zeros["e_forward_top1"].values, 0.1)


def test_random_predictions_are_at_chance() -> None:
    found = by_name(Retrieval("e", n=20), make_evidence(500, noise=1e6))
    for way in ("forward", "backward"):
        values = found[f"e_{way}_20way_top5"].values
        assert abs(values.mean() - 0.25) < 4 * values.std() / np.sqrt(500)
        assert found[f"e_{way}_20way_top5"].chance == pytest.approx(0.25)


def test_subsampling_expects_the_hypergeometric_probability() -> None:
    competition = ranking.Competition(np.array([0.0, 3.0, 40.0]), np.zeros(3), np.array([99.0, 96.0, 59.0]))
    drawn = ranking.subsampled(competition, 30, 4000, np.random.default_rng(0))
    hits = ranking.top_k(drawn, 2).reshape(4000, 3).mean(axis=0)
    expected = [hypergeom.cdf(1, 99, int(greater), 29) for greater in competition.greater]
    np.testing.assert_allclose(hits, expected, atol=0.03)


def test_subsampling_keeps_undefined_rows_and_small_galleries() -> None:
    competition = ranking.Competition(np.array([np.nan, 2.0]), np.array([np.nan, 0.0]), np.array([np.nan, 1.0]))
    drawn = ranking.subsampled(competition, 100, 5, np.random.default_rng(0))
    assert np.isnan(drawn.greater[::2]).all()
    np.testing.assert_array_equal(drawn.greater[1::2], 2)


def test_small_gallery_for_n_is_said() -> None:
    scores = by_name(Retrieval("e", k=(1,), n=300, ways=("forward",)), make_evidence(5))["e_forward_300way_top1"]
    assert scores.gallery_size == 5
    assert scores.chance == pytest.approx(0.2)
    assert "only 5 candidates" in scores.flags


@pytest.mark.parametrize("matching", ["csls", "sinkhorn", "hungarian"])
def test_transductive_matching_is_flagged_and_perfect_on_perfect_predictions(matching: str) -> None:
    for scores in Retrieval("e", k=(1,), matching=matching).scores(make_evidence(12)):
        assert f"transductive: {matching}" in scores.flags
        assert matching in scores.name
        if scores.name.endswith("top1"):
            np.testing.assert_array_equal(scores.values, 1)
    assert all("transductive" not in flag for s in Retrieval("e").scores(make_evidence(3)) for flag in s.flags)


def test_hungarian_needs_one_prediction_a_stimulus() -> None:
    with pytest.raises(DataError, match="average the repetitions"):
        Retrieval("e", matching="hungarian").scores(make_evidence(2, truth=np.array([0, 0, 1])))


def test_matching_can_resolve_a_hub() -> None:
    """Candidate 0 is near everything; only looking at all predictions together tells that it is row 0's."""
    similarity = np.array([[0.9, 0.1, 0.1], [0.8, 0.7, 0.1], [0.8, 0.1, 0.7]])
    assert similarity.argmax(axis=1).tolist() == [0, 0, 0]
    for transform in (csls, sinkhorn, hungarian):
        assert transform(similarity).argmax(axis=1).tolist() == [0, 1, 2]


def test_sinkhorn_plan_is_balanced() -> None:
    plan = np.exp(sinkhorn(np.random.default_rng(0).normal(size=(6, 6)), temperature=0.5))
    np.testing.assert_allclose(plan.sum(axis=1), 1 / 6, atol=1e-6)
    np.testing.assert_allclose(plan.sum(axis=0), 1 / 6, atol=1e-6)


def test_unknown_target_gives_nothing() -> None:
    assert Retrieval("absent").scores(make_evidence(3)) == ()


def test_one_candidate_is_undefined() -> None:
    for scores in Retrieval("e", k=(1,)).scores(make_evidence(1)):
        assert np.isnan(scores.values).all()
