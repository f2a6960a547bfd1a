"""Multivariate noise normalisation: channels made uncorrelated and of equal noise.

Legend: N trials, S space, T time points, G groups (sessions, runs, or all trials together).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, cast

import numpy as np

from braindec.signals.normalise import Per, check_per, group_names
from braindec.signals.shrinkage import shrunk_covariance
from braindec.types import DataError, Trials, Unit

_FLOOR = 1e-10


def noise_covariance(signal_NST: np.ndarray, stimulus_ids: np.ndarray, over: Literal["trials", "time"]) -> np.ndarray:
    """Noise covariance of positions, float64 (S, S), Ledoit-Wolf shrunk piece by piece and averaged.

    ``trials``: residuals of each trial from the mean of its stimulus, one covariance a time point. ``time``: deviations
    from a trial's own mean over time, one covariance a trial; it needs no repetitions, but counts the evoked response
    as noise.

    Source: Guggenmos, Sterzer & Cichy 2018, "Multivariate pattern analysis for MEG", section 2.3 (their "time" and
    "epoch" variants); here all stimuli are pooled, since a stimulus of few repetitions has no covariance of its own.

    Raises
    ------
    DataError
        If ``over="trials"`` and no stimulus is shown twice, or ``over="time"`` and there is one time point.
    """
    n_trials, n_space, n_times = signal_NST.shape
    total_SS = np.zeros((n_space, n_space))
    if over == "time":
        if n_times < 2:
            raise DataError("noise covariance over time: the trials have a single time point; use over=trials")
        for trial in range(n_trials):
            values_TS = signal_NST[trial].T.astype(np.float64)
            total_SS += shrunk_covariance(values_TS - values_TS.mean(axis=0), n_times - 1)
        return total_SS / n_trials
    names, index_N, counts = np.unique(np.asarray(stimulus_ids, dtype=np.str_), return_inverse=True, return_counts=True)
    repeated_N = counts[index_N] > 1
    degrees = int(repeated_N.sum() - (counts > 1).sum())
    if degrees < 1:
        raise DataError(
            f"noise covariance over trials: none of the {len(names)} stimuli is shown twice in this group of trials; "
            "use over=time, or a wider `per`"
        )
    _, index_N = np.unique(index_N[repeated_N], return_inverse=True)
    counts_M = np.bincount(index_N)[:, None]
    kept = np.flatnonzero(repeated_N)
    for time in range(n_times):
        values_NS = signal_NST[kept, :, time].astype(np.float64)
        sums_MS = np.zeros((len(counts_M), n_space))
        np.add.at(sums_MS, index_N, values_NS)
        total_SS += shrunk_covariance(values_NS - (sums_MS / counts_M)[index_N], degrees)
    return total_SS / n_times


def matrix_power(covariance_SS: np.ndarray, exponent: float) -> np.ndarray:
    """Power of a symmetric positive definite matrix (S, S).

    Raises
    ------
    DataError
        If the matrix is singular (dead or doubled channels) or not finite.
    """
    if not np.isfinite(covariance_SS).all():
        raise DataError("noise covariance: the training trials hold NaN or infinite values; drop those trials first")
    values, vectors = np.linalg.eigh(covariance_SS)
    if values[0] <= _FLOOR * values[-1]:
        raise DataError(
            f"noise covariance: singular (eigenvalues {values[0]:.3g} to {values[-1]:.3g}); drop dead channels, or "
            "fit on more trials"
        )
    return (vectors * values**exponent) @ vectors.T


class MVNN:
    """Multiply each time point's map by the inverse square root of the noise covariance of its session.

    Fitted on training trials. Whitened positions keep their names (the transform is the symmetric root, nearest to the
    identity), and the unit becomes ``z``. `inverse` undoes it.

    Fitted attributes: ``groups_`` (G,) names, ``covariance_`` float64 (G, S, S).

    Parameters
    ----------
    over : what the noise covariance is taken over; see `noise_covariance`.
    per : which trials share a covariance.

    Source: Guggenmos, Sterzer & Cichy 2018, section 2.3.
    """

    def __init__(self, over: Literal["trials", "time"] = "trials", per: Per = "session") -> None:
        if over not in ("trials", "time"):
            raise DataError(f"MVNN: expected over to be trials or time, found {over!r}")
        check_per(per, "MVNN")
        self.over: Literal["trials", "time"] = over
        self.per: Per = per

    def fit(self, trials: Trials) -> None:
        """Estimate the covariances; raises `DataError` as `noise_covariance`, or when one is singular."""
        group_of = group_names(trials.table, self.per)
        ids = trials.table["stimulus_id"].astype(str).to_numpy()
        self.groups_ = np.unique(group_of)
        made = []
        for group in self.groups_:
            rows = np.flatnonzero(group_of == group)
            covariance = noise_covariance(trials.signal[rows], ids[rows], self.over)
            matrix_power(covariance, -0.5)
            made.append(covariance)
        self.covariance_ = np.stack(made)
        self.unit_: Unit = trials.unit

    def apply(self, trials: Trials) -> Trials:
        """Whitened trials, unit ``z``.

        Raises
        ------
        DataError
            If a trial's group had no training trials, or unit or positions differ from training.
        """
        if trials.unit != self._fitted().unit_:
            raise DataError(f"MVNN: fitted on trials in unit {self.unit_!r}, found unit {trials.unit!r}")
        return replace(trials, signal=self._multiplied(trials, -0.5), unit="z")

    def inverse(self, trials: Trials) -> Trials:
        """Undo the whitening: back to the unit of the training trials."""
        self._fitted()
        if trials.unit != "z":
            raise DataError(f"MVNN.inverse: expected trials in unit 'z', found {trials.unit!r}")
        return replace(trials, signal=self._multiplied(trials, 0.5), unit=self.unit_)

    def state(self) -> dict[str, np.ndarray]:
        """Covariances by group, and the unit."""
        self._fitted()
        return {"groups": self.groups_, "covariance": self.covariance_, "unit": np.array([self.unit_])}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what `state` gave."""
        self.groups_, self.covariance_ = np.asarray(state["groups"]), np.asarray(state["covariance"])
        self.unit_ = cast(Unit, str(state["unit"][0]))

    def _multiplied(self, trials: Trials, exponent: float) -> np.ndarray:
        n_space = self.covariance_.shape[1]
        if trials.space.size != n_space:
            raise DataError(f"MVNN: fitted on {n_space} positions, found {trials.space.size}")
        group_of = group_names(trials.table, self.per)
        unseen = sorted(set(group_of) - set(self.groups_))
        if unseen:
            raise DataError(
                f"MVNN: subject {trials.subject!r} has no training trials in {', '.join(unseen[:3])} ({len(unseen)} in "
                "all), so there is no covariance to apply; use a wider `per`, or a split that trains on them"
            )
        result = np.empty(trials.signal.shape, dtype=np.float32)
        for group, covariance in zip(self.groups_, self.covariance_):
            matrix = matrix_power(covariance, exponent)
            for row in np.flatnonzero(group_of == group):
                result[row] = matrix @ trials.signal[row]
        return result

    def _fitted(self) -> MVNN:
        if not hasattr(self, "groups_"):
            raise DataError("MVNN: not fitted; call fit with the training trials first")
        return self
