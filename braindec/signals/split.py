"""Partitions of a trial table into training, validation and test trials.

Each function takes a trial table (columns `TRIAL_COLUMNS`) first and returns folds whose fields are row numbers in
ascending order. Unless a docstring says otherwise, all trials of a stimulus land in one part, and so do all stimuli
of a concept when ``unit="concept"``. Rows whose ``split`` is ``"unused"`` (catch trials, missing data) are in none.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from braindec.types import TRIAL_COLUMNS, DataError, Fold

Unit = Literal["stimulus", "concept"]
"""What must not be divided between two parts of a fold."""

_PARTITIONS = ("train", "validation", "test", "unused")
_UNIT_COLUMN = {"stimulus": "stimulus_id", "concept": "concept"}


def published(
    table: pd.DataFrame, validation_fraction: float = 0.0, unit: Unit = "stimulus", seed: int = 0
) -> tuple[Fold, ...]:
    """The data set's own partition, as one fold; nothing is moved between training and test.

    Whether the published partition itself keeps stimuli or concepts apart is the leak check's business, not this
    function's: it reports what was published.

    Parameters
    ----------
    table : trial table; ``table.split`` holds the partition.
    validation_fraction : share of the training *units* (not trials) that become validation, in [0, 1); 0 keeps the
        published validation trials, if any.
    unit : carve the validation part out by whole stimuli or by whole concepts.
    seed : which units are carved out.

    Raises
    ------
    DataError
        If the partition has no training or no test trials, or if ``validation_fraction`` would add to validation
        trials that the data set already names.
    """
    _checked(table)
    split = table["split"].to_numpy()
    train, validation, test = (np.flatnonzero(split == part) for part in ("train", "validation", "test"))
    if validation_fraction and len(validation):
        raise DataError(
            f"published split: the data set names {len(validation)} validation trials itself; "
            f"expected validation_fraction=0, found {validation_fraction}"
        )
    if validation_fraction:
        train, validation = _carve(table, train, validation_fraction, unit, np.random.default_rng(seed))
    return (Fold("published", train, validation, test),)


def by_stimulus(
    table: pd.DataFrame, test_fraction: float, validation_fraction: float, seed: int, unit: Unit = "stimulus"
) -> tuple[Fold, ...]:
    """One random partition by whole stimuli or whole concepts; the published partition is ignored.

    Parameters
    ----------
    table : trial table.
    test_fraction, validation_fraction : shares of all units, each in [0, 1), their sum below 1.
    seed : which units go where; the order of the rows has no influence.
    unit : what is kept whole.

    Raises
    ------
    DataError
        If the fractions leave nothing to train on or nothing to test.
    """
    if not 0 < test_fraction < 1 or not 0 <= validation_fraction < 1 or test_fraction + validation_fraction >= 1:
        raise DataError(
            "by_stimulus: expected 0 < test_fraction, 0 <= validation_fraction and a sum below 1, "
            f"found {test_fraction} and {validation_fraction}"
        )
    rng = np.random.default_rng(seed)
    rest, test = _carve(table, _usable(table), test_fraction, unit, rng)
    if not validation_fraction:
        return (Fold("by_stimulus", rest, _no_rows(), test),)
    train, validation = _carve(table, rest, validation_fraction / (1 - test_fraction), unit, rng)
    return (Fold("by_stimulus", train, validation, test),)


def leave_repetition_out(table: pd.DataFrame) -> tuple[Fold, ...]:
    """One fold a repetition number: its trials are the test part, all others train.

    The same stimuli are on both sides by design, so that each fold carries `Fold.allow_leak`.
    """
    reason = "repetitions of one stimulus on both sides, by design"
    rows = _usable(table)
    repetition = table["repetition"].to_numpy()[rows]
    return tuple(
        Fold(f"repetition-{value}", rows[repetition != value], _no_rows(), rows[repetition == value], reason)
        for value in _distinct(repetition, "repetition")
    )


def leave_stimulus_out(
    table: pd.DataFrame, n_folds: int | None = None, seed: int = 0, validation_fraction: float = 0.0
) -> tuple[Fold, ...]:
    """Cross-validation over stimuli: every stimulus is in the test part of exactly one fold.

    Parameters
    ----------
    table : trial table.
    n_folds : number of folds of (nearly) equally many stimuli, drawn by ``seed``; None leaves one stimulus out a fold.
    seed : which stimuli share a fold and which are carved out for validation.
    validation_fraction : share of each fold's remaining stimuli that become its validation part.

    Raises
    ------
    DataError
        If there are fewer stimuli than folds.
    """
    return _leave_unit_out(table, "stimulus", n_folds, seed, validation_fraction)


def leave_concept_out(
    table: pd.DataFrame, n_folds: int | None = None, seed: int = 0, validation_fraction: float = 0.0
) -> tuple[Fold, ...]:
    """Cross-validation over concepts: no concept of a fold's test part is in its training or validation part.

    Arguments and errors are those of `leave_stimulus_out`, with concepts in the place of stimuli.
    """
    return _leave_unit_out(table, "concept", n_folds, seed, validation_fraction)


def leave_run_out(table: pd.DataFrame) -> tuple[Fold, ...]:
    """One fold a run (a run is named by its session and its run number): its trials are the test part.

    A stimulus shown in several runs is on both sides of some folds; exactly those carry `Fold.allow_leak`.
    """
    return leave_group_out(table, "run")


def leave_group_out(
    table: pd.DataFrame, column: Literal["session", "run", "repetition"], n_folds: int | None = None, seed: int = 0
) -> tuple[Fold, ...]:
    """Cross-validation over groups of trials that a column names; every group is in one fold's test part.

    Where a data set holds people in one table as its sessions, ``column="session"`` leaves people out. A run is named
    by its session and its run number. A stimulus shown in several groups is on both sides of some folds; exactly those
    carry `Fold.allow_leak`.

    Parameters
    ----------
    table : trial table.
    column : what names a group.
    n_folds : number of folds of (nearly) equally many groups, drawn by ``seed``; None leaves one group out a fold.
    seed : which groups share a fold.

    Raises
    ------
    DataError
        If there are fewer groups than folds, or a trial has no group.
    """
    rows = _usable(table)
    columns = ("session", "run") if column == "run" else (column,)
    for name in columns:
        _refuse_missing(table[name].to_numpy()[rows], name)
    group_of = list(zip(*(table[name].to_numpy()[rows] for name in columns)))
    distinct = sorted(set(group_of))
    number = {group: i for i, group in enumerate(distinct)}
    group_N = np.array([number[group] for group in group_of])
    if n_folds is None:
        parts = [np.array([i]) for i in range(len(distinct))]
        names = ["-".join(f"{name}-{value}" for name, value in zip(columns, group)) for group in distinct]
    elif 2 <= n_folds <= len(distinct):
        parts = np.array_split(np.random.default_rng(seed).permutation(len(distinct)), n_folds)
        names = [f"fold-{k}" for k in range(n_folds)]
    else:
        raise DataError(f"leave_group_out: expected n_folds of 2 to {len(distinct)} ({column}s), found {n_folds}")
    stimulus = table["stimulus_id"].to_numpy()[rows]
    folds = []
    for name, part in zip(names, parts):
        held_out = np.isin(group_N, part)
        shared = set(stimulus[held_out]) & set(stimulus[~held_out])
        reason = f"stimuli of the held-out {column} were also shown in other {column}s, by design" if shared else None
        folds.append(Fold(name, rows[~held_out], _no_rows(), rows[held_out], reason))
    return tuple(folds)


def split_hash(folds: Sequence[Fold], table: pd.DataFrame) -> str:
    """Hexadecimal SHA-256 of which trials are in which part of which fold.

    A trial is identified by its stimulus, session, run and repetition, so that the hash survives a reordering of the
    table and changes as soon as a trial changes sides.
    """
    columns = ("stimulus_id", "session", "run", "repetition")
    identity = [[str(value) for value in row] for row in zip(*(table[column] for column in columns))]
    described = [
        [
            fold.name,
            fold.allow_leak,
            *(sorted(identity[row] for row in part) for part in (fold.train, fold.validation, fold.test)),
        ]
        for fold in folds
    ]
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()


def _leave_unit_out(
    table: pd.DataFrame, unit: Unit, n_folds: int | None, seed: int, validation_fraction: float
) -> tuple[Fold, ...]:
    rows = _usable(table)
    units = _units(table, unit)[rows]
    rng = np.random.default_rng(seed)
    if n_folds is None:
        groups = [(f"{unit}-{name}", [name]) for name in _distinct(units, unit)]
    else:
        shuffled = rng.permutation(np.unique(units))
        if not 2 <= n_folds <= len(shuffled):
            raise DataError(f"leave_{unit}_out: expected n_folds of 2 to {len(shuffled)} ({unit}s), found {n_folds}")
        groups = [(f"fold-{i}", list(part)) for i, part in enumerate(np.array_split(shuffled, n_folds))]
    folds = []
    for name, held_out in groups:
        in_test = np.isin(units, held_out)
        train, validation = rows[~in_test], _no_rows()
        if validation_fraction:
            train, validation = _carve(table, train, validation_fraction, unit, rng)
        folds.append(Fold(name, train, validation, rows[in_test]))
    return tuple(folds)


def _carve(
    table: pd.DataFrame, rows: np.ndarray, fraction: float, unit: Unit, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Divide rows into (kept, carved); at least one whole unit is carved, about ``fraction`` of them."""
    if not 0 < fraction < 1:
        raise DataError(f"split: expected a fraction between 0 and 1 of the {unit}s, found {fraction}")
    units = _units(table, unit)[rows]
    # Sorted before drawing: the draw must depend on which units there are, not on the order of the trials.
    distinct = np.unique(units)
    n_carved = max(1, math.floor(fraction * len(distinct) + 0.5))
    if n_carved >= len(distinct):
        raise DataError(f"split: cannot carve {n_carved} of {len(distinct)} {unit}s and leave some; lower the fraction")
    carved = np.isin(units, rng.permutation(distinct)[:n_carved])
    return rows[~carved], rows[carved]


