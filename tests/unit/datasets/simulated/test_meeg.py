"""Simulated EEG and MEG: what was planted is what can be measured."""

from __future__ import annotations

import numpy as np
import pytest

from braindec.contracts import Dataset
from braindec.datasets.simulated.evoked import PEAK_S, coloured_noise, response_curve
from braindec.datasets.simulated.meeg import SimulatedMEEG
from braindec.datasets.simulated.sensors import HEAD_CENTRE_M, lead_field, sensor_array
from braindec.signals.ceiling import noise_ceiling_snr
from braindec.types import DataError

pytest.importorskip("mne")


@pytest.fixture(scope="module")
def eeg():
    return SimulatedMEEG(
        "eeg_19",
        n_subjects=1,
        n_train=150,
        n_test=20,
        repetitions_train=6,
        n_dipoles=200,
        rate_hz=50.0,
        ncsnr=1.0,
        drift=0.0,
    )


@pytest.fixture(scope="module")
def trials(eeg):
    return eeg.trials("sim01")


def test_it_is_a_data_set_with_a_time_axis_and_positions(eeg, trials) -> None:
    assert isinstance(eeg, Dataset)
    assert trials.unit == "V"
    assert trials.signal.shape == (150 * 6 + 20 * 8, 19, 46)
    assert 0.0 in trials.times_s
    assert trials.space.names[:2] == ("Fp1", "Fp2")
    assert set(trials.table["stimulus_id"]) <= set(eeg.stimuli().ids)
    same = SimulatedMEEG(
        "eeg_19",
        n_subjects=1,
        n_train=150,
        n_test=20,
        repetitions_train=6,
        n_dipoles=200,
        rate_hz=50.0,
        ncsnr=1.0,
        drift=0.0,
    )
    np.testing.assert_array_equal(same.trials("sim01").signal, trials.signal)
    assert same.version() == eeg.version() != SimulatedMEEG("eeg_19", n_subjects=1).version()


def test_response_curves_are_silent_before_onset_and_peak_at_the_planted_latency() -> None:
    times = np.arange(-200, 800) / 1000
    for peak_s in PEAK_S.values():
        curve = response_curve(times, peak_s)
        assert not curve[times <= 0].any()
        assert times[curve.argmax()] == pytest.approx(peak_s)
        assert curve.max() == pytest.approx(1)


def test_measured_ceilings_hold_the_planted_one_in_their_interval(eeg, trials) -> None:
    planted_st = eeg.recorder("sim01").ncsnr_ST
    assert planted_st.mean(axis=0).max() == pytest.approx(eeg.ncsnr)
    np.testing.assert_allclose(trials.noise_ceiling, planted_st.max(axis=1))
    train = trials.select((trials.table["split"] == "train").to_numpy())
    best = int(planted_st.mean(axis=0).argmax())
    ids = train.table["stimulus_id"].to_numpy()
    rows_of = {i: np.flatnonzero(ids == i) for i in np.unique(ids)}
    rng, names = np.random.default_rng(0), np.array(list(rows_of))
    drawn = []
    for _ in range(100):
        chosen = rng.choice(names, len(names))
        rows = np.concatenate([rows_of[i] for i in chosen])
        labels = np.repeat(np.arange(len(chosen)), 6).astype(str)
        drawn.append(noise_ceiling_snr(train.signal[rows, :, best : best + 1], labels).mean())
    low, high = np.percentile(drawn, [2.5, 97.5])
    assert low < planted_st[:, best].mean() < high
    assert high - low < 0.25


def test_nothing_repeats_before_onset(trials) -> None:
    train = trials.select((trials.table["split"] == "train").to_numpy())
    before = noise_ceiling_snr(train.signal[:, :, trials.times_s <= 0], train.table["stimulus_id"])
    after = noise_ceiling_snr(train.signal[:, :, trials.times_s > 0], train.table["stimulus_id"])
    assert before.mean() < 0.12 < 0.5 < after.max(axis=1).mean()


