from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evidence import make_evidence
from hypothesis import given, settings
from hypothesis import strategies as st

from braindec.metrics.identification import NWay, TwoWay
from braindec.metrics.image import CONSTANT_FLAG
from braindec.metrics.similarity import similarity_matrix
from braindec.types import DataError, Evidence


def plain_two_way(true_GF: np.ndarray, decoded_NF: np.ndarray, truth: np.ndarray) -> list[float]:
    """The definition, in loops."""
    shares = []
    for j, own in enumerate(truth):
        r = [np.corrcoef(true_GF[i].ravel(), decoded_NF[j].ravel())[0, 1] for i in range(len(true_GF))]
        others = [i for i in range(len(true_GF)) if i != own]
        shares.append(sum(r[i] < r[own] for i in others) / len(others))
    return shares


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 7), st.integers(1, 9), st.floats(0.0, 5.0), st.integers(0, 1000))
def test_two_way_equals_the_double_loop(n_gallery: int, n_rows: int, noise: float, seed: int) -> None:
    truth = np.random.default_rng(seed).integers(0, n_gallery, n_rows)
    evidence = make_evidence(n_gallery, truth=truth, noise=noise, seed=seed)
    (pixels,) = TwoWay("pixels", size=None).scores(evidence)
    (embedding,) = TwoWay("e").scores(evidence)
    np.testing.assert_allclose(pixels.values, plain_two_way(evidence.gallery.images, evidence.images, truth))
    expected = plain_two_way(evidence.gallery_embeddings["e"], evidence.embeddings["e"], truth)
    np.testing.assert_allclose(embedding.values, expected)


@pytest.mark.parametrize("features", ["pixels", "e"])
def test_identical_is_perfect(features: str) -> None:
    evidence = make_evidence(6, truth=np.array([0, 0, 5, 3, 2, 1, 4]))
    assert TwoWay(features, size=None).scores(evidence)[0].values == pytest.approx(np.ones(7))
    (identified,) = NWay(features, size=None).scores(evidence)
    assert identified.values == pytest.approx(np.ones(7))
    assert identified.chance == pytest.approx(1 / 6)
    assert identified.gallery_size == 6


def test_unrelated_predictions_are_at_chance() -> None:
    evidence = make_evidence(400, noise=1e6, dim=32)
    (two_way,) = TwoWay("e").scores(evidence)
    assert abs(two_way.values.mean() - 0.5) < 4 * two_way.values.std() / 20
    (ten_way,) = NWay("e", n=10).scores(evidence)
    assert ten_way.chance == pytest.approx(0.1)
    assert ten_way.gallery_size == 10
    assert abs(ten_way.values.mean() - 0.1) < 4 * ten_way.values.std() / 20


def test_gallery_of_two_and_of_one() -> None:
    pair = make_evidence(2).permuted(np.array([1, 0]))
    assert TwoWay("e").scores(pair)[0].values == pytest.approx([0.0, 0.0])
    alone = make_evidence(1)
    assert np.isnan(TwoWay("e").scores(alone)[0].values).all()
    assert np.isnan(NWay("e").scores(alone)[0].values).all()


def with_twin_stimuli() -> Evidence:
    """Stimuli 0 and 1 are the same picture, so they tie for every reconstruction."""
    evidence = make_evidence(4)
    images = evidence.gallery.images.copy()
    images[1] = images[0]
    return replace(evidence, gallery=replace(evidence.gallery, images=images), images=images[evidence.truth])


def test_ties() -> None:
    evidence = with_twin_stimuli()
    assert TwoWay(size=None).scores(evidence)[0].values == pytest.approx([2 / 3, 2 / 3, 1, 1])
    (half,) = TwoWay(size=None, half_ties=True).scores(evidence)
    assert half.values == pytest.approx([2.5 / 3, 2.5 / 3, 1, 1])
    assert any("half" in flag for flag in half.flags)
    assert NWay(size=None).scores(evidence)[0].values == pytest.approx([0.5, 0.5, 1, 1])


def test_constant_reconstruction_scores_chance_and_is_flagged() -> None:
    evidence = make_evidence(5)
    images = evidence.images.copy()
    images[2] = 7
    evidence = replace(evidence, images=images)
    (two_way,) = TwoWay(size=None).scores(evidence)
    (identified,) = NWay(size=None).scores(evidence)
    assert two_way.values == pytest.approx([1, 1, 0.5, 1, 1])
    assert identified.values == pytest.approx([1, 1, 0.2, 1, 1])
    assert CONSTANT_FLAG in two_way.flags
    assert CONSTANT_FLAG in identified.flags


def test_constant_stimulus_is_undefined_and_no_distractor() -> None:
    evidence = make_evidence(5)
    stimuli = evidence.gallery.images.copy()
    stimuli[2] = 7
    evidence = replace(evidence, gallery=replace(evidence.gallery, images=stimuli))
    values = TwoWay(size=None).scores(evidence)[0].values
    assert np.isnan(values).tolist() == [False, False, True, False, False]
    assert values[[0, 1, 3, 4]] == pytest.approx(np.ones(4))


def test_missing_input_gives_nothing_and_bad_input_is_named() -> None:
    evidence = make_evidence(3)
    assert TwoWay("absent").scores(evidence) == ()
    assert NWay().scores(replace(evidence, images=None)) == ()
    broken = evidence.embeddings["e"].copy()
    broken[1, 0, 0] = np.nan
    with pytest.raises(DataError, match="row 1"):
        TwoWay("e").scores(replace(evidence, embeddings={"e": broken}))
    with pytest.raises(DataError, match="features"):
        TwoWay("e").scores(replace(evidence, embeddings={"e": evidence.embeddings["e"][:, :1]}))


def test_candidate_order_does_not_matter() -> None:
    evidence = make_evidence(9, noise=2.0)
    order = np.random.default_rng(1).permutation(9)
    gallery = evidence.gallery.select([evidence.gallery.ids[g] for g in order])
    moved = replace(
        evidence,
        gallery=gallery,
        truth=np.argsort(order)[evidence.truth],
        gallery_embeddings={"e": evidence.gallery_embeddings["e"][order]},
    )
    for metric in (TwoWay("e"), NWay("e"), TwoWay("pixels", size=None)):
        np.testing.assert_allclose(metric.scores(moved)[0].values, metric.scores(evidence)[0].values)


@pytest.mark.parametrize("kind", ["correlation", "cosine"])
def test_similarity_in_chunks_equals_numpy(kind: str) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(3, 1, (4, 40_000)).astype(np.float32), rng.normal(-2, 1, (6, 40_000)).astype(np.float32)
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    if kind == "correlation":
        expected = np.corrcoef(a64, b64)[:4, 4:]
    else:
        expected = a64 @ b64.T / np.linalg.norm(a64, axis=1)[:, None] / np.linalg.norm(b64, axis=1)
    np.testing.assert_allclose(similarity_matrix(a, b, kind), expected, atol=2e-10)
