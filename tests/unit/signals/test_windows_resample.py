from __future__ import annotations

import numpy as np
import pytest

from braindec.contracts import Transform
from braindec.signals.resample import Resample, resample
from braindec.signals.windows import BinMeans, Window, bin_means, in_window, sampling_interval, sliding_windows
from braindec.types import DataError

TIMES = np.arange(-20, 80) / 100


def test_windows_are_half_open_and_tile() -> None:
    inside = in_window(TIMES, 0.0, 0.1)
    np.testing.assert_allclose(TIMES[inside], np.arange(10) / 100)
    whole = sum(in_window(TIMES, start, start + 0.1).astype(int) for start in np.arange(-2, 8) / 10)
    np.testing.assert_array_equal(whole, 1)
    with pytest.raises(DataError, match="no time point"):
        in_window(TIMES, 2.0, 3.0)


def test_sliding_windows_stay_inside_and_step_evenly() -> None:
    windows = sliding_windows(TIMES, 0.25, 0.05)
    assert windows[0] == pytest.approx((-0.2, 0.05))
    assert windows[-1][1] <= TIMES[-1] + 0.01 + 1e-9
    np.testing.assert_allclose(np.diff([start for start, _ in windows]), 0.05)
    assert {int(in_window(TIMES, *window).sum()) for window in windows} == {25}
    with pytest.raises(DataError, match="expected a width"):
        sliding_windows(TIMES, 3.0, 0.1)


def test_bin_means_are_means_at_the_bins_centres() -> None:
    signal = np.random.default_rng(0).normal(size=(3, 2, 100)).astype(np.float32)
    means, centres = bin_means(signal, TIMES, 0.03)
    assert means.shape == (3, 2, 33)
    np.testing.assert_allclose(means[:, :, 4], signal[:, :, 12:15].mean(axis=2), rtol=1e-5)
    assert centres[4] == pytest.approx(TIMES[12:15].mean())


def test_transforms_keep_signal_and_times_together(make_trials) -> None:
    trials = make_trials(np.random.default_rng(0).normal(size=(4, 2, 100)), times_s=TIMES)
    for transform in (Window(0.0, 0.3), BinMeans(0.02), Resample(50.0)):
        assert isinstance(transform, Transform)
        transform.fit(trials)
        changed = transform.apply(trials)
        assert changed.signal.shape[2] == len(changed.times_s) < 100
    with pytest.raises(DataError, match="no times_s"):
        Window(0.0).apply(make_trials(np.zeros((2, 3, 1))))


def test_resampling_keeps_a_slow_wave_and_removes_a_fast_one() -> None:
    times = np.arange(-200, 800) / 1000
    slow, fast = 3 + 2 * times + np.sin(2 * np.pi * 5 * times), np.sin(2 * np.pi * 180 * times)
    made, made_times = resample(np.stack([slow, fast])[None].astype(np.float32), times, 100.0)
    np.testing.assert_allclose(np.diff(made_times), 0.01)
    assert made_times[0] == times[0]
    np.testing.assert_allclose(
        made[0, 0, 5:-5], 3 + 2 * made_times[5:-5] + np.sin(2 * np.pi * 5 * made_times[5:-5]), atol=0.02
    )
    assert np.abs(made[0, 1, 5:-5]).max() < 0.02


def test_resampling_agrees_with_mne_away_from_the_edges() -> None:
    mne = pytest.importorskip("mne")
    rng = np.random.default_rng(1)
    times = np.arange(500) / 250
    signal = np.cumsum(rng.normal(size=(1, 2, 500)), axis=2) / 10
    ours, _ = resample(signal.astype(np.float32), times, 100.0)
    theirs = mne.filter.resample(signal, up=2, down=5, method="polyphase", verbose="error")
    np.testing.assert_allclose(ours[..., 20:-20], theirs[..., 20:-20], atol=0.02 * signal.std())


@pytest.mark.parametrize("times", [[0.0], [0.0, 0.1, 0.3], [0.2, 0.1, 0.0]])
def test_uneven_times_are_refused(times: list[float]) -> None:
    with pytest.raises(DataError, match="times_s"):
        sampling_interval(np.array(times))


def test_strange_rates_are_refused() -> None:
    with pytest.raises(DataError, match="no ratio of whole numbers"):
        resample(np.zeros((1, 1, 100), dtype=np.float32), TIMES, 99.9037)
