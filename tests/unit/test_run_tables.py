"""Columns of a run's tables: read back as they were written, and what is broken in them is named."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from braindec.artifacts import ArtifactError, write_table
from braindec.run_tables import RECONSTRUCTION_COLUMNS, answers_of, read_reconstructions

QUESTION = "which colour is it?"


def _table(path: Path, *answers: str) -> pd.DataFrame:
    """A table of reconstructions with these entries in its column ``answers``, written and read again."""
    rows = [{**dict.fromkeys(RECONSTRUCTION_COLUMNS, "x"), "item_id": f"item{i}"} for i in range(len(answers))]
    write_table(path, pd.DataFrame(rows).assign(answers=list(answers)))
    return read_reconstructions(path)


def test_answers_are_read_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    table = _table(path, f'{{"{QUESTION}": "red", "where?": "on a \\"beach\\", left"}}', "{}")
    assert answers_of(table, path) == ({QUESTION: "red", "where?": 'on a "beach", left'}, {})
    assert answers_of(table.drop(columns="answers"), path) is None


@pytest.mark.parametrize(
    "broken",
    ["", "red", f'{{"{QUESTION}": "re', '["red"]', f'{{"{QUESTION}": 3}}', f'{{"{QUESTION}": null}}', "null"],
    ids=["empty", "plain text", "cut off", "a list", "a number", "no answer", "null"],
)
def test_an_entry_that_is_no_mapping_of_answers_is_named(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "table.csv"
    table = _table(path, f'{{"{QUESTION}": "red"}}', broken)
    with pytest.raises(ArtifactError) as raised:
        answers_of(table, path)
    message = str(raised.value)
    assert str(path) in message
    assert "column answers, item 'item1'" in message
    assert "item0" not in message
    assert repr(broken) in message
    assert "run braindec reconstruct again" in message
