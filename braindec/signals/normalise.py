"""Standardising the signal with statistics of training trials only.

Legend: N trials, S space, T time points, G groups (sessions, runs, or all trials together).

Every transform is fitted on the training trials and then applied to any trials of the same subject; statistics are
accumulated in float64 and a memory-mapped signal is read in blocks, never as a whole. A position without spread in the
training trials of a group (a dead sensor, a voxel outside the slab) cannot be standardised: it becomes 0 in that group
and is marked in ``constant_``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal, cast, get_args

import numpy as np
import pandas as pd

from braindec.types import DataError, Trials, Unit

Per = Literal["session", "run", "all"]
"""Which trials share statistics. A run is named by its session and its run number."""

_BLOCK_VALUES = 1 << 24
# float32 carries about 7 digits: a spread below this share of the mean is rounding, not signal.
_ROUNDING = 1e-7


def mean_and_sd(signal_NST: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population standard deviation (ddof 0) of each position over trials and time, both float64 (S,).

    Two passes in float64, so that a large offset (raw BOLD, DC-coupled EEG) does not cancel the variance away.
    """
    n_trials, n_space, n_times = signal_NST.shape
    count = n_trials * n_times
    blocks = _row_blocks(n_trials, n_space * n_times)
    mean_S = sum((signal_NST[rows].sum(axis=(0, 2), dtype=np.float64) for rows in blocks), np.zeros(n_space)) / count
    squares_S = np.zeros(n_space)
    for rows in blocks:
        squares_S += ((signal_NST[rows].astype(np.float64) - mean_S[:, None]) ** 2).sum(axis=(0, 2))
    return mean_S, np.sqrt(squares_S / count)


