from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evidence import make_evidence
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from braindec.contracts import Metric
from braindec.metrics.image import CONSTANT_FLAG, MSE, SSIM, PixCorr, pixel_correlation, structural_similarity
from braindec.metrics.pixels import grey, resized

METRICS = [PixCorr(size=None), SSIM(size=None), SSIM(size=None, ssim_1d=True), MSE(size=None)]


@pytest.mark.parametrize("metric", METRICS)
def test_identical_images_are_perfect(metric: Metric) -> None:
    (scores,) = metric.scores(make_evidence())
    perfect = 0.0 if scores.direction == "lower" else 1.0
    np.testing.assert_allclose(scores.values, perfect, atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_noise_makes_it_worse_and_order_does_not_matter(metric: Metric) -> None:
    truth = np.array([3, 1, 1, 0, 2, 3])
    evidence = make_evidence(4, truth=truth, noise=0.5)
    (scores,) = metric.scores(evidence)
    perfect = 0.0 if scores.direction == "lower" else 1.0
    assert (np.abs(scores.values - perfect) > 0.01).all()
    order = np.array([5, 2, 0, 3, 1, 4])
    shuffled = replace(
        evidence.permuted(order), table=evidence.table.iloc[order].reset_index(drop=True), truth=truth[order]
    )
    np.testing.assert_allclose(metric.scores(shuffled)[0].values, scores.values[order], atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_without_images_there_is_no_score(metric: Metric) -> None:
    assert metric.scores(replace(make_evidence(), images=None)) == ()
    evidence = make_evidence()
    assert metric.scores(replace(evidence, gallery=replace(evidence.gallery, images=None))) == ()


def test_constant_reconstruction_scores_zero_and_is_flagged() -> None:
    evidence = make_evidence(3)
    images = evidence.images.copy()
    images[1] = 128
    (scores,) = PixCorr(size=None).scores(replace(evidence, images=images))
    np.testing.assert_allclose(scores.values, [1.0, 0.0, 1.0])
    assert CONSTANT_FLAG in scores.flags
    assert CONSTANT_FLAG not in PixCorr(size=None).scores(evidence)[0].flags


def test_constant_stimulus_is_undefined_for_correlation_only() -> None:
    evidence = make_evidence(3)
    stimuli = evidence.gallery.images.copy()
    stimuli[1] = 128
    evidence = replace(evidence, gallery=replace(evidence.gallery, images=stimuli))
    (scores,) = PixCorr(size=None).scores(evidence)
    assert np.isnan(scores.values).tolist() == [False, True, False]
    assert np.isfinite(SSIM(size=None).scores(evidence)[0].values).all()


def test_pixcorr_is_numpys_correlation() -> None:
    evidence = make_evidence(5, noise=1.0)
    (scores,) = PixCorr(size=None).scores(evidence)
    expected = [
        np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(evidence.gallery.images, evidence.images, strict=True)
    ]
    np.testing.assert_allclose(scores.values, expected, atol=1e-12)


def test_mse_on_the_unit_scale() -> None:
    evidence = make_evidence(2)
    stimuli = np.zeros_like(evidence.gallery.images)
    evidence = replace(evidence, gallery=replace(evidence.gallery, images=stimuli), images=np.full_like(stimuli, 51))
    np.testing.assert_allclose(MSE(size=None).scores(evidence)[0].values, 0.2**2)


def test_sizes_are_reconciled_and_stamped() -> None:
    evidence = make_evidence(3, side=20)
    smaller = replace(evidence, images=np.stack([resized(image, 14, 14) for image in evidence.images]))
    (native,) = PixCorr(size=None).scores(smaller)
    (fixed,) = PixCorr(size=16).scores(smaller)
    assert 0.3 < native.values.min() < 1.0
    assert any("native" in flag for flag in native.flags)
    assert any("16 px" in flag for flag in fixed.flags)


@settings(max_examples=25, deadline=None)
@given(
    arrays(np.float64, (12, 13), elements=st.floats(0, 1, width=32)),
    arrays(np.float64, (12, 13), elements=st.floats(0, 1, width=32)),
)
def test_ssim_is_symmetric_bounded_and_reflexive(a: np.ndarray, b: np.ndarray) -> None:
    assert structural_similarity(a, b) == pytest.approx(structural_similarity(b, a), abs=1e-12)
    assert -1.0 - 1e-9 <= structural_similarity(a, b) <= 1.0 + 1e-9
    assert structural_similarity(a, a) == pytest.approx(1.0)


@settings(max_examples=25, deadline=None)
@given(arrays(np.uint8, (4, 5, 3)), st.floats(0.1, 3.0), st.floats(-50, 50))
def test_pixel_correlation_ignores_gain_and_offset(image: np.ndarray, gain: float, offset: float) -> None:
    found = pixel_correlation(image, image.astype(np.float64) * gain + offset)
    assert np.isnan(found) if image.min() == image.max() else found == pytest.approx(1.0)


def test_grey_is_within_the_unit_interval() -> None:
    assert grey(np.full((2, 2, 3), 255, np.uint8)) == pytest.approx(np.ones((2, 2)))
