"""Another sampling rate for trials.

Legend: N trials, S space, T time points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

import numpy as np

from braindec.signals.windows import sampling_interval, timed
from braindec.types import DataError, Trials

_MOST = 1000


def resample(signal_NST: np.ndarray, times_s: np.ndarray, rate_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """Signal float32 (N, S, T') at ``rate_hz`` and its times; the first time point stays where it is.

    A polyphase filter removes what lies above the new Nyquist frequency. Each trial is continued by the line through
    its ends, so that an offset or a drift makes no step at the edges.

    Source: scipy, ``signal.resample_poly`` (Kaiser window, beta 5).

    Raises
    ------
    DataError
        If times are not evenly spaced, or the ratio of rates is not one of small whole numbers.
    """
    from scipy.signal import resample_poly

    if not rate_hz > 0:
        raise DataError(f"resample: expected a positive rate in Hz, found {rate_hz}")
    interval = sampling_interval(times_s)
    wanted = rate_hz * interval
    ratio = Fraction(wanted).limit_denominator(_MOST)
    if ratio == 0 or ratio.numerator > _MOST or abs(float(ratio) / wanted - 1) > 1e-5:
        raise DataError(
            f"resample: {1 / interval:g} Hz to {rate_hz:g} Hz is no ratio of whole numbers up to {_MOST}; "
            "choose another"
        )
    up, down = ratio.numerator, ratio.denominator
    made = resample_poly(signal_NST.astype(np.float64), up, down, axis=2, padtype="line")
    return made.astype(np.float32), times_s[0] + np.arange(made.shape[2]) * (interval * down / up)


class Resample:
    """Trials at another sampling rate; nothing is fitted. What lay above the new Nyquist frequency cannot be got back.

    Parameters
    ----------
    rate_hz : the new sampling rate.
    """

    def __init__(self, rate_hz: float) -> None:
        if not rate_hz > 0:
            raise DataError(f"Resample: expected a positive rate in Hz, found {rate_hz}")
        self.rate_hz = rate_hz

    def fit(self, trials: Trials) -> None:
        """Nothing to learn."""

    def apply(self, trials: Trials) -> Trials:
        """Trials at the new rate. Raises `DataError` as `resample`, or when the trials have no time axis."""
        signal, times_s = resample(trials.signal, timed(trials, "Resample"), self.rate_hz)
        return replace(trials, signal=signal, times_s=times_s)

    def state(self) -> dict[str, np.ndarray]:
        """Empty: nothing is fitted."""
        return {}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Nothing to take over."""
