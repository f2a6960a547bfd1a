"""Bootstrap over stimuli, and over subjects where there are several, of many score columns at once.

Legend: S subjects, I stimuli, M columns (one metric of one source each), R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Statistic = Literal["mean", "median"]

_DRAWS_AT_ONCE = 4_000_000
"""Stimulus indices drawn at a time (32 MB), whatever the number of resamples."""


@dataclass(frozen=True)
class Resampled:
    """Statistics of the data and of its resamples.

    Attributes
    ----------
    subject_value : float64 (S, M), each subject's own statistic.
    subject_draws : float64 (R, S, M), the same under resampling of the stimuli.
    draws : float64 (R, M), the mean over subjects, the subjects resampled too when there are several.
    """

    subject_value: np.ndarray
    subject_draws: np.ndarray
    draws: np.ndarray

    @property
    def value(self) -> np.ndarray:
        """Mean over the subjects that have a value, (M,)."""
        return nan_mean(self.subject_value, axis=0)


def nan_mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean over the defined entries; NaN where there are none, without a warning."""
    defined = ~np.isnan(values)
    count = defined.sum(axis=axis)
    mean = np.full(count.shape, np.nan)
    return np.divide(np.where(defined, values, 0.0).sum(axis=axis), count, out=mean, where=count > 0)


def nan_median(values: np.ndarray, axis: int) -> np.ndarray:
    """Median over the defined entries; NaN where there are none, without a warning."""
    if values.shape[axis] == 0:
        return nan_mean(values, axis)
    empty = np.isnan(values).all(axis=axis, keepdims=True)
    median = np.nanmedian(np.where(empty, 0.0, values), axis=axis)
    return np.where(empty.squeeze(axis), np.nan, median)


def stimulus_groups(present_SI: np.ndarray) -> list[np.ndarray]:
    """Groups of stimuli that are resampled together.

    Subjects who share a stimulus are linked: their stimuli form one group, drawn jointly. Subjects with test sets of
    their own are drawn separately, so that none is ever left without stimuli by chance.

    Parameters
    ----------
    present_SI : boolean, which subject has which stimulus.
    """
    remaining = set(range(len(present_SI)))
    groups = []
    while remaining:
        members = {remaining.pop()}
        stimuli_I = present_SI[list(members)].any(axis=0)
        while joining := {s for s in remaining if (present_SI[s] & stimuli_I).any()}:
            members |= joining
            remaining -= joining
            stimuli_I = present_SI[list(members)].any(axis=0)
        if stimuli_I.any():
            groups.append(np.flatnonzero(stimuli_I))
    return sorted(groups, key=lambda group: int(group[0]))


def resample(
    values_SIM: np.ndarray, n_resamples: int, seed: int, statistics: tuple[Statistic, ...] | None = None
) -> Resampled:
    """Bootstrap every column with the same resampled stimuli, so that columns can be compared pair by pair.

    Parameters
    ----------
    values_SIM : float64, NaN where a subject has no value for a stimulus.
    n_resamples : R.
    seed : of `numpy.random.default_rng`.
    statistics : per column ``mean`` (default) or ``median`` over stimuli.

    Notes
    -----
    With several subjects each resample also draws the subjects with replacement (nested bootstrap); few subjects make
    such an interval a rough one. With a single subject only stimuli are drawn.
    """
    n_subjects, n_stimuli, n_columns = values_SIM.shape
    rng = np.random.default_rng(seed)
    groups = stimulus_groups(~np.isnan(values_SIM).all(axis=2))
    medians = [] if statistics is None else [m for m, name in enumerate(statistics) if name == "median"]
    subject_draws = np.empty((n_resamples, n_subjects, n_columns))
    chunk = max(1, _DRAWS_AT_ONCE // max(1, n_stimuli))
    for start in range(0, n_resamples, chunk):
        stop = min(start + chunk, n_resamples)
        drawn = [group[rng.integers(0, len(group), size=(stop - start, len(group)))] for group in groups]
        drawn_RI = np.concatenate(drawn, axis=1) if drawn else np.empty((stop - start, 0), dtype=np.int64)
        subject_draws[start:stop] = _weighted_means(values_SIM, _counts(drawn_RI, n_stimuli))
        for column in medians:
            for subject in range(n_subjects):
                picked_RI = values_SIM[subject, :, column][drawn_RI]
                subject_draws[start:stop, subject, column] = nan_median(picked_RI, axis=1)
    subject_value = nan_mean(values_SIM, axis=1)
    for column in medians:
        subject_value[:, column] = nan_median(values_SIM[:, :, column], axis=1)
    if n_subjects == 1:
        return Resampled(subject_value, subject_draws, subject_draws[:, 0])
    chosen_RS = rng.integers(0, n_subjects, size=(n_resamples, n_subjects))
    nested = np.take_along_axis(subject_draws, chosen_RS[:, :, None], axis=1)
    return Resampled(subject_value, subject_draws, nan_mean(nested, axis=1))


def _counts(drawn_RI: np.ndarray, n_stimuli: int) -> np.ndarray:
    """How often each stimulus occurs in each resample, float64 (R, I)."""
    n_rows = len(drawn_RI)
    offsets = np.arange(n_rows)[:, None] * n_stimuli
    counts = np.bincount((drawn_RI + offsets).ravel(), minlength=n_rows * n_stimuli)
    return counts.reshape(n_rows, n_stimuli).astype(np.float64)


def _weighted_means(values_SIM: np.ndarray, counts_RI: np.ndarray) -> np.ndarray:
    """Means (R, S, M) over stimuli weighted by counts, over the defined values only."""
    n_subjects, n_stimuli, n_columns = values_SIM.shape
    defined_IC = ~np.isnan(values_SIM).transpose(1, 0, 2).reshape(n_stimuli, -1)
    values_IC = np.where(defined_IC, values_SIM.transpose(1, 0, 2).reshape(n_stimuli, -1), 0.0)
    patterns, pattern_of = np.unique(defined_IC, axis=1, return_inverse=True)
    totals_RC = counts_RI @ values_IC
    weights_RC = (counts_RI @ patterns.astype(np.float64))[:, pattern_of.ravel()]
    means = np.full(totals_RC.shape, np.nan)
    np.divide(totals_RC, weights_RC, out=means, where=weights_RC > 0)
    return means.reshape(len(counts_RI), n_subjects, n_columns)
