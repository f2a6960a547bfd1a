"""The tables of a run folder: predictions, reconstructions and per-item scores, read with their ids as text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from braindec.artifacts import ArtifactError, read_array, read_table, safe_name
from braindec.types import PREDICTION_COLUMNS, Predictions

RECONSTRUCTION_COLUMNS = (*PREDICTION_COLUMNS, "image", "caption", "label", "seed", "chain", "flags")
FLAG_SEPARATOR = "; "
HALVES = ("half_1", "half_2")
"""Sources: predictions from every other test repetition, and from those between."""
CURVE = "first_"
"""Sources of a repetition curve: predictions from the first so many test repetitions."""
SCORE_COLUMNS = ("item_id", "subject", "fold", "stimulus_id", "metric", "value", "source")


def read_predictions(folder: Path, source: str, targets: Sequence[str]) -> Predictions:
    """Predictions of one source and fold; the named targets that were predicted, memory-mapped."""
    table = read_table(folder / "table.csv", ("item_id", "subject", "fold", "stimulus_id"))
    embeddings = {
        name: read_array(folder / f"{safe_name(name)}.npy")
        for name in targets
        if (folder / f"{safe_name(name)}.npy").exists()
    }
    return Predictions(table, embeddings, source)


def read_reconstructions(path: Path) -> pd.DataFrame:
    """A table of reconstructions, columns `RECONSTRUCTION_COLUMNS`, and those that its stages added.

    Raises
    ------
    ArtifactError
        When the file or a column is missing.
    """
    text = ("item_id", "subject", "fold", "stimulus_id", "image", "caption", "label", "chain", "flags", "answers",
            "image_sha256")  # fmt: skip
    return _with_columns(path, text, RECONSTRUCTION_COLUMNS, "reconstruct")


def answers_of(table: pd.DataFrame, path: Path) -> tuple[dict[str, str], ...] | None:
    """Question -> answer of each row of a table of reconstructions; None where no question was asked.

    Raises
    ------
    ArtifactError
        When an entry is no JSON mapping of questions to answers.
    """
    if "answers" not in table.columns:
        return None
    found = []
    for item, text in zip(table["item_id"], table["answers"], strict=True):
        try:
            own = json.loads(str(text))
        except json.JSONDecodeError:
            own = None
        if not isinstance(own, dict) or not all(isinstance(answer, str) for answer in own.values()):
            raise ArtifactError(
                f"{path}: column answers, item {item!r}: expected a JSON mapping of questions to answers, found "
                f"{str(text)[:60]!r}; run braindec reconstruct again"
            )
        found.append(own)
    return tuple(found)


def flags_of(table: pd.DataFrame) -> list[str]:
    """The distinct flags of a table of reconstructions, sorted."""
    return sorted({flag for entry in table["flags"].unique() for flag in str(entry).split(FLAG_SEPARATOR) if flag})


def read_item_scores(path: Path) -> pd.DataFrame:
    """Per-item scores of a run (``scores_items.csv``); an undefined value is NaN.

    Raises
    ------
    ArtifactError
        When the file or a column is missing, or a value is no number.
    """
    table = _with_columns(path, SCORE_COLUMNS, SCORE_COLUMNS, "evaluate")
    # An undefined value was written as an empty field.
    values = pd.to_numeric(table["value"].replace("", "nan"), errors="coerce")
    broken = values.isna() & ~table["value"].fillna("").isin(["", "nan"])
    if broken.any():
        found = table.loc[broken, "value"].iloc[0]
        raise ArtifactError(f"{path}: column value: expected a number, found {found!r}; run braindec evaluate again")
    return table.assign(value=values.astype(float))


def _with_columns(path: Path, text: tuple[str, ...], columns: tuple[str, ...], command: str) -> pd.DataFrame:
    table = read_table(path, text)
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ArtifactError(f"{path}: lacks the columns {missing}; run braindec {command} again")
    return table
