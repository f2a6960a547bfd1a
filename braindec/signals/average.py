"""Averaging the repetitions of a stimulus."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from braindec.types import DataError, Trials


def average_repetitions(trials: Trials, max_repetitions: int | None = None) -> Trials:
    """One trial a stimulus: the mean of its trials, in the order in which the stimuli first appear.

    Select the trials of one part of a fold first: every trial that is given is averaged, whatever its ``split``.

    Parameters
    ----------
    trials : trials of one subject, e.g. a fold's test trials.
    max_repetitions : average at most so many trials a stimulus, the first ones in the table's order; None averages all.

    Returns
    -------
    Trials
        ``signal`` float32 (stimuli, S, T), summed in float64. Each row of ``table`` is the row of the stimulus' first
        trial (so session, run, repetition and split are those of that trial), and the new column ``n_repetitions`` says
        how many trials were averaged.

    Raises
    ------
    DataError
        If ``max_repetitions`` is below 1, a trial has no stimulus, or the trials are averages already.
    """
    where = f"average_repetitions, subject {trials.subject!r}"
    if max_repetitions is not None and max_repetitions < 1:
        raise DataError(f"{where}: expected max_repetitions >= 1 or None, found {max_repetitions}")
    if "n_repetitions" in trials.table.columns and (trials.table["n_repetitions"] > 1).any():
        raise DataError(f"{where}: the trials are averages already (n_repetitions up to {_most(trials)})")
    if trials.table["stimulus_id"].isna().any():
        raise DataError(f"{where}: {int(trials.table['stimulus_id'].isna().sum())} trials have no stimulus_id")
    rows_of_stimulus = [rows[:max_repetitions] for rows in _rows_by_stimulus(trials)]
    return _averaged(trials, rows_of_stimulus)


def pseudo_trials(trials: Trials, size: int) -> Trials:
    """Averages of ``size`` successive trials of one stimulus; a rest that does not fill a group is left out.

    Trials are taken in the table's order, each in at most one average, so that the averages are independent. Select
    the trials of one part of a fold first.

    Parameters
    ----------
    trials : trials of one subject, e.g. a fold's test trials.
    size : trials in one average.

    Returns
    -------
    Trials
        As `average_repetitions`, with several rows a stimulus; ``repetition`` counts a stimulus' averages from 0.

    Raises
    ------
    DataError
        If ``size`` is below 1, no stimulus has so many trials, or a trial has no stimulus.
    """
    where = f"pseudo_trials, subject {trials.subject!r}"
    if size < 1:
        raise DataError(f"{where}: expected a size of at least 1, found {size}")
    if trials.table["stimulus_id"].isna().any():
        raise DataError(f"{where}: {int(trials.table['stimulus_id'].isna().sum())} trials have no stimulus_id")
    rows_of_stimulus = _rows_by_stimulus(trials)
    groups = [
        (rows[start : start + size], start // size)
        for rows in rows_of_stimulus
        for start in range(0, len(rows) - size + 1, size)
    ]
    if not groups:
        most = max(len(rows) for rows in rows_of_stimulus)
        raise DataError(f"{where}: no stimulus has {size} trials to average, the commonest has {most}")
    averaged = _averaged(trials, [rows for rows, _ in groups])
    return replace(averaged, table=averaged.table.assign(repetition=np.array([place for _, place in groups])))


def average_halves(trials: Trials, max_repetitions: int | None = None) -> tuple[Trials, Trials]:
    """Two independent averages of each stimulus: of every other repetition, and of those between.

    Both have the same stimuli in the same order and average the same number of trials of a stimulus: an odd last one
    is left out, and so are stimuli with a single trial.

    Parameters
    ----------
    trials : trials of one subject, e.g. a fold's test trials.
    max_repetitions : take at most so many trials a stimulus, the first ones in the table's order; None takes all.

    Raises
    ------
    DataError
        If no stimulus has two trials, or a trial has no stimulus.
    """
    if trials.table["stimulus_id"].isna().any():
        raise DataError(f"average_halves, subject {trials.subject!r}: some trials have no stimulus_id")
    kept = [rows[:max_repetitions] for rows in _rows_by_stimulus(trials)]
    kept = [rows[: len(rows) // 2 * 2] for rows in kept if len(rows) > 1]
    if not kept:
        raise DataError(f"average_halves, subject {trials.subject!r}: no stimulus has two trials")
    return _averaged(trials, [rows[0::2] for rows in kept]), _averaged(trials, [rows[1::2] for rows in kept])


def _rows_by_stimulus(trials: Trials) -> list[np.ndarray]:
    """Rows of each stimulus, in the order in which the stimuli first appear."""
    grouped = trials.table.reset_index(drop=True).groupby("stimulus_id", sort=False)
    return sorted((np.asarray(rows) for rows in grouped.indices.values()), key=lambda rows: int(rows[0]))


def _averaged(trials: Trials, groups: list[np.ndarray]) -> Trials:
    """One trial a group of rows: their mean, with the table row of the first."""
    signal = np.empty((len(groups), *trials.signal.shape[1:]), dtype=np.float32)
    for index, rows in enumerate(groups):
        signal[index] = trials.signal[rows].mean(axis=0, dtype=np.float64)
    table = trials.table.iloc[[int(rows[0]) for rows in groups]].reset_index(drop=True)
    table["n_repetitions"] = np.array([len(rows) for rows in groups], dtype=np.int64)
    return replace(trials, signal=signal, table=table)


def _most(trials: Trials) -> int:
    return int(trials.table["n_repetitions"].max())