def _units(table: pd.DataFrame, unit: Unit) -> np.ndarray:
    """The unit of every row, as strings."""
    if unit not in _UNIT_COLUMN:
        raise DataError(f"split: unit must be one of {tuple(_UNIT_COLUMN)}, found {unit!r}")
    column = table[_UNIT_COLUMN[unit]]
    used = table["split"] != "unused"
    if column[used].isna().any():
        raise DataError(
            f"split by {unit}: {int(column[used].isna().sum())} trials have no {column.name}, first in row "
            f"{int(np.flatnonzero(column.isna() & used)[0])}; choose another unit or mark those trials unused"
        )
    if unit == "concept":
        concepts_a_stimulus = table[used].groupby("stimulus_id")["concept"].nunique()
        torn = concepts_a_stimulus.index[concepts_a_stimulus > 1]
        if len(torn):
            raise DataError(f"split by concept: {len(torn)} stimuli have several concepts, e.g. {torn[0]!r}")
    return column.astype(str).to_numpy(dtype=np.str_)


def _usable(table: pd.DataFrame) -> np.ndarray:
    """Rows that may be in a part: all but those the data set marks unused."""
    _checked(table)
    return np.flatnonzero(table["split"].to_numpy() != "unused")


def _checked(table: pd.DataFrame) -> None:
    missing = [column for column in TRIAL_COLUMNS if column not in table.columns]
    if missing:
        raise DataError(f"split: the trial table lacks the columns {missing}")
    strange = sorted({str(value) for value in table["split"].unique() if value not in _PARTITIONS})
    if strange:
        raise DataError(f"split: expected the values {_PARTITIONS} in the column split, found {strange}")


def _distinct(values: np.ndarray, what: str) -> list[Any]:
    """Distinct values in ascending order; a missing one is an error."""
    _refuse_missing(values, what)
    return sorted(pd.unique(values))


def _refuse_missing(values: np.ndarray, what: str) -> None:
    missing = pd.isna(values)
    if missing.any():
        raise DataError(f"split: {int(missing.sum())} trials have no {what}")


def _no_rows() -> np.ndarray:
    return np.empty(0, dtype=np.int64)
