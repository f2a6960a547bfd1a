"""Evaluated runs beside published figures, on one sortable page."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from braindec.artifacts import atomic_write
from braindec.report.metric_panels import Cell
from braindec.report.rendering import render
from braindec.report.words import finite, label, number
from braindec.types import DataError

BENDING = ("transductive", "oracle", "allow_leak")
OWN_BOARD = "runs"


@dataclass(frozen=True)
class Entry:
    """An evaluated run: its title, where its report lies, and the contents of its manifest and ``scores.json``."""

    title: str
    link: str
    manifest: Mapping[str, Any]
    scores: Mapping[str, Any]

    @property
    def caveats(self) -> list[str]:
        """Where the protocol was bent, in the words of the run's flags, and where a control was not beaten."""
        flags = [str(flag) for flag in self.manifest.get("flags") or ()]
        for metric in self.scores["metrics"].values():
            flags += [flag for flag in metric.get("flags", ()) if flag.startswith(BENDING)]
        controls = self.scores.get("controls", {}).values()
        unbeaten = [
            label(name)
            for name in self.scores["metrics"]
            if any(control[name].get("beaten") is False for control in controls if name in control)
        ]
        if unbeaten:
            listed = ", ".join(unbeaten[:3]) + (f" and {len(unbeaten) - 3} more" if len(unbeaten) > 3 else "")
            flags.append(f"does not beat every control on {listed}")
        return list(dict.fromkeys(flags))


def published_boards() -> list[dict[str, Any]]:
    """The boards of ``published.yaml``."""
    import yaml

    text = (importlib.resources.files("braindec.report") / "published.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def write_leaderboard(path: Path, entries: Sequence[Entry], boards: Sequence[Mapping[str, Any]]) -> Path:
    """Write one self-contained HTML page: a table a board, published rows and runs together, and one of all runs.

    Raises
    ------
    DataError
        If there is neither a run nor a board, or two runs have one title.
    """
    titles = [entry.title for entry in entries]
    if len(set(titles)) != len(titles):
        raise DataError(f"leaderboard: runs need distinct titles, found {titles}")
    tables = [_board(board, entries) for board in boards]
    if entries:
        tables.insert(0, _own_board(entries))
    if not tables:
        raise DataError("leaderboard: there is neither a run nor a published figure to show")
    n_rows = sum(len(table["rows"]) for table in tables)
    context = {"title": "Leaderboard", "tables": tables, "n_runs": len(entries), "n_rows": n_rows}
    with atomic_write(Path(path)) as file:
        file.write(render("leaderboard.html.j2", None, context))
    return Path(path)


def _board(board: Mapping[str, Any], entries: Sequence[Entry]) -> dict[str, Any]:
    columns = board["columns"]
    rows = []
    for row in board["rows"]:
        if len(row["values"]) != len(columns):
            raise DataError(
                f"published figures of {row['system']}: expected {len(columns)} values, found {len(row['values'])}"
            )
        cells = [
            Cell(_printed(finite(value), column), finite(value))
            for value, column in zip(row["values"], columns, strict=True)
        ]
        rows.append(_row(row["system"], row["source"], [row["caveat"]], cells))
    for entry in entries:
        if entry.manifest.get("dataset") != board["dataset"]:
            continue
        cells = [_cell(_found(entry.scores["metrics"], column), column) for column in columns]
        if any(cell.sort is not None for cell in cells):
            rows.append(_run_row(entry, cells))
    names = [{"name": column["name"], "direction": column["direction"]} for column in columns]
    return {"id": board["id"], "title": board["title"], "note": board["note"], "columns": names, "rows": rows}


def _found(metrics: Mapping[str, Any], column: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The run's metric for a column: by name, or the best whose name ends so and whose gallery has that size."""
    if column.get("metric"):
        return metrics.get(column["metric"])
    if not column.get("suffix"):
        return None
    fitting = [
        entry
        for name, entry in metrics.items()
        if name.endswith(column["suffix"]) and entry.get("gallery_size") == column["gallery_size"]
    ]
    return fitting[0] if len(fitting) == 1 else None


def _own_board(entries: Sequence[Entry]) -> dict[str, Any]:
    directions: dict[str, str] = {}
    for entry in entries:
        for name, metric in entry.scores["metrics"].items():
            directions.setdefault(name, metric["direction"])
    rows = [_run_row(entry, [_cell(entry.scores["metrics"].get(name), {}) for name in directions]) for entry in entries]
    columns = [{"name": label(name), "direction": direction} for name, direction in directions.items()]
    note = "Runs of different data sets, subjects or galleries stand in one table here: compare within a data set."
    return {"id": OWN_BOARD, "title": "All runs", "note": note, "columns": columns, "rows": rows}


def _run_row(entry: Entry, cells: list[Cell]) -> dict[str, Any]:
    subjects = entry.manifest.get("subjects") or ()
    listed = ", ".join(map(str, subjects)) if len(subjects) <= 4 else f"{len(subjects)} subjects"
    source = f"this leaderboard; {entry.manifest.get('dataset', 'unknown data')}, {listed or 'no subject named'}"
    return _row(entry.title, source, entry.caveats, cells, entry.link, own=True)


def _row(
    system: str, source: str, caveats: Sequence[str], cells: Sequence[Cell], link: str = "", own: bool = False
) -> dict[str, Any]:
    return {"system": system, "link": link, "source": source, "caveats": caveats, "cells": cells, "own": own}


def _cell(metric: Mapping[str, Any] | None, column: Mapping[str, Any]) -> Cell:
    key = "corpus_value" if column.get("corpus") else "value"
    value = None if metric is None else finite(metric.get(key))
    if metric is None or value is None:
        return Cell("–", None)
    scale = float(column.get("scale", 1))
    if column.get("corpus"):
        return Cell(_printed(scale * value, column), scale * value)
    bounds = [float(bound) for bound in metric.get("ci95") or () if bound is not None]
    ends = f"[{', '.join(_printed(scale * bound, column) for bound in bounds)}]" if len(bounds) == 2 else ""
    return Cell(_printed(scale * value, column), scale * value, ends)


def _printed(value: float | None, column: Mapping[str, Any]) -> str:
    decimals = column.get("decimals")
    return number(value) if value is None or decimals is None else f"{value:.{decimals}f}"
