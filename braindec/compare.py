"""``braindec compare``: set evaluated runs side by side on the stimuli that they share.

    braindec compare runs=[outputs/first,outputs/second]
    braindec compare runs=[outputs/first,outputs/second,outputs/third] out=comparison.html

The first run is the baseline. Writes one HTML page, and beside it the paired table as CSV.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from braindec.artifacts import RunFolder, write_table
from braindec.compose import build, checked, load_config
from braindec.types import DataError

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig

    from braindec.report.content import ReportContent
    from braindec.types import Stimuli

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Comparison:
    """The schema of ``configs/compare.yaml``.

    Attributes
    ----------
    runs : evaluated run folders, two or more; the first is the baseline.
    out : the page to write.
    n_resamples, seed : of the paired bootstrap and permutation test.
    """

    runs: list[str]
    out: str
    n_resamples: int
    seed: int


def compare(config: DictConfig) -> tuple[Path, pd.DataFrame]:
    """Compare as the configuration says; returns the page and the paired table."""
    from braindec.evaluation.paired import distinct_titles, gallery_notes, paired_table
    from braindec.evaluation.stored import require_evaluated
    from braindec.report.compare import write_comparison

    checked(config, Comparison)
    runs = [RunFolder.open(Path(folder)) for folder in config.runs]
    for run in runs:
        require_evaluated(run)
    titles = distinct_titles([str(run.manifest()["name"]) for run in runs], [run.path for run in runs])
    contents = read_contents(runs, titles)
    paired = paired_table(contents, config.n_resamples, config.seed)
    page = write_comparison(Path(config.out), contents, paired, gallery_notes(contents))
    flat = paired.assign(ci95_low=[low for low, _ in paired["ci95"]], ci95_high=[high for _, high in paired["ci95"]])
    write_table(page.with_suffix(".csv"), flat.drop(columns="ci95"))
    return page, paired


def read_contents(runs: list[RunFolder], titles: list[str]) -> list[ReportContent]:
    """The content of each run; a data set that several runs share is opened once."""
    from omegaconf import OmegaConf

    from braindec.evaluation.stored import stored_content

    opened: dict[str, Stimuli | None] = {}
    contents = []
    for run, title in zip(runs, titles, strict=True):
        dataset = load_config(run.path / "config.yaml").dataset
        key = OmegaConf.to_yaml(dataset)
        if key not in opened:
            try:
                opened[key] = build(dataset).stimuli()
            except DataError as error:
                log.warning("%s: its stimuli cannot be shown: %s", run.path, error)
                opened[key] = None
        contents.append(stored_content(run, title, opened[key]))
    return contents


def run(config: DictConfig) -> None:
    """What ``braindec compare`` does."""
    from braindec.report.compare import paired_markdown

    page, paired = compare(config)
    print(paired_markdown(paired))
    print(f"page: {page}")
