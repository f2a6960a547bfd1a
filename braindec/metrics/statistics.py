"""What a table of per-item scores says: a value, its 95% interval, and comparisons of two runs.

Rows are a `pandas.DataFrame` with the columns ``subject``, ``stimulus_id`` and ``value``; NaN values are undefined and
left out. Repeated predictions of a stimulus are averaged first, then stimuli within a subject, then subjects.

Legend: S subjects, I stimuli, M columns, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from braindec.metrics.bootstrap import Statistic, resample
from braindec.metrics.sign_flip import sign_flip_p
from braindec.types import DataError

Method = Literal["percentile", "bca"]

LEVEL = 0.95


@dataclass(frozen=True)
class Aggregate:
    """A score with its interval.

    Attributes
    ----------
    value : mean over subjects of the mean (or median) over stimuli; NaN when nothing is defined.
    ci95 : bootstrap interval; (value, value) when all resamples agree, NaN when nothing is defined.
    n : number of distinct stimuli with a defined value.
    n_subjects : number of subjects with a defined value.
    n_undefined : number of rows whose value is NaN.
    method : how the interval was made; ``bca`` falls back to ``percentile`` where it does not exist.
    """

    value: float
    ci95: tuple[float, float]
    n: int
    n_subjects: int
    n_undefined: int
    method: Method


@dataclass(frozen=True)
class PairedDifference:
    """First run minus second run, on the stimuli that both have.

    ``p_value`` is that of the two-sided sign-flip test over stimuli.
    """

    value: float
    ci95: tuple[float, float]
    n: int
    p_value: float


def aggregate(
    rows: pd.DataFrame,
    n_resamples: int = 10_000,
    seed: int = 0,
    method: Method = "percentile",
    statistic: Statistic = "mean",
) -> Aggregate:
    """Value and 95% interval of per-item scores.

    Parameters
    ----------
    rows : columns ``subject``, ``stimulus_id``, ``value``.
    n_resamples, seed : of the bootstrap over stimuli, nested over subjects when there are several.
    method : ``bca`` (bias-corrected and accelerated) is defined for one subject and the mean; otherwise, and when all
        resamples agree, the percentile interval is given and ``Aggregate.method`` says so.
    statistic : over stimuli.

    Source: Efron & Tibshirani 1993, chapters 13 and 14.
    """
    values_SIM = per_stimulus(rows)
    resampled = resample(values_SIM, n_resamples, seed, (statistic,))
    interval = percentile_interval(resampled.draws)[:, 0]
    used: Method = "percentile"
    if method == "bca" and statistic == "mean" and len(values_SIM) == 1:
        corrected = _bca_interval(values_SIM[0, :, 0], resampled.draws[:, 0])
        if corrected is not None:
            interval, used = corrected, "bca"
    defined_SI = ~np.isnan(values_SIM[:, :, 0])
    return Aggregate(
        value=float(resampled.value[0]),
        ci95=(float(interval[0]), float(interval[1])),
        n=int(defined_SI.any(axis=0).sum()),
        n_subjects=int(defined_SI.any(axis=1).sum()),
        n_undefined=int(rows["value"].isna().sum()),
        method=used,
    )


def per_stimulus(rows: pd.DataFrame, column: np.ndarray | None = None) -> np.ndarray:
    """Mean value of each subject and stimulus.

    Parameters
    ----------
    rows : columns ``subject``, ``stimulus_id`` and ``value`` (NaN where undefined), one row an item.
    column : int, which of the M columns a row's value belongs to; None puts all in one.

    Returns
    -------
    float64 (S, I, M), subjects and stimuli sorted; NaN where a subject has no defined value for a stimulus.

    Raises
    ------
    DataError
        If there is no row.
    """
    if len(rows) == 0:
        raise DataError("statistics: no scores to aggregate (0 rows)")
    subject, subjects = pd.factorize(rows["subject"], sort=True)
    stimulus, stimuli = pd.factorize(rows["stimulus_id"], sort=True)
    column = np.zeros(len(rows), dtype=np.int64) if column is None else column
    shape = (len(subjects), len(stimuli), int(column.max()) + 1)
    value = rows["value"].to_numpy(dtype=np.float64)
    defined = ~np.isnan(value)
    cell = np.ravel_multi_index((subject, stimulus, column), shape)[defined]
    count = np.bincount(cell, minlength=int(np.prod(shape)))
    total = np.bincount(cell, weights=value[defined], minlength=int(np.prod(shape)))
    means = np.full(count.shape, np.nan)
    np.divide(total, count, out=means, where=count > 0)
    return means.reshape(shape)


def percentile_interval(draws: np.ndarray) -> np.ndarray:
    """Central 95% of the resamples along axis 0, (2, ...); NaN where no resample is defined.

    Rounding noise is not an interval: where all resamples agree to 12 digits both ends are their common value.
    """
    tail = 100 * (1 - LEVEL) / 2
    empty = np.isnan(draws).all(axis=0)
    filled = np.where(empty, 0.0, draws)
    low, middle, high = np.nanpercentile(filled, [tail, 50, 100 - tail], axis=0)
    degenerate = high - low <= 1e-12 * np.maximum(1.0, np.abs(middle))
    interval = np.stack([np.where(degenerate, middle, low), np.where(degenerate, middle, high)])
    return np.where(empty, np.nan, interval)


def paired_difference(
    first: pd.DataFrame, second: pd.DataFrame, n_resamples: int = 10_000, seed: int = 0
) -> PairedDifference:
    """Compare two runs on the subjects and stimuli that both scored.

    The interval is the bootstrap's over stimuli (nested over subjects); the p-value takes the subjects as given and
    flips the sign of whole stimuli, jointly in all subjects, exactly for up to 12 stimuli and by ``n_resamples`` random
    patterns otherwise.

    Raises
    ------
    DataError
        If the two runs have no subject and stimulus in common.
    """
    values_SIM = per_stimulus(differences(first, second))
    resampled = resample(values_SIM, n_resamples, seed)
    interval = percentile_interval(resampled.draws)[:, 0]
    return PairedDifference(
        value=float(resampled.value[0]),
        ci95=(float(interval[0]), float(interval[1])),
        n=values_SIM.shape[1],
        p_value=float(sign_flip_p(values_SIM, n_resamples, seed)[0]),
    )


def differences(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """First run minus second run where both are scored: columns ``subject``, ``stimulus_id``, ``value``.

    Raises
    ------
    DataError
        If the two runs have no subject and stimulus in common.
    """
    keys = ["subject", "stimulus_id"]
    means = [run.groupby(keys, sort=True)["value"].mean() for run in (first, second)]
    both = pd.concat(means, axis=1, join="inner", keys=["first", "second"]).dropna()
    if both.empty:
        raise DataError("paired comparison: the two runs have no scored subject and stimulus in common")
    return (both["first"] - both["second"]).rename("value").reset_index()


def corrected_p(cells: Sequence[pd.DataFrame], n_resamples: int = 10_000, seed: int = 0) -> np.ndarray:
    """p-values that each cell's mean is zero, corrected for the number of cells by their maximal statistic.

    Parameters
    ----------
    cells : rows of each cell (``subject``, ``stimulus_id``, ``value``), values less what chance would give; cells are
        of the same subjects and stimuli.
    n_resamples, seed : as in `braindec.metrics.sign_flip.sign_flip_p`.
    """
    rows = pd.concat(list(cells), ignore_index=True)
    cell = np.repeat(np.arange(len(cells)), [len(own) for own in cells])
    return sign_flip_p(per_stimulus(rows, cell), n_resamples, seed)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's step-down adjusted p-values, in the order given.

    Source: Holm 1979.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def ceiling_normalised(value: float, ceiling: float, chance: float = 0.0) -> float:
    """Where a value lies between chance (0) and the noise ceiling (1); below and above are not clipped.

    Raises
    ------
    DataError
        If ceiling and chance are equal: such a score cannot be normalised.
    """
    if ceiling == chance:
        raise DataError(f"noise ceiling: the ceiling {ceiling} equals chance, so nothing can be normalised by it")
    return (value - chance) / (ceiling - chance)


def _bca_interval(values_I: np.ndarray, draws_R: np.ndarray) -> np.ndarray | None:
    """Bias-corrected and accelerated interval of a mean; None where it does not exist.

    Source: Efron & Tibshirani 1993, equations 14.9 to 14.15.
    """
    from scipy.stats import norm

    values = values_I[~np.isnan(values_I)]
    n = len(values)
    if n < 2 or np.ptp(draws_R) <= 1e-12 * max(1.0, abs(float(draws_R[0]))):
        return None
    observed = values.mean()
    below = (np.sum(draws_R < observed) + np.sum(draws_R <= observed)) / (2 * len(draws_R))
    if not 0 < below < 1:
        return None
    # Leaving value i out moves the mean by (mean - value_i) / (n - 1): the jackknife needs no loop.
    influence = (values - observed) / (n - 1)
    acceleration = np.sum(influence**3) / (6 * np.sum(influence**2) ** 1.5)
    bias = norm.ppf(below)
    ends = bias + norm.ppf([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return np.quantile(draws_R, norm.cdf(bias + ends / (1 - acceleration * ends)))
