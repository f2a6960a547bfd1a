from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mne.baseline import rescale
from scipy import stats
from sklearn.preprocessing import RobustScaler, StandardScaler

from braindec.contracts import Transform
from braindec.signals import normalise
from braindec.signals.normalise import Baseline, RobustScale, ZScore
from braindec.types import DataError


@pytest.fixture
def trials(make_table, make_trials):
    rng = np.random.default_rng(0)
    table = make_table(10, 3, n_sessions=3)
    offset = 100 * (1 + table["session"].to_numpy())[:, None, None]
    return make_trials(rng.normal(offset, 3, size=(30, 5, 4)), table)


@pytest.mark.parametrize("part", [ZScore("session"), RobustScale(), Baseline()])
def test_fulfils_the_contract(part):
    assert isinstance(part, Transform)


def test_zscore_equals_scipy_within_each_session(trials):
    transform = ZScore("session")
    transform.fit(trials)
    result = transform.apply(trials)
    assert result.unit == "z"
    assert result.signal.dtype == np.float32
    for session in range(3):
        rows = trials.table["session"] == session
        by_position = np.moveaxis(trials.signal[rows].astype(np.float64), 1, 0).reshape(5, -1)
        expected = stats.zscore(by_position, axis=1)
        found = np.moveaxis(result.signal[rows], 1, 0).reshape(5, -1)
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("transform", "reference"), [(ZScore("all"), StandardScaler()), (RobustScale(clamp=None), RobustScaler())]
)
def test_all_trials_together_equal_scikit_learn_with_training_statistics(trials, transform, reference):
    train, test = trials.select(np.arange(20)), trials.select(np.arange(20, 30))
    columns = [np.moveaxis(t.signal.astype(np.float64), 1, 2).reshape(-1, 5) for t in (train, test)]
    expected = reference.fit(columns[0]).transform(columns[1]).reshape(10, 4, 5)
    transform.fit(train)
    np.testing.assert_allclose(transform.apply(test).signal, np.moveaxis(expected, 2, 1), atol=1e-4)


