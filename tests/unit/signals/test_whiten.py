from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

from braindec.contracts import Transform
from braindec.signals.shrinkage import ledoit_wolf_shrinkage, shrunk_covariance
from braindec.signals.whiten import MVNN, matrix_power, noise_covariance
from braindec.types import DataError


def recording(make_trials, make_table, n_times=20, seed=0):
    rng = np.random.default_rng(seed)
    mixing = 0.25 * rng.normal(size=(2, 5, 5)) + np.eye(5)
    table = make_table(n_stimuli=30, n_repetitions=16)
    evoked = 3 * rng.normal(size=(30, 5, 1)) * np.sin(np.arange(n_times))
    number = table["stimulus_id"].str[1:].astype(int).to_numpy()
    noise = rng.normal(size=(480, 5, n_times))
    signal = evoked[number] + np.einsum("nab,nbt->nat", mixing[table["session"].to_numpy()], noise)
    return make_trials(signal, table, unit="V"), mixing


@pytest.mark.parametrize("shape", [(30, 8), (12, 40)])
def test_shrinkage_is_ledoit_and_wolf_s(shape) -> None:
    rows = np.random.default_rng(0).normal(size=shape) @ np.diag(np.linspace(0.2, 3, shape[1]))
    rows -= rows.mean(axis=0)
    covariance, shrinkage = ledoit_wolf(rows, assume_centered=True)
    assert ledoit_wolf_shrinkage(rows) == pytest.approx(shrinkage)
    np.testing.assert_allclose(shrunk_covariance(rows), covariance, atol=1e-10)


def test_noise_covariance_of_trials_sees_noise_only(make_trials, make_table) -> None:
    trials, mixing = recording(make_trials, make_table, n_times=60)
    first = trials.select((trials.table["session"] == 0).to_numpy())
    found = noise_covariance(first.signal, first.table["stimulus_id"].to_numpy(), "trials")
    np.testing.assert_allclose(found, mixing[0] @ mixing[0].T, atol=0.2 * np.trace(found) / 5)


def test_noise_covariance_over_time_is_the_mean_of_the_trials_covariances(make_trials, make_table) -> None:
    trials, _ = recording(make_trials, make_table)
    ours = noise_covariance(trials.signal[:6], np.array(["a"] * 6), "time")
    single = [ledoit_wolf(trial.T.astype(float))[0] * 20 / 19 for trial in trials.signal[:6]]
    np.testing.assert_allclose(ours, np.mean(single, axis=0), rtol=1e-5, atol=1e-8)


def test_whitened_noise_is_white_in_every_session_and_comes_back(make_trials, make_table) -> None:
    trials, _ = recording(make_trials, make_table, n_times=60)
    whitening = MVNN()
    assert isinstance(whitening, Transform)
    whitening.fit(trials)
    white = whitening.apply(trials)
    assert white.unit == "z"
    assert np.abs(whitening.covariance_ - np.eye(5)).max() > 0.4
    for session in (0, 1):
        rows = (white.table["session"] == session).to_numpy()
        ids = white.table["stimulus_id"].to_numpy()[rows]
        np.testing.assert_allclose(noise_covariance(white.signal[rows], ids, "trials"), np.eye(5), atol=0.25)
    np.testing.assert_allclose(whitening.inverse(white).signal, trials.signal, atol=1e-4)
    again = MVNN()
    again.load_state(whitening.state())
    np.testing.assert_array_equal(again.apply(trials).signal, white.signal)


def test_what_cannot_be_whitened_is_refused(make_trials, make_table) -> None:
    trials, _ = recording(make_trials, make_table)
    whitening = MVNN()
    with pytest.raises(DataError, match="not fitted"):
        whitening.apply(trials)
    whitening.fit(trials.select((trials.table["session"] == 0).to_numpy()))
    with pytest.raises(DataError, match="no training trials in session 1"):
        whitening.apply(trials)
    once = trials.select((trials.table["repetition"] == 0).to_numpy())
    with pytest.raises(DataError, match="none of the"):
        MVNN(per="all").fit(once)
    doubled = make_trials(trials.signal[:, [0, 0, 1]], trials.table, unit="V")
    with pytest.raises(DataError, match="NaN or infinite"):
        matrix_power(np.full((2, 2), np.nan), -0.5)
    with pytest.raises(DataError, match="singular"):
        matrix_power(np.cov(doubled.signal[:, :, 0].T), -0.5)
