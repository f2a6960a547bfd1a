"""What could be known of simulated listening: retrieval by an observer that knows everything but the noise.

Legend: N trials, S sensors, T time points, F = S x T.
"""

from __future__ import annotations

import numpy as np

from braindec.datasets.simulated.listening import SimulatedListening, noise_gain
from braindec.datasets.simulated.voice import RATE_HZ
from braindec.types import DataError


def ideal_ranks(dataset: SimulatedListening, subject: str, rows: np.ndarray) -> np.ndarray:
    """Rank (N,) of each trial's own segment among the given ones, 1 is best, for the ideal observer.

    The observer knows the noiseless signal of every candidate and the covariance of the noise over sensors and time,
    and ranks candidates by their likelihood (a matched filter): no decoder of single trials ranks better on average.

    Parameters
    ----------
    rows : rows of ``dataset.trials(subject)``, of different segments.

    Raises
    ------
    DataError
        If a segment occurs twice.
    """
    trials = dataset.trials(subject).select(rows)
    if trials.table["stimulus_id"].duplicated().any():
        raise DataError("ideal_ranks: a segment occurs more than once among the given rows")
    covariance_SS = dataset.listener(subject).covariance_SS
    n_points = round(len(dataset.stories[0].sound) / RATE_HZ * dataset.rate_hz)
    gain = noise_gain(n_points, dataset.rate_hz, dataset.noise_exponent)
    correlation_T = np.fft.irfft(gain**2, n=n_points)[: trials.signal.shape[2]]
    lag_TT = np.abs(np.subtract.outer(np.arange(len(correlation_T)), np.arange(len(correlation_T))))
    over_sensors = np.linalg.inv(np.linalg.cholesky(covariance_SS))
    over_time = np.linalg.inv(np.linalg.cholesky(correlation_T[lag_TT])).T

    def whitened(signal_NST: np.ndarray) -> np.ndarray:
        return np.stack([over_sensors @ trial @ over_time for trial in signal_NST]).reshape(len(signal_NST), -1)

    clean_NF = whitened(dataset.noiseless(subject)[rows])
    seen_NF = whitened(trials.signal)
    likelihood_NN = seen_NF @ clean_NF.T - 0.5 * (clean_NF**2).sum(axis=1)
    own_N = np.diag(likelihood_NN)
    return 1 + (likelihood_NN > own_N[:, None]).sum(axis=1)