@pytest.mark.parametrize("make", [lambda: ZScore("session"), lambda: RobustScale(per="session"), lambda: ZScore("run")])
def test_test_trials_have_no_influence(trials, make):
    rows = np.arange(24)
    changed = trials.signal.copy()
    changed[24:] = 1e6
    states = []
    for signal in (trials.signal, changed):
        transform = make()
        transform.fit(replace(trials, signal=signal).select(rows))
        states.append(transform.state())
    assert states[0].keys() == states[1].keys()
    for name in states[0]:
        np.testing.assert_array_equal(states[0][name], states[1][name])


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 100),
    shape=st.tuples(st.integers(4, 20), st.integers(1, 6), st.integers(1, 5)),
    block=st.integers(1, 50),
    offset=st.sampled_from([0.0, 1e4]),
)
def test_statistics_do_not_depend_on_the_block_size(seed, shape, block, offset):
    values = (np.random.default_rng(seed).normal(size=shape) + offset).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normalise, "_BLOCK_VALUES", block)
        mean, sd = normalise.mean_and_sd(values)
        median, iqr = normalise.median_and_iqr(values)
    wide = values.astype(np.float64)
    np.testing.assert_allclose(mean, wide.mean(axis=(0, 2)), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(sd, wide.std(axis=(0, 2)), rtol=1e-9)
    np.testing.assert_allclose(median, np.median(wide, axis=(0, 2)))
    np.testing.assert_allclose(iqr, stats.iqr(wide, axis=(0, 2)))


def test_a_small_spread_on_a_large_offset_survives(make_trials):
    volts = 1e-13 * np.random.default_rng(0).normal(size=(200, 1, 3)) + 4e-9
    transform = ZScore("all")
    transform.fit(make_trials(volts, unit="T"))
    assert transform.scale_[0, 0] == pytest.approx(1e-13, rel=0.1)
    assert not transform.constant_.any()


@pytest.mark.parametrize("make", [lambda: ZScore("session"), lambda: RobustScale(per="session")])
def test_a_constant_position_becomes_zero_in_its_session_only(trials, make):
    signal = trials.signal.copy()
    flat = (trials.table["session"] == 1).to_numpy()
    signal[flat, 2] = 0.1
    trials = replace(trials, signal=signal)
    transform = make()
    transform.fit(trials)
    expected = np.zeros((3, 5), dtype=bool)
    expected[1, 2] = True
    np.testing.assert_array_equal(transform.constant_, expected)
    signal[flat, 2] = 7
    result = transform.apply(replace(trials, signal=signal)).signal
    assert (result[flat, 2] == 0).all()
    assert np.isfinite(result).all()
    assert (result[~flat, 2] != 0).any()


@pytest.mark.parametrize("make", [lambda: ZScore("run"), lambda: RobustScale(clamp=None, per="session")])
def test_inverse_and_state_round_trip(trials, make):
    transform = make()
    transform.fit(trials)
    state = transform.state()
    assert all(isinstance(value, np.ndarray) and value.dtype != object for value in state.values())
    loaded = make()
    loaded.load_state(state)
    result = transform.apply(trials)
    np.testing.assert_array_equal(loaded.apply(trials).signal, result.signal)
    back = loaded.inverse(result)
    assert back.unit == "psc"
    np.testing.assert_allclose(back.signal, trials.signal, rtol=1e-5)


def test_clamp_limits_outliers_only(trials):
    signal = trials.signal.copy()
    signal[0, 0, 0], signal[1, 1, 1] = 1e9, -1e9
    transform = RobustScale(clamp=2.0)
    transform.fit(replace(trials, signal=signal))
    free = RobustScale(clamp=None)
    free.load_state(transform.state())
    result, unclamped = (t.apply(replace(trials, signal=signal)).signal for t in (transform, free))
    assert result[0, 0, 0] == 2
    assert result[1, 1, 1] == -2
    np.testing.assert_array_equal(result, np.clip(unclamped, -2, 2))


@pytest.mark.parametrize("per", ["session", "run"])
def test_an_unseen_group_is_named(trials, per):
    transform = ZScore(per)
    transform.fit(trials.select((trials.table["session"] != 2).to_numpy()))
    with pytest.raises(DataError, match=r"subj01.*no training trials in session 2"):
        transform.apply(trials)


def test_runs_of_two_sessions_are_two_groups(trials):
    transform = ZScore("run")
    transform.fit(trials)
    assert list(transform.groups_) == [f"session {s} run {r}" for s in range(3) for r in range(2)]


@pytest.mark.parametrize("make", [lambda: ZScore("all"), lambda: RobustScale()])
def test_misuse_is_refused(trials, make, make_trials):
    transform = make()
    with pytest.raises(DataError, match="not fitted"):
        transform.apply(trials)
    with pytest.raises(DataError, match="not fitted"):
        transform.state()
    transform.fit(trials)
    with pytest.raises(DataError, match="fitted on subject 'subj01', found subject 'subj02'"):
        transform.apply(replace(trials, subject="subj02"))
    with pytest.raises(DataError, match=r"5 positions .* found 2"):
        transform.apply(trials.select_space(np.arange(2)))
    with pytest.raises(DataError, match="unit 'psc', found unit 'V'"):
        transform.apply(replace(trials, unit="V"))
    with pytest.raises(DataError, match="expected trials in unit 'z'"):
        transform.inverse(trials)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize(
    ("transform", "value"),
    [(ZScore("session"), np.nan), (ZScore("session"), np.inf), (RobustScale(per="session"), np.nan)],
)
def test_nan_in_training_is_named(trials, transform, value):
    signal = trials.signal.copy()
    signal[np.flatnonzero(trials.table["session"] == 1)[0], 3, 0] = value
    with pytest.raises(DataError, match="session 1, position 3"):
        transform.fit(replace(trials, signal=signal))


def test_a_group_of_one_value_is_refused(make_table, make_trials):
    table = make_table(4, 1).assign(session=[0, 0, 0, 1])
    with pytest.raises(DataError, match="single training value a position in session 1"):
        ZScore("session").fit(make_trials(np.random.default_rng(0).normal(size=(4, 2, 1)), table))


def test_missing_session_is_refused(trials):
    table = trials.table.assign(session=[None] + [0] * 29)
    with pytest.raises(DataError, match="1 trials have no session"):
        ZScore("session").fit(replace(trials, table=table))


@pytest.mark.parametrize("window", [(None, 0.0), (-0.1, -0.04), (None, None), (0.02, 0.02)])
def test_baseline_equals_mne(make_trials, window):
    rng = np.random.default_rng(1)
    times = np.arange(-10, 20) / 50
    trials = make_trials(rng.normal(5, 1, size=(7, 3, 30)), times_s=times, unit="V")
    transform = Baseline(*window)
    transform.fit(trials)
    result = transform.apply(trials)
    expected = rescale(trials.signal.astype(np.float64), times, window, "mean", verbose=False)
    np.testing.assert_allclose(result.signal, expected, atol=1e-5)
    assert result.unit == "V"
    assert transform.state() == {}


def test_baseline_refuses_what_it_cannot_do(make_trials):
    signal = np.zeros((2, 1, 3))
    with pytest.raises(DataError, match="no times_s"):
        Baseline().apply(make_trials(signal))
    with pytest.raises(DataError, match="no time point between 5 and 6 s"):
        Baseline(5, 6).apply(make_trials(signal, times_s=np.array([0.0, 0.1, 0.2])))
    with pytest.raises(DataError, match="start_s <= stop_s"):
        Baseline(1.0, 0.0)


def test_a_memory_mapped_signal_gives_the_same(trials, tmp_path):
    np.save(tmp_path / "signal.npy", trials.signal)
    mapped = replace(trials, signal=np.load(tmp_path / "signal.npy", mmap_mode="r"))
    one, other = ZScore("session"), ZScore("session")
    one.fit(trials)
    other.fit(mapped)
    np.testing.assert_array_equal(one.apply(trials).signal, other.apply(mapped).signal)
