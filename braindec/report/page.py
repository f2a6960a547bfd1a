"""One run as one self-contained HTML page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from braindec.artifacts import atomic_write
from braindec.report.clear_of_chance import clear_of_chance
from braindec.report.contact_sheet import contact_sheet
from braindec.report.content import DECODED, ReportContent
from braindec.report.gallery import Material, Series, default_metric, gallery_data, overview
from braindec.report.methods import flatten, methods, provenance
from braindec.report.plots import Row, Trajectory, curves, distribution, forest, trajectory
from braindec.report.sounds import sound_cards
from braindec.report.tables import subject_entry
from braindec.report.words import (
    STATUS_WORDS,
    VERDICT_RULE,
    banners,
    capital,
    ceiling_note,
    compare_with_control,
    finite,
    finite_interval,
    flag_sentence,
    headline,
    interval,
    label,
    lead_sentence,
    number,
    unbeaten_sentence,
    uses_truth,
    verdicts,
)
from braindec.types import DataError

if TYPE_CHECKING:
    from jinja2 import Environment

PAGE_BYTES = 14_500_000
"""What a page may weigh; pictures get what the text leaves."""
TEXT_ALLOWANCE_BYTES = 60_000
TEMPLATES = Path(__file__).parent / "templates"


@cache
def environment() -> Environment:
    """The Jinja environment: autoescape on, undefined names are errors."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    env = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(number=number, interval=interval, label=label, capital=capital)
    env.globals.update(
        css=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        script=Markup((TEMPLATES / "page.js").read_text(encoding="utf-8")),
        STATUS_WORDS=STATUS_WORDS,
        VERDICT_RULE=VERDICT_RULE,
    )
    return env


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


def _forests(content: ReportContent) -> list[dict[str, Any]]:
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


def _distributions(content: ReportContent) -> list[dict[str, Any]]:
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


def _subjects(content: ReportContent) -> dict[str, Any] | None:
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


def _line(rows: pd.DataFrame, x: np.ndarray) -> Trajectory:
    chances = pd.to_numeric(rows["chance"], errors="coerce")
    chance = None if chances.isna().any() else float(chances.mean())
    value, low, high = (pd.to_numeric(rows[c], errors="coerce").to_numpy(float) for c in ("value", "low", "high"))
    marked = clear_of_chance(rows) if "p_corrected" in rows.columns else None
    return Trajectory(x, value, low, high, chance, marked)


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


def ceiling_sentence(found: Mapping[str, Any]) -> str:
    """What the recordings' own noise ceilings are, in a sentence; empty when none was computed."""
    if not found:
        return ""
    parts = []
    for subject, own in found.items():
        parts.append(f"{subject} {own['median']:.0f}% (best tenth above {own['best_decile']:.0f}%)")
    first = next(iter(found.values()))
    return (
        f"Of the variance of a test response averaged over {first['n_repetitions']:.3g} repetitions, signal is in the "
        f"median over positions: {', '.join(parts)}; from {first['source']}."
    )


def report_material(content: ReportContent) -> Material | None:
    """The gallery's material; None when there is no decoded item."""
    items = content.item_table()
    if items.empty:
        return None
    decoded = Series(
        DECODED,
        content.item_values(),
        content.decoded_images,
        content.decoded_captions,
        content.decoded_labels,
    )
    controls = [
        Series(name, content.item_values(name), content.control_images.get(name, {}), panel=False)
        for name in content.control_names
    ]
    return Material(
        items=items,
        series=[decoded, *controls],
        metrics={name: entry["direction"] for name, entry in content.scores["metrics"].items()},
        truth_images=content.truth_images,
        truth_captions=content.truth_captions,
        truth_concepts=content.truth_concepts,
        links=content.image_links,
        metric=content.gallery_metric or default_metric(content.metric_names, decoded.values),
        seed=content.gallery_seed,
        count=content.gallery_count,
    )


def fallback_sheet(material: Material) -> str | None:
    """A contact sheet of the overview as a data URI, for readers without scripts."""
    ids = material.items["item_id"].tolist()
    stimuli = material.items["stimulus_id"].tolist()
    rows = [int(row) for chosen in overview(material).values() for row in chosen]
    truth = [material.truth_images.get(stimuli[row]) for row in rows]
    shown = [material.series[0].images.get(ids[row]) for row in rows]
    if not any(image is not None for image in (*truth, *shown)):
        return None
    buffer = io.BytesIO()
    contact_sheet(truth, shown, columns=material.count, tile_px=80).save(buffer, "WEBP", quality=70)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def render(template: str, material: Material | None, context: Mapping[str, Any]) -> bytes:
    """Fill a template, giving the gallery's pictures the bytes that the rest of the page leaves."""
    page = environment().get_template(template)
    fallback = None if material is None else fallback_sheet(material)
    bare = page.render(**context, gallery=None, has_gallery=material is not None, fallback=fallback)
    if material is None:
        return bare.encode()
    text_bytes = len(bare.encode()) + len(material.items) * (400 + 12 * len(material.metrics) * len(material.series))
    data = gallery_data(material, PAGE_BYTES - text_bytes - TEXT_ALLOWANCE_BYTES)
    return page.render(**context, gallery=data, has_gallery=True, fallback=fallback).encode()


def write_report(path: Path, content: ReportContent) -> Path:
    """Write the report of one run as a single HTML file: no network, no companion files.

    The file appears under its name only when it is complete.

    Returns
    -------
    Path
        ``path``.
    """
    found = verdicts(content.scores)
    items = content.item_table()
    subjects = list(dict.fromkeys(items["subject"]))
    context = {
        "title": content.title,
        "subjects": subjects,
        "n_items": len(items),
        "n_stimuli": items["stimulus_id"].nunique(),
        "headline": headline(found),
        "lead": lead_sentence(found),
        "unbeaten": unbeaten_sentence(found),
        "verdicts": [(v, content.scores["metrics"][v.metric]) for v in found],
        "banners": banners(content.scores, content.manifest, content.warnings),
        "has_oracle": any(uses_truth(name) for name in content.control_names),
        "controls": [label(name) for name in content.control_names],
        "rows": metric_rows(content),
        "forests": _forests(content),
        "distributions": _distributions(content),
        "subject_table": _subjects(content),
        "ceiling_sentence": ceiling_sentence(content.scores.get("response_ceilings") or {}),
        "time": time_panels(content.over_time),
        "space": space_panels(content.over_space),
        "maps": content.maps,
        "imagery": [] if content.imagery is None else content.imagery.to_dict("records"),
        "repetitions": repetition_panels(content.repetition_curve),
        "sounds": sound_cards(content.sounds),
        "training": training_panels(content.training_curves),
        "fit_rows": flatten(content.fit_report),
        "methods": methods(content.manifest, content.config_yaml, subjects, len(items), list(content.control_names)),
        "provenance": provenance(content.manifest),
        "config_yaml": content.config_yaml,
    }
    payload = render("report.html.j2", report_material(content), context)
    with atomic_write(path) as file:
        file.write(payload)
    return path


def notes_of(contents: Sequence[ReportContent]) -> tuple[str, ...]:
    """Banners of several runs, each preceded by its run's title."""
    return tuple(
        f"{content.title}: {sentence}"
        for content in contents
        for sentence in banners(content.scores, content.manifest, content.warnings)
    )
