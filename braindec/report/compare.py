"""Several runs side by side on one page: paired differences, scores, and one gallery of what each decoded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from braindec.artifacts import atomic_write
from braindec.report.content import DECODED, ReportContent
from braindec.report.gallery import Material, Series, default_metric
from braindec.report.methods import provenance
from braindec.report.metric_panels import Cell
from braindec.report.plots import Row, difference_bar, forest
from braindec.report.rendering import render
from braindec.report.words import banners, finite, finite_interval, interval, label, number
from braindec.types import DataError

PAIRED_COLUMNS = ("metric", "difference", "ci95", "p_permutation", "p_holm")
MUST_AGREE = ("data_version", "split_hash")
ALPHA = 0.05


def _shared_items(runs: Sequence[ReportContent]) -> tuple[pd.DataFrame, list[dict[str, str]]]:
    """Items that every run scored, and for each run the map from the first run's item_id to its own.

    Items are matched by subject, stimulus and, where a stimulus recurs, the order of its occurrences; folds may differ.
    """
    keyed = []
    for run in runs:
        table = run.item_table()
        columns = ["subject", "stimulus_id"]
        table["occurrence"] = table.groupby(columns).cumcount()
        keyed.append(table.set_index([*columns, "occurrence"])["item_id"])
    index = keyed[0].index
    for other in keyed[1:]:
        index = index[index.isin(other.index)]
    if len(index) == 0:
        raise DataError(
            "Comparison: no item (subject and stimulus) is in every run; compare runs scored on the same test items"
        )
    first = keyed[0].loc[index]
    maps = [dict(zip(first, other.loc[index])) for other in keyed]
    table = runs[0].item_table()
    items = table.set_index("item_id").loc[first].reset_index()[["item_id", "subject", "fold", "stimulus_id"]]
    return items, maps


def _renamed(run: ReportContent, own_ids: dict[str, str], metrics: Sequence[str]) -> Series:
    """A run's decoded material under the first run's item ids."""
    back = {own: shared for shared, own in own_ids.items()}
    values = run.item_values()
    values = values[values.index.isin(back)].rename(index=back)

    def pick(entries: Any) -> dict[str, Any]:
        return {back[key]: value for key, value in entries.items() if key in back}

    return Series(
        run.title,
        values.reindex(columns=list(metrics)),
        pick(run.decoded_images),
        pick(run.decoded_captions),
        pick(run.decoded_labels),
    )


def _material(runs: Sequence[ReportContent], metrics: Sequence[str]) -> tuple[Material, int]:
    items, maps = _shared_items(runs)
    first = runs[0]
    series = [_renamed(run, own, metrics) for run, own in zip(runs, maps)]
    dropped = max(len(run.item_table()) for run in runs) - len(items)
    chosen = first.gallery_metric if first.gallery_metric in metrics else None
    material = Material(
        items=items,
        series=series,
        metrics={name: first.scores["metrics"][name]["direction"] for name in metrics},
        truth_images=first.truth_images,
        truth_captions=first.truth_captions,
        truth_concepts=first.truth_concepts,
        links={},
        metric=chosen or default_metric(metrics, series[0].values),
        seed=first.gallery_seed,
        count=first.gallery_count,
    )
    return material, dropped


def _difference_rows(paired: pd.DataFrame, runs: Sequence[ReportContent], directions: dict[str, str]) -> list[dict]:
    missing = [c for c in PAIRED_COLUMNS if c not in paired.columns]
    if missing:
        raise DataError(f"Paired differences: expected the columns {list(PAIRED_COLUMNS)}, missing {missing}")
    if len(runs) > 2 and not {"run", "baseline"} <= set(paired.columns):
        raise DataError(f"Paired differences of {len(runs)} runs: expected the columns 'run' and 'baseline' as well")
    rows = []
    for record in paired.to_dict("records"):
        metric = str(record["metric"])
        difference = finite(record["difference"])
        bounds = finite_interval(record["ci95"])
        p_holm = finite(record["p_holm"])
        run = str(record.get("run", runs[-1].title))
        baseline = str(record.get("baseline", runs[0].title))
        if difference is None or p_holm is None:
            verdict = "not compared"
        elif p_holm >= ALPHA or difference == 0:
            verdict = "no clear difference"
        else:
            better = (difference > 0) == (directions.get(metric, "higher") == "higher")
            verdict = f"{run if better else baseline} is better"
        rows.append(
            {
                "metric": label(metric),
                "direction": directions.get(metric, "higher"),
                "run": run,
                "baseline": baseline,
                "difference": Cell(number(difference), difference, interval(bounds)),
                "bar": "" if difference is None else difference_bar(difference, bounds),
                "p_permutation": Cell(_p_value(record["p_permutation"]), finite(record["p_permutation"])),
                "p_holm": Cell(_p_value(p_holm), p_holm),
                "verdict": verdict,
                "is_clear": verdict.endswith("better"),
            }
        )
    return rows


def _p_value(p: Any) -> str:
    value = finite(p)
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _headline(rows: Sequence[dict], n_runs: int) -> str:
    clear = [row for row in rows if row["is_clear"]]
    if not rows:
        return f"{n_runs} runs side by side; no paired test was given."
    if not clear:
        noun = "the one comparison" if len(rows) == 1 else f"any of {len(rows)} comparisons"
        return f"No clear difference between the runs on {noun}."
    return f"The runs differ clearly on {len(clear)} of {len(rows)} comparisons."


def _provenance_rows(runs: Sequence[ReportContent]) -> list[dict[str, Any]]:
    tables = [dict(provenance(run.manifest)) for run in runs]
    keys = list(dict.fromkeys(key for table in tables for key in table))
    rows = [{"name": key, "values": [table.get(key, "–") for table in tables]} for key in keys]
    return [{**row, "differs": len(set(row["values"])) > 1} for row in rows]


def paired_markdown(paired: pd.DataFrame) -> str:
    """The paired table as Markdown."""
    lines = [
        "| metric | run | baseline | n | difference | 95% interval | p | p (Holm) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in paired.to_dict("records"):
        cells = [
            label(str(row["metric"])),
            str(row["run"]),
            str(row["baseline"]),
            str(row["n"]),
            number(finite(row["difference"])),
            interval(finite_interval(row["ci95"])),
            _p_value(row["p_permutation"]),
            _p_value(row["p_holm"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write_comparison(path: Path, runs: list[ReportContent], paired: pd.DataFrame, remarks: Sequence[str] = ()) -> Path:
    """Write one self-contained HTML page that sets runs side by side.

    Parameters
    ----------
    runs : two or more, with distinct titles; the first is the baseline where ``paired`` names none.
    paired : one row a comparison, columns `PAIRED_COLUMNS`: ``difference`` is run minus baseline in the metric's unit,
        ``ci95`` a pair. Optional text columns ``run`` and ``baseline`` (titles), required for more than two runs.
    remarks : sentences shown above everything else.

    Raises
    ------
    DataError
        If there are fewer than two runs, titles repeat, no metric or item is shared, or a column is missing.
    """
    titles = [run.title for run in runs]
    if len(runs) < 2 or len(set(titles)) != len(titles):
        raise DataError(f"Comparison: expected two or more runs with distinct titles, found {titles}")
    metrics = [name for name in runs[0].metric_names if all(name in run.metric_names for run in runs)]
    if not metrics:
        raise DataError("Comparison: the runs share no metric; evaluate them with the same metrics")
    directions = {name: runs[0].scores["metrics"][name]["direction"] for name in metrics}
    material, dropped = _material(runs, metrics)
    notes = [*remarks, *_notes(runs)]
    for key in MUST_AGREE:
        if len({str(run.manifest.get(key)) for run in runs}) > 1:
            notes.insert(0, f"The runs differ in {label(key)}: they were not scored on the same footing.")
    if dropped:
        notes.insert(
            0,
            f"{len(material.items)} items are in every run, {dropped} are not: differences and gallery show these, "
            "each run's own scores all of its items.",
        )
    score_rows, forests = [], []
    for name in metrics:
        entries = [run.scores["metrics"][name] for run in runs]
        cells = [Cell(number(finite(e["value"])), finite(e["value"]), interval(e.get("ci95"))) for e in entries]
        chance = finite(entries[0].get("chance"))
        score_rows.append(
            {"name": label(name), "direction": directions[name], "cells": cells, "chance": Cell(number(chance), chance)}
        )
        rows = [
            Row(title, finite(e["value"]), finite_interval(e.get("ci95")), f"run{i % 6}")
            for i, (title, e) in enumerate(zip(titles, entries))
        ]
        svg = forest(label(name), rows, chance, finite(entries[0].get("ceiling")))
        forests.append({"title": label(name), "direction": directions[name], "svg": svg})
    differences = _difference_rows(paired, runs, directions)
    context = {
        "title": " vs ".join(titles),
        "titles": titles,
        "headline": _headline(differences, len(runs)),
        "n_items": len(material.items),
        "banners": tuple(dict.fromkeys(notes)),
        "differences": differences,
        "score_rows": score_rows,
        "forests": forests,
        "provenance": _provenance_rows(runs),
        "source": DECODED,
    }
    payload = render("compare.html.j2", material, context)
    with atomic_write(path) as file:
        file.write(payload)
    return path


def _notes(contents: Sequence[ReportContent]) -> tuple[str, ...]:
    """Banners of several runs, each preceded by its run's title."""
    return tuple(
        f"{content.title}: {sentence}"
        for content in contents
        for sentence in banners(content.scores, content.manifest, content.warnings)
    )
