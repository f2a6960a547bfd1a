"""Choosing, binning and sliding over the time axis of trials.

Legend: N trials, S space, T time points, B bins.

A window is half-open: ``start_s <= t < stop_s``. Sampling times carry rounding, so that both ends are taken with a
slack of a hundredth of the sampling interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from braindec.types import DataError, Trials

_SLACK = 0.01


def sampling_interval(times_s: np.ndarray) -> float:
    """Seconds between two time points.

    Raises
    ------
    DataError
        If there are fewer than two time points, or they are not evenly spaced and ascending.
    """
    if len(times_s) < 2:
        raise DataError(f"times_s: expected at least two time points, found {len(times_s)}")
    steps = np.diff(times_s)
    interval = float((times_s[-1] - times_s[0]) / (len(times_s) - 1))
    if interval <= 0 or np.abs(steps - interval).max() > _SLACK * interval:
        raise DataError(
            f"times_s: expected evenly spaced ascending times, found steps of {steps.min():g} to {steps.max():g} s"
        )
    return interval


def in_window(times_s: np.ndarray, start_s: float | None, stop_s: float | None) -> np.ndarray:
    """Boolean (T,): ``start_s <= t < stop_s``; None leaves an end open.

    Raises
    ------
    DataError
        If no time point lies in the window.
    """
    slack = _SLACK * float(np.diff(times_s).min()) if len(times_s) > 1 else 0.0
    inside = np.ones(len(times_s), dtype=bool)
    if start_s is not None:
        inside &= times_s >= start_s - slack
    if stop_s is not None:
        inside &= times_s < stop_s - slack
    if not inside.any():
        raise DataError(
            f"window: no time point in [{start_s}, {stop_s}) s; the trials run from {times_s[0]:g} to {times_s[-1]:g} s"
        )
    return inside


def bin_means(signal_NST: np.ndarray, times_s: np.ndarray, width_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Means over successive bins of ``width_s``, and the bins' centres: float32 (N, S, B), float64 (B,).

    A bin holds a whole number of time points, the nearest to ``width_s`` and at least one; a rest at the end that does
    not fill a bin is left out.

    Raises
    ------
    DataError
        If times are not evenly spaced, or no bin fits.
    """
    if not width_s > 0:
        raise DataError(f"bins: expected a positive width in seconds, found {width_s}")
    points = max(1, round(width_s / sampling_interval(times_s)))
    n_bins = len(times_s) // points
    if n_bins == 0:
        raise DataError(f"bins: {len(times_s)} time points do not fill a bin of {width_s} s ({points} points)")
    kept = n_bins * points
    shape = (*signal_NST.shape[:2], n_bins, points)
    means = signal_NST[:, :, :kept].reshape(shape).mean(axis=3, dtype=np.float64).astype(np.float32)
    return means, np.asarray(times_s[:kept], dtype=np.float64).reshape(n_bins, points).mean(axis=1)


def sliding_windows(times_s: np.ndarray, width_s: float, step_s: float) -> tuple[tuple[float, float], ...]:
    """Windows (start_s, stop_s) of one width that lie within the trials, their starts ``step_s`` apart.

    Width and step are rounded to whole sampling intervals; the first window starts at the first time point.

    Raises
    ------
    DataError
        If a width or step is below half a sampling interval, or no window fits.
    """
    interval = sampling_interval(times_s)
    width, step = round(width_s / interval), round(step_s / interval)
    if width < 1 or step < 1 or width > len(times_s):
        raise DataError(
            f"sliding windows: expected a width of {interval:g} to {interval * len(times_s):g} s and a step of at "
            f"least {interval:g} s, found {width_s} and {step_s}"
        )
    first = float(times_s[0])
    return tuple(
        (first + start * interval, first + (start + width) * interval)
        for start in range(0, len(times_s) - width + 1, step)
    )


class Window:
    """Keep the time points of a window; nothing is fitted.

    Parameters
    ----------
    start_s, stop_s : ``start_s <= t < stop_s``, seconds from onset; None leaves an end open.
    """

    def __init__(self, start_s: float | None = None, stop_s: float | None = None) -> None:
        if start_s is not None and stop_s is not None and start_s >= stop_s:
            raise DataError(f"Window: expected start_s < stop_s, found {start_s} and {stop_s}")
        self.start_s = start_s
        self.stop_s = stop_s

    def fit(self, trials: Trials) -> None:
        """Nothing to learn."""

    def apply(self, trials: Trials) -> Trials:
        """Trials cut to the window. Raises `DataError` without a time axis or a time point in the window."""
        times_s = timed(trials, "Window")
        inside = in_window(times_s, self.start_s, self.stop_s)
        first, last = (int(i) for i in np.flatnonzero(inside)[[0, -1]])
        return replace(trials, signal=trials.signal[:, :, first : last + 1], times_s=times_s[first : last + 1])

    def state(self) -> dict[str, np.ndarray]:
        """Empty: nothing is fitted."""
        return {}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Nothing to take over."""


class BinMeans:
    """Average the signal within successive bins of time; nothing is fitted.

    Parameters
    ----------
    width_s : width of a bin, in seconds.
    """

    def __init__(self, width_s: float) -> None:
        if not width_s > 0:
            raise DataError(f"BinMeans: expected a positive width in seconds, found {width_s}")
        self.width_s = width_s

    def fit(self, trials: Trials) -> None:
        """Nothing to learn."""

    def apply(self, trials: Trials) -> Trials:
        """Trials with one value a bin, at the bin's centre. Raises as `bin_means`, or without a time axis."""
        signal, times_s = bin_means(trials.signal, timed(trials, "BinMeans"), self.width_s)
        return replace(trials, signal=signal, times_s=times_s)

    def state(self) -> dict[str, np.ndarray]:
        """Empty: nothing is fitted."""
        return {}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Nothing to take over."""


def timed(trials: Trials, name: str) -> np.ndarray:
    """``times_s`` of trials that must have one. Raises `DataError` naming the transform ``name``."""
    if trials.times_s is None:
        raise DataError(f"{name}: subject {trials.subject!r}'s trials have no times_s; leave it out for betas")
    return trials.times_s
