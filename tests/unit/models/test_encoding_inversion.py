from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from braindec.contracts import Decoder, FitContext, TrainingData
from braindec.datasets.miyawaki2008 import Miyawaki2008, write_fake
from braindec.models.encoding_inversion import (
    EncodingInversionDecoder,
    measure_patterns,
    smooth_pixels,
    whitened_patterns,
)
from braindec.models.linear import RidgeDecoder
from braindec.signals.average import average_repetitions
from braindec.signals.split import leave_repetition_out, leave_stimulus_out
from braindec.targets.pixels import Pixels
from braindec.types import DataError, Stimuli, TargetEmbeddings, Trials


def training(trials: Trials, stimuli: Stimuli, rows: np.ndarray) -> TrainingData:
    kept = trials.select(rows)
    shown = stimuli.select(sorted(set(kept.table["stimulus_id"])))
    target = Pixels(size=10, grey=True)
    return TrainingData({"S1": kept}, {}, {"pixels": TargetEmbeddings("pixels", shown.ids, target.embed(shown))})


def context(folder: Path) -> FitContext:
    return FitContext(seed=0, device="cpu", folder=folder)


@pytest.fixture
def fake(tmp_path: Path) -> tuple[Trials, Stimuli]:
    write_fake(str(tmp_path), n_voxels=60)
    dataset = Miyawaki2008(str(tmp_path))
    return dataset.trials("S1"), dataset.stimuli()


def small() -> EncodingInversionDecoder:
    return EncodingInversionDecoder(noise_shrinkages=[0.5, 1.0], smoothness_px=[0, 0.7], prior_scales=[1.0, 100.0])


def scores(
    trials: Trials, stimuli: Stimuli, folds: tuple, make: Callable[[], Decoder], folder: Path
) -> tuple[float, float, float]:
    """Mean pixel correlation, two-way and ten-way identification of single trials, pictures clipped as when decoded."""
    target = Pixels(size=10, grey=True)
    gallery = target.embed(stimuli)[:, 0]
    rows, predicted = [], []
    for fold in folds:
        decoder = make()
        decoder.fit(training(trials, stimuli, fold.train), context(folder))
        predicted.append(decoder.predict(trials.select(fold.test), "cpu")["pixels"][:, 0].clip(0, 1))
        rows.append(stimuli.rows(trials.table["stimulus_id"].iloc[fold.test].tolist()))
    true, out = np.concatenate(rows), np.concatenate(predicted)
    r = np.corrcoef(out, gallery)[: len(out), len(out) :]
    own = r[np.arange(len(true)), true]
    return float(own.mean()), float((r < own[:, None]).sum(1).mean() / 9), float((r.argmax(1) == true).mean())


def test_fits_predicts_and_travels_through_its_state(fake: tuple[Trials, Stimuli], tmp_path: Path) -> None:
    trials, stimuli = fake
    decoder = small()
    assert isinstance(decoder, Decoder)
    report = decoder.fit(training(trials, stimuli, np.arange(80)), context(tmp_path))
    chosen = report["S1"]["pixels"]
    assert chosen["noise_shrinkage"] in (0.5, 1.0)
    assert chosen["prior_scale"] in (1.0, 100.0)
    assert chosen["n_candidates"] == 8
    assert 0 < chosen["held_out_correlation"] <= 1
    predicted = decoder.predict(trials, "cpu")["pixels"]
    assert predicted.shape == (80, 1, 100)
    assert predicted.dtype == np.float32
    other = small()
    other.load_state(decoder.state())
    np.testing.assert_array_equal(other.predict(trials, "cpu")["pixels"], predicted)


