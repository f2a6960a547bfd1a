"""What a report shows of each metric: table rows, plots beside the controls, subjects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from braindec.report.content import DECODED, ReportContent
from braindec.report.plots import Row, distribution, forest
from braindec.report.tables import subject_entry
from braindec.report.words import (
    ceiling_note,
    compare_with_control,
    finite,
    finite_interval,
    flag_sentence,
    interval,
    label,
    number,
    uses_truth,
)


@dataclass(frozen=True)
class Cell:
    """A table cell: what is read, what it sorts by, and a status word beneath it."""

    text: str
    sort: float | str | None
    interval: str = ""
    status: str = ""


def metric_rows(content: ReportContent) -> list[dict[str, Any]]:
    """Rows of the metrics table: the decoded value and every control, each with interval and status."""
    rows = []
    controls = content.scores.get("controls", {})
    for name, entry in content.scores["metrics"].items():
        cells = []
        for control in content.control_names:
            other = controls[control].get(name)
            value = None if other is None else finite(other.get("value"))
            status = "unknown" if uses_truth(control) else compare_with_control(entry, other)
            cells.append(
                Cell(number(value), value, interval((other or {}).get("ci95")), "" if other is None else status)
            )
        rows.append(
            {
                "name": label(name),
                "direction": entry["direction"],
                "own": Cell(number(finite(entry["value"])), finite(entry["value"]), interval(entry.get("ci95"))),
                "chance": Cell(number(entry.get("chance")), finite(entry.get("chance"))),
                "ceiling": Cell(number(entry.get("ceiling")), finite(entry.get("ceiling")), ceiling_note(entry)),
                "n": entry.get("n"),
                "gallery_size": entry.get("gallery_size"),
                "notes": [flag for flag in entry.get("flags") or () if flag_sentence(flag) is None],
                "controls": cells,
            }
        )
    return rows


def forests(content: ReportContent) -> list[dict[str, Any]]:
    """One plot a metric: the decoded value and the controls, with their intervals."""
    controls = content.scores.get("controls", {})
    panels = []
    for name, entry in content.scores["metrics"].items():
        rows = [Row("decoded", finite(entry["value"]), finite_interval(entry.get("ci95")), "own")]
        for control in content.control_names:
            if other := controls[control].get(name):
                status = "unknown" if uses_truth(control) else compare_with_control(entry, other)
                rows.append(Row(label(control), finite(other.get("value")), finite_interval(other.get("ci95")), status))
        svg = forest(label(name), rows, finite(entry.get("chance")), finite(entry.get("ceiling")))
        panels.append({"title": label(name), "direction": entry["direction"], "svg": svg})
    return panels


def distributions(content: ReportContent) -> list[dict[str, Any]]:
    """One plot a metric: the values of single items, decoded and of the controls."""
    sources = [DECODED, *(c for c in content.control_names if (content.items["source"] == c).any())]
    tables = {source: content.item_values(source) for source in sources}
    panels = []
    for name, entry in content.scores["metrics"].items():
        rows = [
            Row(label(s), None, None, "own" if s == DECODED else "control", tables[s][name].to_numpy(float))
            for s in sources
            if tables[s][name].notna().any()
        ]
        if rows:
            svg = distribution(label(name), rows, finite(entry.get("chance")))
            panels.append({"title": label(name), "direction": entry["direction"], "svg": svg})
    return panels


def subject_table(content: ReportContent) -> dict[str, Any] | None:
    """The per-subject table: one row a subject, one column a metric; None when scores hold no subjects."""
    metrics = content.scores["metrics"]
    names = list(dict.fromkeys(s for entry in metrics.values() for s in (entry.get("per_subject") or {})))
    if not names:
        return None
    rows = []
    for subject in names:
        cells = []
        for entry in metrics.values():
            own = subject_entry((entry.get("per_subject") or {}).get(subject, {}))
            value = finite(own.get("value"))
            cells.append(Cell(number(value), value, interval(own.get("ci95"))))
        rows.append({"name": subject, "cells": cells})
    everyone = [Cell(number(finite(e["value"])), finite(e["value"]), interval(e.get("ci95"))) for e in metrics.values()]
    return {"metrics": [label(m) for m in metrics], "rows": rows, "all": everyone}
