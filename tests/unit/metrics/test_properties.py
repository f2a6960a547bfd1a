"""What every score must satisfy: perfect for identical material, blind to order, at chance on shuffled pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from evidence import make_evidence

from braindec.metrics.bootstrap import resample
from braindec.metrics.captions import Bleu, CaptionWords
from braindec.metrics.category import ConceptNWay, LabelAccuracy
from braindec.metrics.control_shuffle import shuffled_brain
from braindec.metrics.identification import NWay, TwoWay
from braindec.metrics.image import MSE, SSIM, PixCorr
from braindec.metrics.published_captions import PublishedCaptions
from braindec.metrics.published_images import PublishedFeatures, PublishedPixels
from braindec.metrics.retrieval import Retrieval
from braindec.metrics.statistics import percentile_interval
from braindec.types import Evidence, Scores


class Corner:
    def features(self, images: np.ndarray) -> np.ndarray:
        return np.asarray(images)[:, :3, :3].reshape(len(images), -1).astype(np.float32)

    def describe(self) -> dict[str, object]:
        return {}


METRICS: dict[str, Callable[[], object]] = {
    "pixcorr": lambda: PixCorr(size=None),
    "ssim": lambda: SSIM(size=None),
    "mse": lambda: MSE(size=None),
    "two_way": lambda: TwoWay(size=None),
    "two_way_embedding": lambda: TwoWay("e"),
    "n_way": lambda: NWay("e", n=5),
    "retrieval": lambda: Retrieval("e", k=(1, 3)),
    "concepts": lambda: ConceptNWay("e", k=(1,)),
    "labels": lambda: LabelAccuracy(),
    "words": lambda: CaptionWords(),
    "bleu": lambda: Bleu(),
    "brainhub": lambda: PublishedCaptions("brainhub"),
    "mindeye": lambda: PublishedPixels("mindeye", device="cpu"),
    "features": lambda: PublishedFeatures("mindeye", {"corner": Corner(), "swav": Corner()}),
}
BEST = {"mse": 0.0, "mindeye_swav": 0.0, "brainhub_cider": 10.0, "e_forward_rank": 1.0, "e_backward_rank": 1.0}
CHEAP = [name for name in METRICS if name not in ("mindeye", "brainhub", "ssim")]


def scored(name: str, evidence: Evidence) -> tuple[Scores, ...]:
    return METRICS[name]().scores(evidence)  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("name", METRICS)
def test_identical_material_scores_perfectly(name: str) -> None:
    evidence = make_evidence(9)
    unique = tuple((f"one lonely word{g} stands here",) for g in range(9))
    gallery = replace(evidence.gallery, captions=unique, concepts=evidence.gallery.concepts)
    if name == "concepts":
        gallery = replace(gallery, concepts=tuple(f"c{g}" for g in range(9)))
    for scores in scored(name, replace(evidence, gallery=gallery, captions=tuple(c for (c,) in unique))):
        if "meteor" in scores.name:  # its penalty for one chunk keeps it just below 1
            assert (scores.values > 0.99).all()
            continue
        best = BEST.get(scores.name, 0.0 if scores.name.endswith("normalised_rank") else 1.0)
        np.testing.assert_allclose(scores.values, best, atol=1e-6, err_msg=scores.name)


@pytest.mark.parametrize("name", METRICS)
def test_the_order_of_predictions_does_not_matter(name: str) -> None:
    evidence = make_evidence(7, noise=1.0)
    order = np.random.default_rng(0).permutation(7)
    moved = replace(
        evidence.permuted(order),
        permuted_from=None,
        truth=evidence.truth[order],
        table=evidence.table.iloc[order].reset_index(drop=True),
    )
    for one, other in zip(scored(name, evidence), scored(name, moved), strict=True):
        np.testing.assert_allclose(other.values, one.values[order], atol=1e-9, err_msg=one.name)


@pytest.mark.parametrize("name", CHEAP)
def test_shuffled_pairs_are_at_chance_over_200_shuffles(name: str) -> None:
    """Chance lies within the 95% interval of 200 shuffles, and that of identification within their mean's error."""
    evidence = make_evidence(24, noise=0.5, side=6)
    means: dict[str, list[float]] = {}
    chances: dict[str, float | None] = {}
    metric = METRICS[name]()
    for (shuffled,) in shuffled_brain([evidence], 200, seed=3, allow_own=True):
        for scores in metric.scores(shuffled):  # type: ignore[attr-defined]
            if "rank" in scores.name and "normalised" not in scores.name:
                continue  # summarised by its median
            means.setdefault(scores.name, []).append(float(np.nanmean(scores.values)))
            chances[scores.name] = scores.chance
    for found, values in means.items():
        chance = chances[found]
        if chance is None:
            continue
        low, high = np.percentile(values, [2.5, 97.5])
        assert low - 1e-9 <= chance <= high + 1e-9, (found, low, chance, high)
        if found not in ("pixcorr", "mindeye_swav"):  # which are at chance for unrelated pairs, not for own ones
            error = np.std(values, ddof=1) / np.sqrt(len(values))
            assert abs(np.mean(values) - chance) < 4 * error + 1e-9, (found, np.mean(values), chance)


@pytest.mark.parametrize(("shape", "n"), [(None, 60), (4.0, 200)])
def test_intervals_cover_the_truth_in_93_to_97_percent(shape: float | None, n: int) -> None:
    """Normal scores of 60 stimuli, skewed ones of 200; 3,000 simulated data sets each."""
    rng = np.random.default_rng(5)
    data_IM = rng.normal(1, 0.5, (n, 3000)) if shape is None else rng.gamma(shape, 1 / shape, (n, 3000))
    low, high = percentile_interval(resample(data_IM[None], n_resamples=1500, seed=1).draws)
    assert 0.93 <= np.mean((low <= 1.0) & (high >= 1.0)) <= 0.97


def test_nested_intervals_cover_the_mean_of_many_subjects() -> None:
    """Twelve subjects drawn anew each time, 40 shared stimuli: the interval is about new subjects and new stimuli."""
    covered = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        values = 1 + 0.3 * rng.normal(size=(12, 1)) + 0.3 * rng.normal(size=(1, 40)) + 0.3 * rng.normal(size=(12, 40))
        low, high = percentile_interval(resample(values[:, :, None], 300, seed).draws)[:, 0]
        covered.append(low <= 1.0 <= high)
    assert 0.88 <= np.mean(covered) <= 0.98