def test_noise_covariance_matters(tmp_path: Path) -> None:
    """Noise that all features share, is removed only by a full covariance."""
    rng = np.random.default_rng(0)
    stimuli = Miyawaki2008("unused").stimuli()
    pictures = Pixels(size=10, grey=True).embed(stimuli)[:, 0]
    write_fake(str(tmp_path), n_voxels=60)
    trials = Miyawaki2008(str(tmp_path)).trials("S1")
    shown = pictures[stimuli.rows(trials.table["stimulus_id"].tolist())]
    clean = shown @ rng.normal(size=(100, 60))
    noise = rng.normal(size=(80, 4)) @ rng.normal(size=(4, 60)) * 5 + rng.normal(size=clean.shape)
    noisy = Trials("S1", (clean + noise).astype(np.float32)[..., None], "z", trials.space, trials.table)
    folds = leave_repetition_out(trials.table)[:3]

    def make(shrinkage: float) -> Callable[[], Decoder]:
        return lambda: EncodingInversionDecoder([shrinkage], [0], [100.0])

    full = scores(noisy, stimuli, folds, make(0.01), tmp_path)
    diagonal = scores(noisy, stimuli, folds, make(1.0), tmp_path)
    assert full[0] > 0.95
    assert diagonal[0] < full[0] - 0.1


def test_one_candidate_needs_no_selection(fake: tuple[Trials, Stimuli], tmp_path: Path) -> None:
    decoder = EncodingInversionDecoder([0.9], [0.5], [10.0])
    report = decoder.fit(training(*fake, np.arange(80)), context(tmp_path))
    assert "held_out_correlation" not in report["S1"]["pixels"]


def test_a_prior_of_no_width_gives_the_mean_picture(fake: tuple[Trials, Stimuli], tmp_path: Path) -> None:
    trials, stimuli = fake
    decoder = EncodingInversionDecoder([0.9], [0], [1e-12])
    data = training(trials, stimuli, np.arange(80))
    decoder.fit(data, context(tmp_path))
    predicted = decoder.predict(trials, "cpu")["pixels"]
    np.testing.assert_allclose(
        predicted, np.broadcast_to(data.targets["pixels"].values.mean(0), (80, 1, 100)), atol=1e-6
    )


def test_patterns_are_unbiased_and_shrunk() -> None:
    position = np.array([0, 0, 1, 1, 1])
    x = np.array([[1.0, 4.0], [3.0, 4.0], [10.0, 5.0], [12.0, 3.0], [11.0, 4.0]])
    patterns = measure_patterns(x, position)
    np.testing.assert_allclose(patterns.mean_P, [6.5, 4.0])
    np.testing.assert_allclose(patterns.variance_P, [(1 + 1 + 1 + 1 + 0) / 3, 2 / 3])
    between = 2 * 4.5**2 + 3 * 4.5**2
    np.testing.assert_allclose(patterns.signal_UP[:, 0], np.array([-4.5, 4.5]) * (1 - (4 / 3) / between))
    np.testing.assert_array_equal(patterns.signal_UP[:, 1], 0)


@pytest.mark.parametrize("shrinkage", [0.05, 0.5, 1.0])
def test_whitening_is_the_dense_inverse(shrinkage: float) -> None:
    rng = np.random.default_rng(1)
    position = np.repeat(np.arange(4), 5)
    patterns = measure_patterns(rng.normal(size=(20, 7)) + position[:, None] * rng.normal(size=7), position)
    dense = patterns.residual_NP.T @ patterns.residual_NP / 16
    sigma = shrinkage * np.diag(np.diag(dense)) + (1 - shrinkage) * dense
    expected = patterns.signal_UP @ np.linalg.inv(sigma)
    np.testing.assert_allclose(whitened_patterns(patterns, shrinkage), expected, rtol=1e-8, atol=1e-10)


def test_smoothing_keeps_channels_apart() -> None:
    delta = np.zeros((1, 5, 5, 3))
    delta[0, 2, 1, 1] = 1
    smooth = smooth_pixels(delta.reshape(1, -1), 0.8, (1, 75)).reshape(5, 5, 3)
    rows, columns = np.mgrid[:5, :5]
    np.testing.assert_allclose(smooth[..., 1], np.exp(-((rows - 2) ** 2 + (columns - 1) ** 2) / 2 / 0.8**2))
    assert not smooth[..., [0, 2]].any()


