"""``braindec leaderboard``: evaluated runs on one sortable page, beside the figures that published systems print.

braindec leaderboard
braindec leaderboard folder=outputs out=leaderboard.html
braindec leaderboard runs=[outputs/first,outputs/second] published=false
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from braindec.artifacts import RunFolder, read_json
from braindec.compose import checked
from braindec.types import DataError

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Leaderboard:
    """The schema of ``configs/leaderboard.yaml``.

    Attributes
    ----------
    runs : evaluated run folders; none means every one beneath
    folder : where they are looked for.
    published : whether published figures are shown.
    out : the page to write.
    """

    runs: list[str]
    folder: str
    published: bool
    out: str


def leaderboard(config: DictConfig) -> Path:
    """Write the page; returns its path."""
    from braindec.evaluation.paired import distinct_titles
    from braindec.evaluation.stored import require_evaluated
    from braindec.report.leaderboard import Entry, published_boards, write_leaderboard

    checked(config, Leaderboard)
    runs = [RunFolder.open(Path(run)) for run in config.runs] or found_runs(Path(config.folder))
    for run in runs:
        require_evaluated(run)
    manifests = [run.manifest() for run in runs]
    titles = distinct_titles([str(manifest["name"]) for manifest in manifests], [run.path for run in runs], least=0)
    out = Path(config.out)
    entries = [
        Entry(title, _link(run.path / "report.html", out.parent), manifest, read_json(run.path / "scores.json"))
        for title, run, manifest in zip(titles, runs, manifests, strict=True)
    ]
    return write_leaderboard(out, entries, published_boards() if config.published else [])


def found_runs(folder: Path) -> list[RunFolder]:
    """Every evaluated run beneath a folder; folders with scores but no manifest are named and left out.

    Raises
    ------
    DataError
        If the folder does not exist.
    """
    if not folder.is_dir():
        raise DataError(f"folder={folder}: no such folder; say runs=[DIR,DIR], or folder=DIR")
    runs = []
    for scores in sorted(folder.rglob("scores.json")):
        run = RunFolder(scores.parent)
        if run.manifest_path.exists():
            runs.append(run)
        else:
            log.warning("%s: has scores but no manifest; left out", scores.parent)
    return runs


def _link(page: Path, base: Path) -> str:
    return os.path.relpath(page, base) if page.exists() else ""


def run(config: DictConfig) -> None:
    """What ``braindec leaderboard`` does."""
    print(f"page: {leaderboard(config)}")
