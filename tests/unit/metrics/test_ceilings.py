from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evidence import make_evidence

from braindec.metrics.ceilings import halves_evidence, noise_ceilings, step_up
from braindec.metrics.identification import TwoWay
from braindec.metrics.image import MSE, PixCorr
from braindec.metrics.summary import summarise
from braindec.types import Evidence


def pictures(seed: int, noise: float) -> Evidence:
    """Forty pictures of 20 x 20 pixels around mid-grey, decoded with additive noise that never clips."""
    rng = np.random.default_rng(99)
    true = rng.integers(100, 156, (40, 20, 20, 3))
    decoded = true + noise * np.random.default_rng(seed).normal(size=true.shape)
    evidence = make_evidence(40, side=20)
    return replace(
        evidence,
        gallery=replace(evidence.gallery, images=true.astype(np.uint8)),
        images=np.clip(np.round(decoded), 0, 255).astype(np.uint8),
    )


def halves(noise: float) -> Evidence:
    """Two halves of two repetitions each, of four repetitions in all: a half has twice the whole's noise variance."""
    first, second = pictures(1, noise * np.sqrt(2)), pictures(2, noise * np.sqrt(2))
    one = halves_evidence(first, second)
    return replace(one, table=one.table.assign(n_repetitions=2))


def ceiling_of(metric, noise: float):
    evidence = halves(noise)
    keys = zip(evidence.table["subject"], evidence.table["stimulus_id"])
    return noise_ceilings([(evidence, metric.scores(evidence))], dict.fromkeys(keys, 4.0))


@pytest.mark.parametrize("noise", [6.0, 12.0])
def test_a_decoder_that_is_only_noisy_reaches_its_ceiling(noise: float) -> None:
    """Decoding is the truth plus noise: then the ceiling is what the whole average really scores."""
    whole = pictures(3, noise)
    for metric in (PixCorr(size=None), MSE(size=None)):
        (scores,) = metric.scores(whole)
        (ceiling,) = ceiling_of(metric, noise).values()
        assert ceiling.value == pytest.approx(scores.values.mean(), rel=0.02)
        assert ceiling.rule == scores.ceiling_rule


def test_identification_has_its_repeatability_and_is_normalised() -> None:
    metric = TwoWay("pixels", size=None)
    ceilings = ceiling_of(metric, 200.0)
    (ceiling,) = ceilings.values()
    assert ceiling.rule == "repeatability"
    assert 0.5 < ceiling.value < 1
    evidence = pictures(3, 400.0)
    scores, _ = summarise([(evidence, metric.scores(evidence))], n_resamples=50, ceilings=ceilings)
    entry = scores["metrics"]["two_way_pixels"]
    assert entry["ceiling"] == ceiling.value
    assert entry["ceiling_normalised"] == pytest.approx((entry["value"] - 0.5) / (ceiling.value - 0.5))


def test_noise_alone_has_a_ceiling_at_chance_and_nothing_is_divided_by_it() -> None:
    first, second = make_evidence(30, noise=1e6, seed=0), make_evidence(30, noise=1e6, seed=1)
    evidence = halves_evidence(first, second)
    keys = zip(evidence.table["subject"], evidence.table["stimulus_id"])
    metric = PixCorr(size=None)
    ceilings = noise_ceilings([(evidence, metric.scores(evidence))], dict.fromkeys(keys, 2.0))
    assert ceilings["pixcorr"].value < 0.2
    zero = {"pixcorr": replace(ceilings["pixcorr"], value=0.0)}
    scores, _ = summarise([(first, metric.scores(first))], n_resamples=50, ceilings=zero)
    assert scores["metrics"]["pixcorr"]["ceiling_normalised"] is None


def test_step_up() -> None:
    assert step_up(0.5, 2) == pytest.approx(2 / 3)
    assert step_up(0.3, 1) == pytest.approx(0.3)
    assert step_up(-0.2, 2) == 0