def test_targets_that_are_no_picture(fake: tuple[Trials, Stimuli], tmp_path: Path) -> None:
    trials, stimuli = fake
    target = TargetEmbeddings("clip", stimuli.ids, np.random.default_rng(0).normal(size=(10, 2, 7)).astype(np.float32))
    data = TrainingData({"S1": trials}, {}, {"clip": target})
    decoder = EncodingInversionDecoder([0.9], [0], [10.0])
    decoder.fit(data, context(tmp_path))
    assert decoder.predict(trials, "cpu")["clip"].shape == (80, 2, 7)
    with pytest.raises(DataError, match="no square picture"):
        EncodingInversionDecoder([0.9], [0.5], [10.0]).fit(data, context(tmp_path))


def test_bad_input(fake: tuple[Trials, Stimuli], tmp_path: Path) -> None:
    trials, stimuli = fake
    everything = np.arange(80)
    averaged = average_repetitions(trials)
    with pytest.raises(DataError, match="hold no repetition"):
        small().fit(training(averaged, stimuli, np.arange(10)), context(tmp_path))
    broken = trials.signal.copy()
    broken[3, 2] = np.nan
    poisoned = Trials("S1", broken, "z", trials.space, trials.table)
    with pytest.raises(DataError, match="nan in trial 3"):
        small().fit(training(poisoned, stimuli, everything), context(tmp_path))
    silent = Trials("S1", np.zeros_like(broken), "z", trials.space, trials.table)
    with pytest.raises(DataError, match="no noise to measure"):
        small().fit(training(silent, stimuli, everything), context(tmp_path))
    same = TargetEmbeddings("pixels", stimuli.ids, np.ones((10, 1, 100), np.float32))
    with pytest.raises(DataError, match="identical targets"):
        small().fit(TrainingData({"S1": trials}, {}, {"pixels": same}), context(tmp_path))
    holes = TargetEmbeddings("pixels", stimuli.ids, np.full((10, 1, 100), np.nan, np.float32))
    with pytest.raises(DataError, match="NaN or infinite"):
        small().fit(TrainingData({"S1": trials}, {}, {"pixels": holes}), context(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.0], [0], [1.0]), "noise_shrinkages"),
        (([1.1], [0], [1.0]), "noise_shrinkages"),
        (([0.5], [], [1.0]), "smoothness_px"),
        (([0.5], [-1], [1.0]), "smoothness_px"),
        (([0.5], [0], [0.0]), "prior_scales"),
        (([0.5], [0], [1.0], 0.0), "encoding_ridge"),
    ],
)
def test_bad_settings(arguments: tuple, message: str) -> None:
    with pytest.raises(DataError, match=message):
        EncodingInversionDecoder(*arguments)


def test_dead_features_are_ignored(fake: tuple[Trials, Stimuli], tmp_path: Path) -> None:
    trials, stimuli = fake
    signal = trials.signal.copy()
    signal[:, :5] = 3.0
    dead = Trials("S1", signal, "z", trials.space, trials.table)
    decoder, without = small(), small()
    decoder.fit(training(dead, stimuli, np.arange(80)), context(tmp_path))
    without.fit(training(dead.select_space(np.arange(5, 60)), stimuli, np.arange(80)), context(tmp_path))
    np.testing.assert_allclose(
        decoder.predict(dead, "cpu")["pixels"],
        without.predict(dead.select_space(np.arange(5, 60)), "cpu")["pixels"],
        atol=1e-4,
    )


def test_real_recordings(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    """The figures of docs/miyawaki2008.md, and better than ridge on pictures never seen in training."""
    dataset = Miyawaki2008(str(real_data("miyawaki2008_figures")))
    trials, stimuli = dataset.trials("S1"), dataset.stimuli()

    def inversion() -> Decoder:
        return EncodingInversionDecoder([0.9], [0.5], [100.0])

    seen = scores(trials, stimuli, leave_repetition_out(trials.table), inversion, tmp_path)
    assert seen[0] > 0.97
    assert seen[2] >= 0.95
    folds = leave_stimulus_out(trials.table)
    unseen = scores(trials, stimuli, folds, inversion, tmp_path)
    ridge = scores(trials, stimuli, folds, lambda: RidgeDecoder(alphas=[300.0]), tmp_path)
    assert unseen[0] > 0.82
    assert unseen[1] > 0.84
    assert unseen[0] > ridge[0] + 0.02
    assert unseen[1] > ridge[1] + 0.05
