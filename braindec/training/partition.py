"""One subject's trials in one fold, with the test part sealed until a fitted decoder lies on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from braindec.types import DataError, Fold, Trials

ROW = "row"
"""Column of a partition's trial tables: the trial's row in the subject's whole table."""


class SealedTestError(DataError):
    """Test trials were asked for before the decoder was fitted and saved."""


class Partition:
    """Training, validation and (sealed) test trials of one subject.

    Parameters
    ----------
    trials : all trials of the subject.
    fold : rows of the three parts.
    """

    def __init__(self, trials: Trials, fold: Fold) -> None:
        self._trials = replace(trials, table=trials.table.assign(**{ROW: np.arange(len(trials))}))
        self.fold = fold

    @property
    def subject(self) -> str:
        """The subject's name."""
        return self._trials.subject

    def train(self) -> Trials:
        """Training trials."""
        return self._trials.select(self.fold.train)

    def validation(self) -> Trials:
        """Validation trials; may be empty."""
        return self._trials.select(self.fold.validation)

    def stimulus_ids(self, part: str) -> tuple[str, ...]:
        """Distinct stimulus ids of ``train``, ``validation`` or ``test``, in order of first appearance."""
        rows = getattr(self.fold, part)
        return tuple(dict.fromkeys(self._trials.table["stimulus_id"].iloc[rows]))

    def part_table(self) -> pd.DataFrame:
        """Which part each trial is in: its row, stimulus id, session, run, repetition and ``part``."""
        table = self._trials.table[[ROW, "stimulus_id", "session", "run", "repetition"]]
        part = np.full(len(table), "unused", dtype=object)
        for name in ("train", "validation", "test"):
            part[getattr(self.fold, name)] = name
        return table.assign(part=part)

    def open_test(self, receipt: Path) -> Trials:
        """Test trials, once the fitted decoder's ``state.json`` exists.

        Raises
        ------
        SealedTestError
            When ``receipt`` does not exist: nothing may look at test trials before fitting is over.
        """
        if receipt.name != "state.json" or not receipt.is_file():
            raise SealedTestError(
                f"test trials of subject {self.subject!r}, fold {self.fold.name!r}, are sealed until the fitted "
                f"decoder is saved; expected its state at {receipt}"
            )
        return self._trials.select(self.fold.test)
