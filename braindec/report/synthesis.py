"""What single regions decode to, as one self-contained page: pictures, captions, and which concepts they resemble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from braindec.artifacts import atomic_write, read_table
from braindec.report.pictures import LADDER, encode, fit_budget
from braindec.report.rendering import PAGE_BYTES, render
from braindec.report.words import label

MAX_CONCEPTS = 24
"""Columns of a table of resemblances; where there are more concepts, those that stand out most in any pattern."""
_TEXT = ("pattern", "subject", "fold", "item_id", "image", "caption", "label")


def write_synthesis(
    path: Path,
    title: str,
    positions: Mapping[str, float],
    table: pd.DataFrame,
    images: Mapping[str, Sequence[np.ndarray]],
    concepts: pd.DataFrame | None,
) -> Path:
    """Write the page.

    Parameters
    ----------
    positions : pattern -> active positions, mean over subjects.
    table : one row a picture or caption (`braindec.synthesise`), in the order of ``images``; may be empty.
    images : pattern -> its pictures.
    concepts : columns ``pattern``, ``subject``, ``fold``, ``target``, ``concept``, ``similarity``, ``rank``, or None.
    """
    every = [image for row in images.values() for image in row]
    side, quality = LADDER[fit_budget(every, PAGE_BYTES)]
    cards = []
    for name, n in positions.items():
        rows = table[table["pattern"] == name] if len(table) else table
        shown = [encode(image, side, quality) for image in images.get(name, ())]
        items = [
            {
                "picture": shown[i] if shown else None,
                "title": f"{row.subject}, {str(row.item_id).rpartition('_')[2].replace('-', ' ')}",
                "caption": row.caption,
                "label": row.label,
            }
            for i, row in enumerate(rows.itertuples())
        ]
        if name in images or any(item["caption"] or item["label"] for item in items):
            cards.append({"name": name, "n": n, "items": items, "change": _mean_change(rows)})
    context = {
        "title": title,
        "cards": cards,
        "n_patterns": len(positions),
        "tables": [] if concepts is None else resemblance_tables(concepts),
        "subjects": [] if not len(table) else list(dict.fromkeys(table["subject"])),
    }
    with atomic_write(path) as file:
        file.write(render("synthesis.html.j2", None, context))
    return path


def _mean_change(rows: pd.DataFrame) -> str:
    if "change_eccentricity" not in rows or not rows["change_eccentricity"].notna().any():
        return ""
    return f"{rows['change_eccentricity'].mean():.2f}"


def resemblance_tables(concepts: pd.DataFrame) -> list[dict[str, Any]]:
    """One table a target: patterns x concepts, mean over subjects and folds, shaded by value."""
    tables = []
    for target, rows in concepts.groupby("target", sort=False):
        means = rows.groupby(["pattern", "concept"], sort=False)["similarity"].mean().unstack()
        means = means.loc[list(dict.fromkeys(rows["pattern"]))]
        strongest = means.abs().max().sort_values(ascending=False).index[:MAX_CONCEPTS]
        means = means[[name for name in means.columns if name in set(strongest)]]
        reach = float(means.abs().to_numpy().max()) or 1.0
        body = [
            {"name": pattern, "cells": [_cell(float(value), reach, best) for value, best in zip(row, row == row.max())]}
            for pattern, row in means.iterrows()
        ]
        tables.append({"title": label(str(target)), "concepts": [str(name) for name in means.columns], "rows": body})
    return tables


def _cell(value: float, reach: float, best: bool) -> dict[str, Any]:
    share = round(100 * min(abs(value) / reach, 1) * 0.75)
    return {"text": f"{round(value, 2) + 0.0:.2f}", "share": share, "hue": "own" if value > 0 else "warn", "best": best}


def summary(folder: Path) -> pd.DataFrame:
    """What ``braindec synthesise`` prints: a row a pattern, with the nearest concepts by target and where it changes.

    Parameters
    ----------
    folder : the run's ``synthesis``.
    """
    rows: dict[str, dict[str, Any]] = {}
    if (folder / "concepts.csv").exists():
        table = read_table(folder / "concepts.csv", (*_TEXT, "target", "concept"))
        means = table.groupby(["pattern", "target", "concept"], sort=False)["similarity"].mean().reset_index()
        for (pattern, target), own in means.groupby(["pattern", "target"], sort=False):
            best = own.nlargest(3, "similarity")
            named = ", ".join(f"{c} {v:.2f}" for c, v in zip(best["concept"], best["similarity"]))
            rows.setdefault(str(pattern), {})[str(target)] = named
    if (folder / "table.csv").exists():
        table = read_table(folder / "table.csv", _TEXT)
        for column in ("change", "change_eccentricity"):
            table[column] = pd.to_numeric(table[column], errors="coerce")
        for pattern, own in table[table["change"].notna()].groupby("pattern", sort=False):
            place = rows.setdefault(str(pattern), {})
            place |= {"change": own["change"].mean(), "eccentricity": own["change_eccentricity"].mean()}
    return pd.DataFrame([{"pattern": pattern, **row} for pattern, row in rows.items()])
