"""The scores as CSV, Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from braindec.artifacts import atomic_write
from braindec.report.content import DECODED
from braindec.report.words import capital, finite_interval, interval, label, number

CSV_COLUMNS = (
    "metric",
    "source",
    "subject",
    "value",
    "ci95_low",
    "ci95_high",
    "n",
    "n_undefined",
    "chance",
    "ceiling",
    "direction",
    "gallery_size",
    "flags",
)
LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "–": "--",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
}


def _row(metric: str, source: str, subject: str, entry: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    bounds = finite_interval(entry.get("ci95")) or (None, None)
    return {
        "metric": metric,
        "source": source,
        "subject": subject,
        "value": entry.get("value"),
        "ci95_low": bounds[0],
        "ci95_high": bounds[1],
        "n": entry.get("n"),
        "n_undefined": entry.get("n_undefined"),
        "chance": own.get("chance"),
        "ceiling": own.get("ceiling") if source == DECODED else None,
        "direction": own.get("direction"),
        "gallery_size": own.get("gallery_size"),
        "flags": "; ".join(own.get("flags") or ()),
    }


def subject_entry(entry: Any) -> Mapping[str, Any]:
    """One subject's entry of ``per_subject``, which may be a bare value."""
    return entry if isinstance(entry, Mapping) else {"value": entry}


def scores_frame(scores: Mapping[str, Any]) -> pd.DataFrame:
    """Long table, columns `CSV_COLUMNS`: every metric for what was decoded, each control, and each subject."""
    rows = []
    for metric, entry in scores["metrics"].items():
        rows.append(_row(metric, DECODED, "all", entry, entry))
        for subject, own in (entry.get("per_subject") or {}).items():
            rows.append(_row(metric, DECODED, str(subject), subject_entry(own), entry))
        for control, values in scores.get("controls", {}).items():
            if metric in values:
                rows.append(_row(metric, control, "all", values[metric], entry))
    return pd.DataFrame(rows, columns=list(CSV_COLUMNS))


def write_csv(path: Path, scores: Mapping[str, Any]) -> Path:
    """Write `scores_frame` as ``scores.csv``, atomically."""
    with atomic_write(path) as file:
        file.write(scores_frame(scores).to_csv(index=False, lineterminator="\n").encode())
    return path


def _cells(scores: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    controls = list(scores.get("controls", {}))
    header = ["Metric", "Decoded [95% CI]", "Chance", "n", *(capital(label(c)) for c in controls)]
    rows = []
    for metric, entry in scores["metrics"].items():
        arrow = "↑" if entry["direction"] == "higher" else "↓"
        row = [
            f"{label(metric)} {arrow}",
            f"{number(entry['value'])} {interval(entry.get('ci95'))}".strip(),
            number(entry.get("chance")),
            "–" if entry.get("n") is None else str(entry["n"]),
        ]
        for control in controls:
            other = scores["controls"][control].get(metric, {})
            row.append(f"{number(other.get('value'))} {interval(other.get('ci95'))}".strip())
        rows.append(row)
    return header, rows


def to_markdown(scores: Mapping[str, Any]) -> str:
    """A Markdown table: one row a metric, value and interval, chance, n and every control."""
    header, rows = _cells(scores)
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _latex(text: str) -> str:
    return "".join(LATEX_SPECIAL.get(character, character) for character in text)


def to_latex(scores: Mapping[str, Any]) -> str:
    """The same table as a LaTeX ``tabular`` with booktabs rules."""
    header, rows = _cells(scores)
    lines = [rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}", r"\toprule"]
    lines += [" & ".join(_latex(cell) for cell in header) + r" \\", r"\midrule"]
    lines += [" & ".join(_latex(cell) for cell in row) + r" \\" for row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])
