"""Writing what an evaluation found: numbers in every form, and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from braindec.artifacts import RunFolder, atomic_write, write_json, write_table
from braindec.evaluation.pages import report_content
from braindec.report.page import write_report
from braindec.report.tables import to_latex, to_markdown, write_csv
from braindec.types import Evidence

PROVENANCE = (
    "name",
    "dataset",
    "data_version",
    "subjects",
    "split_hash",
    "weights_hash",
    "seed",
    "git_revision",
    "selected_on",
    "repetitions_averaged",
    "libraries",
    "chain",
    "flags",
    "reconstruction_flags",
)
"""Fields of the manifest that ``scores.json`` repeats, so that a score never travels without them."""


def write_results(run: RunFolder, scores: Mapping[str, Any], items: pd.DataFrame) -> None:
    """Write the numbers in every form."""
    write_table(run.path / "scores_items.csv", items)
    write_csv(run.path / "scores.csv", scores)
    for name, text in (("scores.md", to_markdown(scores)), ("scores.tex", to_latex(scores))):
        with atomic_write(run.path / name) as file:
            file.write(text.encode())
    write_json(run.path / "scores.json", scores)


def write_pages(
    run: RunFolder,
    scores: Mapping[str, Any],
    items: pd.DataFrame,
    decoded: Sequence[Evidence],
    manifest: Mapping[str, Any],
    links: Mapping[str, str] | None = None,
) -> None:
    """Write the report; ``links`` as in `braindec.evaluation.pages.report_content`."""
    content = report_content(run, scores, items, decoded, manifest, links)
    write_report(run.path / "report.html", content)