@pytest.mark.parametrize(("area", "peak_s"), [("V1", 0.09), ("ventral", 0.17), ("language", 0.35)])
def test_decoding_over_time_is_at_chance_before_onset_and_peaks_at_the_planted_latency(
    eeg, trials, area: str, peak_s: float
) -> None:
    """Held-out stimuli, one ridge a time point: what an area knows beyond the others is best read at its latency."""
    from sklearn.linear_model import RidgeCV

    response, areas = eeg.world.cortex("sim01").respond(eeg.world.features), eeg.recorder("sim01").areas

    def components(values: np.ndarray, n: int) -> np.ndarray:
        return np.linalg.svd(values - values.mean(axis=0), full_matrices=False)[0][:, :n]

    own, others = components(response[:, areas == area], 3), components(response[:, areas != area], 20)
    target = own - others @ (others.T @ own)
    order = eeg.stimuli().ids
    shown = trials.table["stimulus_id"].to_numpy()
    mean_MST = np.stack([trials.signal[shown == i].mean(axis=0) for i in order]) * 1e6
    train = np.arange(len(order)) % 3 != 0
    scores = np.empty(len(trials.times_s))
    for t in range(len(scores)):
        fitted = RidgeCV(np.logspace(-1, 4, 6)).fit(mean_MST[train, :, t], target[train])
        predicted = fitted.predict(mean_MST[~train, :, t])
        scores[t] = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(predicted.T, target[~train].T)])
    smooth, times = np.convolve(scores, np.ones(3) / 3, mode="same"), trials.times_s
    assert abs(scores[times <= 0].mean()) < 0.1
    assert times[smooth.argmax()] == pytest.approx(peak_s, abs=0.031)
    assert smooth.max() > 0.15


def test_noise_has_the_planted_covariance_and_spectrum() -> None:
    covariance = np.array([[2.0, 0.8], [0.8, 1.0]])
    noise = coloured_noise(3000, covariance, 64, 1.0, np.random.default_rng(0))
    np.testing.assert_allclose(np.cov(noise[:, :, 10].T), covariance, atol=0.15)
    power = (np.abs(np.fft.rfft(noise[:, 0] * np.hanning(64), axis=1)) ** 2).mean(axis=0)
    slope = np.polyfit(np.log(np.arange(4, 30)), np.log(power[4:30]), 1)[0]
    assert slope == pytest.approx(-1.0, abs=0.15)


def test_a_radial_current_is_silent_in_meg_and_not_in_eeg() -> None:
    position = np.array(HEAD_CENTRE_M) + np.array([[0.0, -0.05, 0.03]])
    radial = (position - np.array(HEAD_CENTRE_M)) / np.linalg.norm(position - np.array(HEAD_CENTRE_M))
    across = np.array([[1.0, 0.0, 0.0]])
    meg, eeg = sensor_array("meg_151"), sensor_array("eeg_63")
    assert (meg.space.size, eeg.space.size, meg.unit, eeg.unit) == (151, 63, "T", "V")
    assert np.abs(lead_field(meg, position, radial)).max() < 1e-3 * np.abs(lead_field(meg, position, across)).max()
    assert np.abs(lead_field(eeg, position, radial)).max() > 0.1 * np.abs(lead_field(eeg, position, across)).max()
    assert np.abs(lead_field(eeg, position, across).sum()) < 1e-6 * np.abs(lead_field(eeg, position, across)).max()


def test_bad_knobs_and_subjects_are_refused(eeg) -> None:
    with pytest.raises(DataError, match="sensors must be one of"):
        SimulatedMEEG("eeg_1000")
    with pytest.raises(DataError, match="window about the onset"):
        SimulatedMEEG("eeg_19", window_s=(0.1, 0.5))
    with pytest.raises(DataError, match="ncsnr must be positive"):
        SimulatedMEEG("eeg_19", ncsnr=0.0)
    with pytest.raises(DataError, match="unknown subject"):
        eeg.recorder("sim09")