def median_and_iqr(signal_NST: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and interquartile range (linear interpolation) of each position over trials and time, float64 (S,)."""
    n_trials, n_space, n_times = signal_NST.shape
    quartiles = np.empty((3, n_space))
    for columns in _row_blocks(n_space, n_trials * n_times):
        values = np.asarray(signal_NST[:, columns], dtype=np.float64)
        quartiles[:, columns] = np.percentile(values, (25, 50, 75), axis=(0, 2))
    return quartiles[1], quartiles[2] - quartiles[0]


def subtract_baseline(
    signal_NST: np.ndarray, times_s: np.ndarray, start_s: float | None, stop_s: float | None
) -> np.ndarray:
    """Subtract from each trial and position its mean over ``start_s <= times_s <= stop_s``; float32 (N, S, T).

    None stands for the first or the last time point. Both ends are included, up to half a sampling interval, as in
    `mne.baseline.rescale`.

    Raises
    ------
    DataError
        If no time point lies in the window.
    """
    slack_s = 0.5 * float(np.diff(times_s).min()) if len(times_s) > 1 else 0.0
    first = -np.inf if start_s is None else start_s - slack_s
    last = np.inf if stop_s is None else stop_s + slack_s
    window = (times_s > first) & (times_s < last) if slack_s else (times_s >= first) & (times_s <= last)
    if not window.any():
        raise DataError(
            f"baseline: no time point between {start_s} and {stop_s} s; "
            f"the trials run from {times_s[0]:g} to {times_s[-1]:g} s"
        )
    result = np.empty(signal_NST.shape, dtype=np.float32)
    for rows in _row_blocks(len(signal_NST), signal_NST[0].size if len(signal_NST) else 1):
        block = signal_NST[rows]
        result[rows] = block - block[:, :, window].mean(axis=2, keepdims=True, dtype=np.float64)
    return result


def check_per(per: str, name: str) -> None:
    """``per`` must be one of `Per`; ``name`` is the transform's, for the message."""
    if per not in get_args(Per):
        raise DataError(f"{name}: expected per to be one of {', '.join(get_args(Per))}, found {per!r}")


def group_names(table: pd.DataFrame, per: Per) -> np.ndarray:
    """Which group each trial belongs to, as strings (N,): ``"session 3"``, ``"session 3 run 2"`` or ``"all"``."""
    if per == "all":
        return np.full(len(table), "all")
    columns = ("session",) if per == "session" else ("session", "run")
    for column in columns:
        if table[column].isna().any():
            raise DataError(
                f"normalise per {per}: {int(table[column].isna().sum())} trials have no {column}; use per=all"
            )
    parts = [[f"{column} {value}" for value in table[column]] for column in columns]
    return np.array([" ".join(row) for row in zip(*parts)], dtype=np.str_)


class _Standardise:
    """What `ZScore` and `RobustScale` share: a centre and a scale a group and position.

    Fitted attributes: ``groups_`` (G,) names, ``center_`` and ``scale_`` float64 (G, S), ``constant_`` bool (G, S),
    ``subject_`` and ``unit_`` of the training trials.
    """

    per: Per
    unit_: Unit

    def _fit(self, trials: Trials, statistics: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]) -> None:
        name = type(self).__name__
        group_of = group_names(trials.table, self.per)
        groups = np.unique(group_of)
        center, scale = (np.empty((len(groups), trials.space.size)) for _ in range(2))
        for index, group in enumerate(groups):
            rows = np.flatnonzero(group_of == group)
            if len(rows) * trials.signal.shape[2] < 2:
                raise DataError(
                    f"{name}: subject {trials.subject!r} has a single training value a position in {group}; "
                    "a spread needs two, use a wider `per`"
                )
            center[index], scale[index] = statistics(trials.signal[_as_slice(rows)])
        unusable = ~(np.isfinite(center) & np.isfinite(scale))
        if unusable.any():
            index, position = (int(i[0]) for i in np.nonzero(unusable))
            raise DataError(
                f"{name}: subject {trials.subject!r}, {groups[index]}, position {position}: the training trials hold "
                "NaN or infinite values; drop those trials or positions first"
            )
        self.groups_ = groups
        self.center_, self.scale_ = center, scale
        self.constant_ = scale <= _ROUNDING * np.abs(center)
        self.subject_, self.unit_ = trials.subject, trials.unit

    def _apply(self, trials: Trials, finish: Callable[[np.ndarray], np.ndarray] | None = None) -> Trials:
        inverse_scale = np.divide(1.0, self._fitted().scale_, out=np.zeros_like(self.scale_), where=~self.constant_)
        if trials.unit != self.unit_:
            raise DataError(
                f"{type(self).__name__}: fitted on trials in unit {self.unit_!r}, found unit {trials.unit!r}"
            )

        def scaled(block: np.ndarray, group: int) -> np.ndarray:
            values = (block - self.center_[group, :, None]) * inverse_scale[group, :, None]
            return values if finish is None else finish(values)

        return replace(trials, signal=self._mapped(trials, scaled), unit="z")

    def inverse(self, trials: Trials) -> Trials:
        """Undo the scaling: back to the unit of the training trials; positions in ``constant_`` get their centre."""
        self._fitted()
        if trials.unit != "z":
            raise DataError(f"{type(self).__name__}.inverse: expected trials in unit 'z', found {trials.unit!r}")

        def unscaled(block: np.ndarray, group: int) -> np.ndarray:
            scale = np.where(self.constant_[group], 0.0, self.scale_[group])
            return block * scale[:, None] + self.center_[group, :, None]

        return replace(trials, signal=self._mapped(trials, unscaled), unit=self.unit_)

    def state(self) -> dict[str, np.ndarray]:
        """The fitted statistics as arrays."""
        self._fitted()
        return {
            "groups": self.groups_,
            "center": self.center_,
            "scale": self.scale_,
            "constant": self.constant_,
            "subject": np.array([self.subject_]),
            "unit": np.array([self.unit_]),
        }

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what `state` gave."""
        self.groups_ = np.asarray(state["groups"])
        self.center_, self.scale_ = np.asarray(state["center"]), np.asarray(state["scale"])
        self.constant_ = np.asarray(state["constant"])
        self.subject_ = str(state["subject"][0])
        self.unit_ = cast(Unit, str(state["unit"][0]))

    def _fitted(self) -> _Standardise:
        if not hasattr(self, "groups_"):
            raise DataError(f"{type(self).__name__}: not fitted; call fit with the training trials first")
        return self

    def _mapped(self, trials: Trials, change: Callable[[np.ndarray, int], np.ndarray]) -> np.ndarray:
        """The signal with ``change(block, group)`` applied to the trials of each group, as float32."""
        name = type(self).__name__
        if trials.subject != self.subject_:
            raise DataError(f"{name}: fitted on subject {self.subject_!r}, found subject {trials.subject!r}")
        if trials.space.size != self.center_.shape[1]:
            raise DataError(
                f"{name}: fitted on {self.center_.shape[1]} positions of subject {self.subject_!r}, "
                f"found {trials.space.size}"
            )
        group_of = group_names(trials.table, self.per)
        unseen = sorted(set(group_of) - set(self.groups_))
        if unseen:
            raise DataError(
                f"{name}: subject {trials.subject!r} has no training trials in {', '.join(unseen[:3])}"
                f"{' ...' if len(unseen) > 3 else ''} ({len(unseen)} in all), so there are no statistics to apply; "
                "use a wider `per`, or a split that trains on them"
            )
        result = np.empty(trials.signal.shape, dtype=np.float32)
        for index, group in enumerate(self.groups_):
            rows = np.flatnonzero(group_of == group)
            for block in _row_blocks(len(rows), int(np.prod(trials.signal.shape[1:]))):
                result[rows[block]] = change(trials.signal[rows[block]].astype(np.float64), index)
        return result


class ZScore(_Standardise):
    """Subtract the mean and divide by the population standard deviation of each position.

    Statistics are taken over the training trials (and time points) of the group that a trial belongs to.

    Parameters
    ----------
    per : which trials share statistics: those of a session, of a run, or all.
    """

    def __init__(self, per: Per) -> None:
        check_per(per, "ZScore")
        self.per = per

    def fit(self, trials: Trials) -> None:
        """Take the statistics of the training trials.

        Raises
        ------
        DataError
            If a group holds a single value a position, or a value is not finite.
        """
        self._fit(trials, mean_and_sd)

    def apply(self, trials: Trials) -> Trials:
        """Standardised trials, unit ``z``.

        Raises
        ------
        DataError
            If a trial's group (session, run) had no training trials, or subject, unit or positions differ.
        """
        return self._apply(trials)


class RobustScale(_Standardise):
    """Subtract the median, divide by the interquartile range of each position, then clamp.

    Source: Defossez et al. 2023, Methods (robust scaler and clamping at 20 for MEG and EEG); quartiles as in
    scikit-learn's ``RobustScaler``.

    Parameters
    ----------
    clamp : values are limited to ``[-clamp, clamp]`` interquartile ranges; None leaves them.
    per : which trials share statistics.
    """

    def __init__(self, clamp: float | None = 20.0, per: Per = "all") -> None:
        if clamp is not None and not clamp > 0:
            raise DataError(f"RobustScale: expected a positive clamp or None, found {clamp}")
        check_per(per, "RobustScale")
        self.clamp = clamp
        self.per = per

    def fit(self, trials: Trials) -> None:
        """Take the statistics of the training trials; raises as `ZScore.fit`."""
        self._fit(trials, median_and_iqr)

    def apply(self, trials: Trials) -> Trials:
        """Scaled and clamped trials, unit ``z``; raises as `ZScore.apply`."""
        limit = self.clamp
        return self._apply(trials, None if limit is None else lambda values: np.clip(values, -limit, limit))


class Baseline:
    """Subtract each trial's own mean over a window of time; nothing is fitted.

    Parameters
    ----------
    start_s, stop_s : window in seconds from stimulus onset, both ends included; None is the first or last time point.
    """

    def __init__(self, start_s: float | None = None, stop_s: float | None = 0.0) -> None:
        if start_s is not None and stop_s is not None and start_s > stop_s:
            raise DataError(f"Baseline: expected start_s <= stop_s, found {start_s} and {stop_s}")
        self.start_s = start_s
        self.stop_s = stop_s

    def fit(self, trials: Trials) -> None:
        """Nothing to learn."""

    def apply(self, trials: Trials) -> Trials:
        """Trials without their baseline, in the same unit.

        Raises
        ------
        DataError
            If the trials have no time axis, or no time point lies in the window.
        """
        if trials.times_s is None:
            raise DataError(f"Baseline: subject {trials.subject!r}'s trials have no times_s; leave it out for betas")
        return replace(trials, signal=subtract_baseline(trials.signal, trials.times_s, self.start_s, self.stop_s))

    def state(self) -> dict[str, np.ndarray]:
        """Empty: nothing is fitted."""
        return {}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Nothing to take over."""


def _row_blocks(n_rows: int, values_a_row: int) -> list[slice]:
    """Slices over rows of at most `_BLOCK_VALUES` values each."""
    step = max(1, _BLOCK_VALUES // max(1, values_a_row))
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


def _as_slice(rows: np.ndarray) -> slice | np.ndarray:
    """A run of consecutive rows as a slice, which a memory-mapped signal serves without a copy."""
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows
