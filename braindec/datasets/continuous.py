"""Continuous M/EEG to trials: one sampling rate, one window, one rule for trials that run past the ends.

Legend: N trials, S channels, T time points.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from braindec.types import DataError


def resample(signal: np.ndarray, rate_hz: float, new_rate_hz: float) -> np.ndarray:
    """Signal (S, n) brought to ``new_rate_hz`` by polyphase filtering (anti-aliased); sample 0 stays at time 0."""
    from fractions import Fraction

    from scipy.signal import resample_poly

    ratio = Fraction(new_rate_hz / rate_hz).limit_denominator(10_000)
    if ratio == 1:
        return signal
    return np.stack([resample_poly(row, ratio.numerator, ratio.denominator) for row in signal])


def cut(
    signal: np.ndarray, rate_hz: float, onsets_s: np.ndarray, window_s: Sequence[float], baseline: bool, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Trials float32 (N, S, T) around each onset, and their times in s from onset (T,).

    Parameters
    ----------
    signal : (S, n), the whole recording.
    onsets_s : seconds from the recording's first sample, (N,).
    window_s : (start, end) around the onset, end excluded.
    baseline : subtract each trial's and channel's mean before onset.
    where : the file, for errors.

    Raises
    ------
    DataError
        If a trial runs past the recording's ends, or there is no time before onset to take a baseline from.
    """
    start, end = round(window_s[0] * rate_hz), round(window_s[1] * rate_hz)
    first = np.round(np.asarray(onsets_s, dtype=np.float64) * rate_hz).astype(np.int64) + start
    n_times = end - start
    if baseline and start >= 0:
        raise DataError(f"{where}: window_s={tuple(window_s)} has no time before onset to take a baseline from")
    outside = (first < 0) | (first + n_times > signal.shape[1])
    if outside.any() or len(first) == 0:
        raise DataError(
            f"{where}: {int(outside.sum())} of {len(first)} trials run past the recording's ends (it has "
            f"{signal.shape[1] / rate_hz:.1f} s); is the recording cut short, or are onsets in another unit?"
        )
    trials = np.empty((len(first), len(signal), n_times), dtype=np.float32)
    for row, sample in enumerate(first.tolist()):
        piece = signal[:, sample : sample + n_times]
        trials[row] = piece - piece[:, :-start].mean(axis=1, keepdims=True) if baseline else piece
    return trials, (np.arange(n_times) + start) / rate_hz
