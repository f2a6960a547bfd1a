"""The model cortex: retinotopy, selectivity, standardisation; and the instrument's noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from braindec.datasets.simulated.anatomy import PATCHES, lay_out, mixing_matrix
from braindec.datasets.simulated.cortex import Cortex
from braindec.datasets.simulated.features import SceneFeatures, scene_features
from braindec.datasets.simulated.recording import draw_instrument, record, schedule
from braindec.datasets.simulated.scenes import SceneBatch, render_scenes
from braindec.datasets.simulated.vocabulary import GROUP_OF
from braindec.types import DataError


@pytest.fixture(scope="module")
def batch() -> SceneBatch:
    return render_scenes(500, seed=11)


@pytest.fixture(scope="module")
def seen(batch: SceneBatch) -> SceneFeatures:
    return scene_features(batch)


@pytest.fixture(scope="module")
def cortex(seen: SceneFeatures) -> Cortex:
    return Cortex(seed=0, subject=0, n_voxels=500, nonlinearity=0.0, reference=seen)


def take(features: SceneFeatures, rows: slice) -> SceneFeatures:
    return SceneFeatures(**{name: values[rows] for name, values in vars(features).items()})


def test_responses_are_standard_over_the_reference(cortex: Cortex, seen: SceneFeatures) -> None:
    for model in (cortex, Cortex(0, 0, 200, 1.0, seen)):
        response = model.respond(seen)
        np.testing.assert_allclose(response.mean(axis=0), 0, atol=1e-3)
        np.testing.assert_allclose(response.std(axis=0), 1, atol=1e-3)


def test_nonlinear_code_hides_luminance_from_a_linear_reader(batch: SceneBatch, seen: SceneFeatures) -> None:
    luminance = batch.images.reshape(500, 4, 16, 4, 16, 3).mean(axis=(2, 4, 5)).reshape(500, 16)
    luminance = luminance - luminance[:300].mean(axis=0)
    explained = {}
    for nonlinearity in (0.0, 1.0):
        model = Cortex(0, 0, 200, nonlinearity, seen)
        response = model.respond(seen)[:, model.anatomy.rois()["early"]]
        weights = np.linalg.solve(
            response[:300].T @ response[:300] + 30 * np.eye(response.shape[1]), response[:300].T @ luminance[:300]
        )
        residual = luminance[300:] - response[300:] @ weights
        explained[nonlinearity] = 1 - (residual**2).sum() / (luminance[300:] ** 2).sum()
    assert explained[0.0] > 0.8
    assert explained[1.0] < explained[0.0] - 0.3


def test_a_response_does_not_depend_on_the_other_scenes(cortex: Cortex, seen: SceneFeatures) -> None:
    few = cortex.respond(take(seen, slice(40, 43)))
    np.testing.assert_allclose(few, cortex.respond(seen)[40:43], atol=1e-4)


def test_areas_are_contiguous_and_rois_are_complete(cortex: Cortex) -> None:
    rois, areas = cortex.anatomy.rois(), cortex.anatomy.areas
    assert (np.diff(np.flatnonzero(areas[1:] != areas[:-1])) > 0).all()
    assert np.count_nonzero(areas[1:] != areas[:-1]) == 6
    np.testing.assert_array_equal(rois["early"], rois["V1"] | rois["V2"] | rois["V3"] | rois["V4"])
    np.testing.assert_array_equal(np.logical_or.reduce([rois[p] for p in PATCHES.values()]), rois["ventral"])
    np.testing.assert_array_equal(rois["early"] | rois["ventral"] | rois["scene"] | rois["language"], rois["all"])
    assert all(mask.any() for mask in rois.values())
    space = cortex.anatomy.space
    assert len(np.unique(space.grid_index, axis=0)) == space.size
    assert (space.grid_index < space.grid_shape).all()


def test_a_moving_patch_moves_the_responding_voxels(cortex: Cortex, batch: SceneBatch) -> None:
    centres = [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)]
    images = np.full((5, 64, 64, 3), 90, dtype=np.uint8)
    for k, (x, y) in enumerate(centres):
        images[k, int(y * 64) - 8 : int(y * 64) + 8, int(x * 64) - 8 : int(x * 64) + 8] = 255
    five = SceneBatch(**{name: value if name in ("seed",) else value[:5] for name, value in vars(batch).items()})
    response = cortex.respond(scene_features(replace(five, images=images)))
    change = np.abs(response[:4] - response[4])
    voxels = cortex.anatomy.rois()["V1"]
    for k, centre in enumerate(centres):
        weights = change[k, voxels] ** 2
        mean = (weights[:, None] * cortex.anatomy.field_xy[voxels]).sum(axis=0) / weights.sum()
        assert np.hypot(*(mean - centre)) < 0.12


def test_receptive_fields_grow_along_the_hierarchy(cortex: Cortex) -> None:
    mean = [cortex.anatomy.field_sigma[cortex.anatomy.rois()[area]].mean() for area in ("V1", "V2", "V3", "V4")]
    assert mean == sorted(mean)


def test_patches_prefer_their_group(cortex: Cortex, seen: SceneFeatures, batch: SceneBatch) -> None:
    response, rois = cortex.respond(seen), cortex.anatomy.rois()
    groups = np.array([GROUP_OF[concept] for concept in batch.concepts])
    for group in ("face", "animal", "vehicle"):
        patch = response[:, rois[PATCHES[group]]].mean(axis=1)
        means = {other: patch[groups == other].mean() for other in PATCHES}
        assert max(means, key=means.__getitem__) == group


def test_ventral_tells_categories_better_than_v1(cortex: Cortex, seen: SceneFeatures, batch: SceneBatch) -> None:
    response = cortex.respond(seen) + np.random.default_rng(0).standard_normal((500, 500))
    labels = np.array(batch.concepts)
    score = {}
    for area in ("ventral", "V1"):
        mask = cortex.anatomy.rois()[area]
        model = LogisticRegression(C=0.01, max_iter=300).fit(response[:350, mask], labels[:350])
        score[area] = model.score(response[350:, mask], labels[350:])
    assert score["ventral"] > 4 / 16
    assert score["ventral"] > 1.5 * score["V1"]


def test_words_reach_the_language_area_and_not_v1_or_v2(cortex: Cortex, batch: SceneBatch, seen: SceneFeatures) -> None:
    swapped = scene_features(replace(batch, captions=batch.captions[::-1]))
    change = np.abs(cortex.respond(swapped) - cortex.respond(seen)).mean(axis=0)
    rois = cortex.anatomy.rois()
    assert change[rois["V1"] | rois["V2"]].max() < 1e-4
    assert change[rois["language"]].mean() > 0.5


def test_subjects_differ(seen: SceneFeatures) -> None:
    first, second = (Cortex(0, k, 200, 0.0, seen).respond(seen) for k in (0, 1))
    assert np.abs(np.diag(np.corrcoef(first.T, second.T)[:200, 200:])).mean() < 0.9


def test_mixing_reaches_neighbours_only() -> None:
    anatomy = lay_out(200, np.random.default_rng(0))
    mixing = mixing_matrix(anatomy.space, np.random.default_rng(1))
    grid = anatomy.space.grid_index
    assert grid is not None
    far = ((grid[:, None] - grid[None]) ** 2).sum(axis=-1) > 4
    assert (mixing[far] == 0).all()
    np.testing.assert_array_equal(np.diag(mixing), 1)


def test_too_few_voxels_are_refused() -> None:
    with pytest.raises(DataError, match="n_voxels"):
        lay_out(10, np.random.default_rng(0))


@pytest.mark.parametrize("mean", [0.4, 1.5])
def test_ncsnr_has_the_asked_mean_and_spreads(mean: float) -> None:
    instrument = draw_instrument(2000, mean, np.random.default_rng(0))
    np.testing.assert_allclose(instrument.ncsnr.mean(), mean)
    assert 0.2 * mean < instrument.ncsnr.std() < 0.7 * mean
    assert instrument.ncsnr.min() > 0


def test_noise_has_the_planted_size() -> None:
    instrument = draw_instrument(50, 0.5, np.random.default_rng(0))
    session = np.zeros(8000, dtype=int)
    signal = record(np.zeros((8000, 50)), session, instrument, 0.0, np.random.default_rng(1))
    np.testing.assert_allclose(signal.std(axis=0), instrument.amplitude_psc / instrument.ncsnr, rtol=0.05)


def test_drift_moves_session_means_and_gains() -> None:
    instrument = draw_instrument(3000, 5.0, np.random.default_rng(0))
    session = np.repeat([0, 1], 200)
    response = np.random.default_rng(2).standard_normal((400, 3000))
    signal = record(response, session, instrument, 0.6, np.random.default_rng(1)) / instrument.amplitude_psc
    offset = (signal[:200].mean(axis=0) - signal[200:].mean(axis=0)) / np.sqrt(2)
    np.testing.assert_allclose(offset.std(), 0.6, rtol=0.2)
    gain = signal[:200].std(axis=0) / signal[200:].std(axis=0)
    assert gain.std() > 0.15


def test_schedule_spreads_splits_and_counts_repetitions() -> None:
    stimuli = {"train": tuple("abcdefghij"), "test": ("x", "y")}
    table = schedule(stimuli, {"train": 3, "test": 6}, 3, np.random.default_rng(0))
    assert len(table) == 42
    assert (np.diff(table["session"]) >= 0).all()
    for session in range(3):
        assert set(table.loc[table["session"] == session, "split"]) == {"train", "test"}
    for _, rows in table.groupby("stimulus_id"):
        assert list(rows["repetition"]) == list(range(len(rows)))
