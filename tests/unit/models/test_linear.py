"""Linear decoders: what they recover, what they keep, what they refuse."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import Ridge

from braindec.contracts import Decoder, FitContext, TrainingData
from braindec.models import linear_map
from braindec.models.banded import BandedRidgeDecoder, band_scales
from braindec.models.baselines import PCARidgeDecoder, PLSDecoder
from braindec.models.linear import RidgeDecoder
from braindec.models.stacked import StackedRidgeDecoder, stacking_weights
from braindec.types import DataError, Space, TargetEmbeddings, Trials

N_SPACE, N_TIMES, N_STIMULI = 12, 3, 60
ALPHAS = [0.1, 1.0, 10.0, 100.0]
ROIS = {"front": np.arange(12) < 5, "back": np.arange(12) >= 5, "none": np.zeros(12, bool)}


def make_trials(subject="s1", repeats=2, seed=0, n_stimuli=N_STIMULI, noise=0.3):
    """Trials in which ``front`` carries the stimulus code and ``back`` is noise."""
    rng = np.random.default_rng(seed)
    shown = rng.permutation(np.repeat(np.arange(n_stimuli), repeats))
    code = np.random.default_rng(1).normal(size=(200, N_SPACE, N_TIMES))
    signal = code[shown] + noise * rng.normal(size=(len(shown), N_SPACE, N_TIMES)) + 2
    signal[:, 5:] = rng.normal(size=(len(shown), 7, N_TIMES))
    table = pd.DataFrame({"stimulus_id": [f"im{i}" for i in shown], "concept": "", "session": 1, "run": 1})
    table["repetition"], table["split"] = 0, "train"
    return Trials(subject, signal.astype(np.float32), "z", Space("voxels", N_SPACE), table, ROIS)


def make_targets(n_stimuli=N_STIMULI, seed=2, shape=(2, 4), dtype=np.float32):
    rng = np.random.default_rng(seed)
    code = np.random.default_rng(1).normal(size=(200, N_SPACE, N_TIMES))[:, :5].reshape(200, -1)
    mixing = rng.normal(size=(15, shape[0] * shape[1]))
    order = np.random.default_rng(3).permutation(n_stimuli)
    values = ((code @ mixing)[:n_stimuli][order] + 1).reshape(n_stimuli, *shape).astype(dtype)
    return TargetEmbeddings("t", tuple(f"im{i}" for i in order), values)


def make_data(**options):
    trials = make_trials(**options)
    targets = {"image": make_targets(), "text": replace(make_targets(seed=5, shape=(1, 40)), name="text")}
    return TrainingData({trials.subject: trials}, {}, targets)


@pytest.fixture
def context(tmp_path):
    return FitContext(seed=0, device="cpu", folder=tmp_path)


DECODERS = {
    "given": lambda: RidgeDecoder([2.0]),
    "loo": lambda: RidgeDecoder(ALPHAS),
    "token": lambda: RidgeDecoder(ALPHAS, alpha_per="token", selection="kfold", standardise_targets=True),
    "value": lambda: RidgeDecoder(ALPHAS, alpha_per="value", rois={"image": ["front"]}),
    "banded": lambda: BandedRidgeDecoder({"a": ["front"], "b": ["back"]}, [0.01, 0.1, 1.0, 10.0], 6),
    "stacked": lambda: StackedRidgeDecoder(["front", "back"], ALPHAS),
    "pca": lambda: PCARidgeDecoder(20, 1.0),
    "pls": lambda: PLSDecoder(6),
}


@pytest.mark.parametrize("kind", DECODERS)
def test_decoders_predict_unseen_trials_and_survive_their_state(kind, context):
    decoder = DECODERS[kind]()
    assert isinstance(decoder, Decoder)
    data = make_data()
    report = decoder.fit(data, context)
    json.dumps(report)
    assert set(report["s1"]) == {"image", "text", "seconds"}
    test = make_trials(seed=9, repeats=1)
    found = decoder.predict(test, "cpu")
    for name, target in data.targets.items():
        truth = target.of(test.table["stimulus_id"].tolist())
        assert found[name].shape == truth.shape
        assert found[name].dtype == np.float32
        assert np.corrcoef(found[name].ravel(), truth.ravel())[0, 1] > 0.75
    state = decoder.state()
    assert all(isinstance(array, np.ndarray) and array.dtype != object for array in state.values())
    other = DECODERS[kind]()
    other.load_state({name: array.copy() for name, array in state.items()})
    again = other.predict(test, "cpu")
    for name in found:
        np.testing.assert_array_equal(again[name], found[name])


@pytest.mark.parametrize("operators", [False, True])
def test_ridge_decoder_equals_sklearn_in_both_forms(context, tmp_path, monkeypatch, operators):
    monkeypatch.setattr(linear_map, "MEMORY_MAP_BYTES", 0)
    trials = make_trials(repeats=1, n_stimuli=20)
    width = 300 if operators else 4
    target = make_targets(shape=(2, width), dtype=np.float16)
    decoder = RidgeDecoder([3.0])
    decoder.fit(TrainingData({"s1": trials}, {}, {"t": target}), context)
    assert len(decoder.maps_["s1"]["t"].maps_QPU) == int(operators)
    assert isinstance(decoder.maps_["s1"]["t"].values_RT, np.memmap)
    test = make_trials(seed=4, n_stimuli=20)
    reference = Ridge(3.0).fit(
        trials.signal.reshape(20, -1), target.of(trials.table["stimulus_id"].tolist()).reshape(20, -1).astype(float)
    )
    expected = reference.predict(test.signal.reshape(len(test), -1).astype(float)).reshape(len(test), 2, width)
    np.testing.assert_allclose(decoder.predict(test, "cpu")["t"], expected, atol=1e-4 * np.abs(expected).max())


def test_rois_that_feed_a_target_are_all_it_reads(context):
    decoder = RidgeDecoder([1.0], rois={"image": ["front"]})
    decoder.fit(make_data(), context)
    test = make_trials(seed=9)
    changed = test.signal.copy()
    changed[:, ROIS["back"]] += 5
    before, after = decoder.predict(test, "cpu"), decoder.predict(replace(test, signal=changed), "cpu")
    np.testing.assert_array_equal(before["image"], after["image"])
    assert np.abs(before["text"] - after["text"]).max() > 0.1


def test_banded_ridge_finds_the_informative_band(context):
    decoder = DECODERS["banded"]()
    report = decoder.fit(make_data(), context)["s1"]["image"]
    assert report["band_scales"]["a"] > report["band_scales"]["b"]
    assert report["best_held_out_r2"] > report["equal_scales_held_out_r2"]


def test_banded_ridge_with_one_band_is_ridge(context):
    data = make_data(repeats=1)
    size = float(((data.train["s1"].signal - data.train["s1"].signal.mean(0)) ** 2).sum() / N_STIMULI)
    whole = {"all": ["front", "back"]}
    banded = BandedRidgeDecoder(whole, [0.5], n_candidates=1, precision="float64")
    ridge = RidgeDecoder([0.5 * size], precision="float64")
    banded.fit(data, context)
    ridge.fit(data, context)
    test = make_trials(seed=9)
    np.testing.assert_allclose(
        banded.predict(test, "cpu")["text"], ridge.predict(test, "cpu")["text"], rtol=1e-4, atol=1e-5
    )


def test_band_scales_are_on_the_simplex():
    scales = band_scales(3, 40, seed=0)
    np.testing.assert_allclose(scales[0], 1 / 3)
    np.testing.assert_allclose(scales.sum(1), 1)
    assert (scales >= 0).all()
    np.testing.assert_array_equal(scales, band_scales(3, 40, seed=0))


def test_stacking_weights_solve_non_negative_least_squares():
    from scipy.optimize import nnls

    rng = np.random.default_rng(0)
    y = rng.normal(size=(9, 30))
    matrices = [rng.normal(size=(9, 9)) / 9 + scale * np.eye(9) for scale in (0.5, 0.2, -0.4)]
    found = stacking_weights([torch.from_numpy(m) for m in matrices], torch.eye(9).double(), torch.from_numpy(y @ y.T))
    expected = nnls(np.stack([(m @ y).ravel() for m in matrices], axis=1), y.ravel())[0]
    np.testing.assert_allclose(found, expected, atol=1e-8)
    assert found[2] == 0


def test_stacked_ridge_ignores_a_roi_of_noise(context):
    weights = DECODERS["stacked"]().fit(make_data(), context)["s1"]["image"]["weights"]
    assert weights["front"] > 0.8
    assert weights["back"] < 0.1


def test_choices_do_not_depend_on_other_than_training_rows(context):
    data = make_data()
    report = RidgeDecoder(ALPHAS).fit(data, context)
    extra = make_targets(n_stimuli=100)
    more = make_targets()
    joined = TargetEmbeddings(
        "t", (*more.ids, *(f"x{i}" for i in extra.ids)), np.concatenate([more.values, 1e3 * extra.values])
    )
    changed = TrainingData(data.train, {"s1": make_trials(seed=8)}, {**data.targets, "image": joined})
    again = RidgeDecoder(ALPHAS).fit(changed, context)
    assert again["s1"]["image"] == report["s1"]["image"]


def test_wide_targets_keep_their_own_alphas_and_digits_far_from_zero(context):
    """Wide targets are kept beside maps from features to stimuli, one map an alpha."""
    trials, target = make_trials(repeats=1, n_stimuli=20), make_targets(n_stimuli=20, shape=(2, 300))
    values = target.values + np.float32(1e4)
    values[:, 1] = np.random.default_rng(0).normal(size=(20, 300)) + 1e4
    target = replace(target, values=values)
    decoder = RidgeDecoder([0.1, 1e4], alpha_per="token")
    report = decoder.fit(TrainingData({"s1": trials}, {}, {"t": target}), context)
    assert report["s1"]["t"]["alpha"] == [0.1, 1e4]
    assert len(decoder.maps_["s1"]["t"].maps_QPU) == 2
    found = decoder.predict(trials, "cpu")["t"]
    truth = target.of(trials.table["stimulus_id"].tolist()).astype(float)
    for token, alpha in enumerate((0.1, 1e4)):
        x = trials.signal.reshape(20, -1).astype(float)
        expected = Ridge(alpha).fit(x, truth[:, token]).predict(x)
        # float32 numbers near 1e4 are 1e-3 apart.
        np.testing.assert_allclose(found[:, token], expected, rtol=0, atol=5e-3)


def test_stacked_predictions_are_the_weighted_sum_of_the_rois(context):
    data, test = make_data(noise=1.0), make_trials(seed=9)
    stacked = StackedRidgeDecoder(["front", "back"], [10.0])
    weights = stacked.fit(data, context)["s1"]["text"]["weights"]
    parts = 0.0
    means = data.targets["text"].of(data.train["s1"].table["stimulus_id"].tolist()).mean(0)
    for roi, weight in weights.items():
        single = RidgeDecoder([10.0], rois={"text": [roi], "image": [roi]})
        single.fit(data, context)
        parts = parts + weight * (single.predict(test, "cpu")["text"] - means)
    assert min(weights.values()) < 0.9
    np.testing.assert_allclose(stacked.predict(test, "cpu")["text"], parts + means, atol=1e-4)


def test_subjects_are_fitted_independently(context):
    one, two = make_data(), make_data(subject="s2", seed=7)
    joint = RidgeDecoder([1.0])
    joint.fit(TrainingData({**one.train, **two.train}, {}, one.targets), context)
    alone = RidgeDecoder([1.0])
    alone.fit(two, context)
    test = make_trials("s2", seed=9)
    np.testing.assert_array_equal(joint.predict(test, "cpu")["image"], alone.predict(test, "cpu")["image"])


def test_misuse_is_named(context):
    decoder, data = RidgeDecoder([1.0]), make_data()
    test = make_trials(seed=9)
    with pytest.raises(DataError, match="RidgeDecoder is not fitted"):
        decoder.predict(test, "cpu")
    decoder.fit(data, context)
    with pytest.raises(DataError, match=r"no fit for subject 's9'; fitted subjects are \['s1'\]"):
        decoder.predict(replace(test, subject="s9"), "cpu")
    with pytest.raises(DataError, match="expected 12 positions x 3 time points as in training, found 11 x 3"):
        decoder.predict(test.select_space(np.arange(11)), "cpu")
    broken = test.signal.copy()
    broken[2, 1, 0] = np.nan
    with pytest.raises(DataError, match="signal of 's1': row 2, feature 3"):
        decoder.predict(replace(test, signal=broken), "cpu")
    with pytest.raises(DataError, match="found 'nonsense'"):
        decoder.load_state({"nonsense": np.zeros(1)})
    state = decoder.state()
    del state["s1/image/mean_P"]
    with pytest.raises(DataError, match=r"\['mean_P'\] are missing"):
        decoder.load_state(state)


def test_bad_configurations_are_named(context):
    data = make_data()
    cases = [
        (RidgeDecoder([]), "no candidate"),
        (RidgeDecoder({"image": [1.0]}), r"each target \['image', 'text'\], found \['image'\]"),
        (RidgeDecoder([1.0], rois={"imag": ["front"]}), r"unknown targets \['imag'\]"),
        (RidgeDecoder([1.0], rois={"image": ["side"]}), r"no ROI \['side'\]"),
        (RidgeDecoder([1.0], rois={"image": ["none"]}), "are empty"),
        (BandedRidgeDecoder({"a": ["front"], "b": ["front"]}, [1.0]), "disjoint"),
        (StackedRidgeDecoder([], [1.0]), "names no ROI"),
        (PCARidgeDecoder(500, 1.0), "expected 1 to 36 .* found 500"),
    ]
    for decoder, message in cases:
        with pytest.raises(DataError, match=message):
            decoder.fit(data, context)
    short = {"image": make_targets(n_stimuli=50)}
    with pytest.raises(DataError, match="no embedding for 10 training stimuli of subject 's1'"):
        RidgeDecoder([1.0]).fit(TrainingData(data.train, {}, short), context)
    with pytest.raises(DataError, match="at least one target"):
        RidgeDecoder([1.0]).fit(TrainingData(data.train, {}, {}), context)
