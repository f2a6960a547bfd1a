"""Plots of a report along an axis: training, time, repetitions, regions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from braindec.report.clear_of_chance import clear_of_chance
from braindec.report.plots import Row, Trajectory, curves, forest, trajectory
from braindec.report.words import finite, finite_interval, label
from braindec.types import DataError


def training_panels(frame: pd.DataFrame | None) -> list[dict[str, Any]]:
    """One plot a training curve, one line a subject and fold.

    Raises
    ------
    DataError
        If the frame has neither ``epoch`` nor ``step``, or no numeric curve.
    """
    if frame is None or frame.empty:
        return []
    axis = next((c for c in ("epoch", "step") if c in frame.columns), None)
    groups = [c for c in ("subject", "fold") if c in frame.columns]
    numeric = frame.select_dtypes("number").columns
    quantities = [c for c in numeric if c not in ("epoch", "step", *groups)]
    if axis is None or not quantities:
        raise DataError(
            "Report training_curves: expected a column 'epoch' or 'step' and numeric curves, "
            f"found {list(frame.columns)}"
        )
    panels = []
    for quantity in quantities:
        lines: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        parts: Any = frame.groupby(groups, sort=False) if groups else [((quantity,), frame)]
        for key, part in parts:
            rows = part.dropna(subset=[quantity]).sort_values(axis)
            if len(rows):
                lines[" · ".join(map(str, key))] = (rows[axis].to_numpy(float), rows[quantity].to_numpy(float))
        if lines:
            legend = list(lines) if groups else []
            panels.append({"title": label(quantity), "svg": curves(label(quantity), axis, lines), "legend": legend})
    return panels


def time_panels(table: pd.DataFrame | None) -> list[dict[str, Any]]:
    """One plot a metric: score against the centre of the window, in milliseconds from onset.

    Dots mark windows better than chance after correction for their number; older tables have no such p-values.
    """
    panels = []
    for metric, rows in [] if table is None else table.groupby("metric", sort=False):
        rows = rows.sort_values("start_s")
        centre_ms = (500 * (rows["start_s"] + rows["stop_s"])).to_numpy(float)
        name = label(str(metric))
        svg = trajectory(name, "centre of window, ms from onset", _line(rows, centre_ms), onset=0.0)
        panels.append({"title": name, "svg": svg})
    return panels


def repetition_panels(table: pd.DataFrame | None) -> list[dict[str, Any]]:
    """One plot a metric: score against the number of test repetitions averaged."""
    panels = []
    for metric, rows in [] if table is None else table.groupby("metric", sort=False):
        rows = rows.sort_values("n_repetitions")
        name, n = label(str(metric)), rows["n_repetitions"].to_numpy(float)
        svg = trajectory(name, "repetitions averaged", _line(rows, n), doubling=True)
        panels.append({"title": name, "svg": svg})
    return panels


def space_panels(table: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Plots a metric: each region alone, everything without it, and what is lost without it (paired)."""
    panels = []
    for metric, rows in [] if table is None else table.groupby("metric", sort=False):
        whole = rows[rows["region"] == "everything"]
        for use, words in (("alone", "each region alone"), ("without", "everything without it")):
            own = rows[(rows["use"] == use) & (rows["region"] != "everything")]
            if own.empty:
                continue
            ordered = pd.concat([whole, own.sort_values("value", ascending=use == "without")])
            marks = [
                Row(
                    f"{label(str(region))} ({float(n):.0f})",
                    finite(value),
                    finite_interval((float(low), float(high))),
                    "own" if region == "everything" else "control",
                )
                for region, n, value, low, high in ordered[["region", "n_positions", "value", "low", "high"]].to_numpy()
            ]
            title = f"{label(str(metric))}, {words}"
            svg = forest(title, marks, _line(rows, np.zeros(len(rows))).chance, None)
            panels.append({"title": title, "svg": svg})
        panels += _drop_panels(str(metric), rows)
    return panels


def _drop_panels(metric: str, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """What the score loses without each region, with the interval of the paired differences; none in older tables."""
    if "drop" not in rows.columns:
        return []
    lost = rows[rows["use"] == "without"].copy()
    for column in ("drop", "drop_low", "drop_high"):
        lost[column] = pd.to_numeric(lost[column], errors="coerce")
    marks = [
        Row(label(str(region)), finite(drop), finite_interval((low, high)), "own" if low > 0 else "control")
        for region, drop, low, high in lost.sort_values("drop", ascending=False)[
            ["region", "drop", "drop_low", "drop_high"]
        ].itertuples(index=False)
    ]
    if not marks:
        return []
    title = f"{label(metric)}, lost without it"
    return [{"title": title, "svg": forest(title, marks, 0.0, None, band=False)}]


def _line(rows: pd.DataFrame, x: np.ndarray) -> Trajectory:
    chances = pd.to_numeric(rows["chance"], errors="coerce")
    chance = None if chances.isna().any() else float(chances.mean())
    value, low, high = (pd.to_numeric(rows[c], errors="coerce").to_numpy(float) for c in ("value", "low", "high"))
    marked = clear_of_chance(rows) if "p_corrected" in rows.columns else None
    return Trajectory(x, value, low, high, chance, marked)
