"""Paired comparison of evaluated runs on the subjects and stimuli that all of them scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from braindec.metrics.statistics import holm, paired_difference
from braindec.metrics.summary import DECODED
from braindec.report.content import ReportContent
from braindec.types import DataError

_PAIR = ["subject", "stimulus_id"]


def distinct_titles(names: Sequence[str], folders: Sequence[Path], least: int = 2) -> list[str]:
    """One title a run: its name, with its folder where names repeat.

    Raises
    ------
    DataError
        When fewer than ``least`` runs are given, or one is given twice.
    """
    resolved = [folder.resolve() for folder in folders]
    twice = [folder for folder in folders if resolved.count(folder.resolve()) > 1]
    if twice:
        raise DataError(f"runs: {twice[0]} is given more than once; name each run once")
    if len(folders) < least:
        raise DataError(f"runs: expected {least} or more run folders, found {len(folders)}; say runs=[DIR,DIR]")
    titles = [
        name if names.count(name) == 1 else f"{name} ({folder.name})"
        for name, folder in zip(names, folders, strict=True)
    ]
    if len(set(titles)) == len(titles):
        return titles
    return [f"{name} ({folder})" for name, folder in zip(names, folders, strict=True)]


def shared_metrics(runs: Sequence[ReportContent]) -> list[str]:
    """Metrics that every run has, in the first run's order. Raises `DataError` when there is none."""
    shared = [name for name in runs[0].metric_names if all(name in run.metric_names for run in runs)]
    if not shared:
        listed = "; ".join(f"{run.title}: {', '.join(run.metric_names)}" for run in runs)
        raise DataError(f"runs: no metric was scored in every run ({listed}); evaluate them with the same metric=[...]")
    return shared


def shared_scores(runs: Sequence[ReportContent]) -> list[pd.DataFrame]:
    """Each run's decoded per-item scores on the subjects and stimuli that every run scored.

    Raises
    ------
    DataError
        When no subject and stimulus is in every run.
    """
    tables = [run.items[run.items["source"] == DECODED] for run in runs]
    keys = [pd.MultiIndex.from_frame(table[_PAIR]) for table in tables]
    shared = keys[0].unique()
    for other in keys[1:]:
        shared = shared[shared.isin(other)]
    if len(shared) == 0:
        described = "; ".join(
            f"{run.title}: subjects {', '.join(sorted(table['subject'].unique())[:4])}, "
            f"{table['stimulus_id'].nunique()} stimuli such as {table['stimulus_id'].iloc[0]!r}"
            for run, table in zip(runs, tables, strict=True)
        )
        raise DataError(f"runs: no subject and stimulus is in every run ({described}); compare runs of one test set")
    return [table[key.isin(shared)] for table, key in zip(tables, keys, strict=True)]


def paired_table(runs: Sequence[ReportContent], n_resamples: int, seed: int) -> pd.DataFrame:
    """Every later run against the first, one row a metric and run.

    Returns
    -------
    Columns ``metric``, ``run``, ``baseline`` (titles), ``n`` (shared stimuli with a defined value), ``difference``
    (run minus baseline), ``ci95``, ``p_permutation`` and ``p_holm``, corrected over all rows. A metric that is
    nowhere defined in both runs has NaN and n = 0.

    Raises
    ------
    DataError
        When the runs share no metric, or no subject and stimulus.
    """
    tables = shared_scores(runs)
    rows = []
    for metric in shared_metrics(runs):
        baseline, *others = (table[table["metric"] == metric] for table in tables)
        for run, values in zip(runs[1:], others, strict=True):
            row = {"metric": metric, "run": run.title, "baseline": runs[0].title}
            rows.append({**row, **_compared(values, baseline, n_resamples, seed)})
    table = pd.DataFrame(rows)
    tested = table["p_permutation"].notna().to_numpy()
    corrected = np.full(len(table), np.nan)
    corrected[tested] = holm(table.loc[tested, "p_permutation"].tolist())
    return table.assign(p_holm=corrected)


def _compared(first: pd.DataFrame, second: pd.DataFrame, n_resamples: int, seed: int) -> dict[str, object]:
    defined = [set(map(tuple, rows.dropna(subset=["value"])[_PAIR].to_numpy())) for rows in (first, second)]
    if not defined[0] & defined[1]:
        return {"n": 0, "difference": np.nan, "ci95": (np.nan, np.nan), "p_permutation": np.nan}
    found = paired_difference(first, second, n_resamples, seed)
    return {"n": found.n, "difference": found.value, "ci95": found.ci95, "p_permutation": found.p_value}


def gallery_notes(runs: Sequence[ReportContent]) -> list[str]:
    """Sentences about shared metrics whose number of candidates differs between the runs."""
    notes = []
    for metric in shared_metrics(runs):
        sizes = [run.scores["metrics"][metric].get("gallery_size") for run in runs]
        if len(set(sizes)) > 1:
            listed = ", ".join(f"{size} in {run.title}" for size, run in zip(sizes, runs, strict=True))
            notes.append(f"{metric} was scored among different numbers of candidates ({listed}): not comparable.")
    return notes
