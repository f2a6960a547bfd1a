"""``braindec evaluate``: open the test stimuli, score a run beside its controls, write the report.

    braindec evaluate run=outputs/my_run
    braindec evaluate run=outputs/my_run metric=[pixcorr,two_way]

Writes ``scores.json`` (documented in docs/scores.md), ``scores.csv``, ``scores_items.csv``, ``scores.md``,
``scores.tex`` and ``report.html`` into the run folder.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from braindec.artifacts import RunFolder, atomic_write, read_json, write_json, write_table
from braindec.compose import build, checked, load_config, parts_of
from braindec.console import progress
from braindec.contracts import Metric
from braindec.experiment import ControlName

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from omegaconf import DictConfig

    from braindec.evaluation.evidence import Fold
    from braindec.types import Evidence, Stimuli

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """The schema of ``configs/evaluate.yaml``.

    Attributes
    ----------
    run : the run folder.
    metrics, controls, n_resamples : replace those of the run's own configuration; empty or None keeps them.
    """

    run: str
    metrics: dict[str, Metric]
    controls: list[ControlName] | None
    n_resamples: int | None


def evaluate(config: DictConfig) -> RunFolder:
    """Evaluate as the configuration says; returns the run folder."""
    from braindec.evaluation.evidence import build_evidence, test_ids
    from braindec.evaluation.scoring import score, score_controls
    from braindec.metrics.summary import summarise

    checked(config, Evaluation)
    run = RunFolder.open(Path(config.run))
    original = load_config(run.path / "config.yaml")
    manifest = run.manifest()
    metrics = build(config.metrics or original.metrics)
    controls = list(original.controls if config.controls is None else config.controls)
    stimuli = build(original.dataset).stimuli()
    galleries = {subject: stimuli.select(test_ids(run, subject)) for subject in manifest["subjects"]}
    folds = [load_evaluation_fold(run, original, name, stimuli) for name in run.folds()]
    decoded = [(fold, evidence) for fold in folds for evidence in build_evidence(run, "decoded", fold, galleries)]
    scored = score(metrics, [evidence for _, evidence in decoded])
    scored_controls = score_controls(run, controls, metrics, decoded, galleries, original.seed, progress)
    scores, items = summarise(
        scored,
        scored_controls,
        n_resamples=config.n_resamples or original.n_resamples,
        seed=original.seed,
        flags=[*manifest["flags"], *manifest.get("reconstruction_flags", [])],
    )
    scores["run"] = {key: manifest.get(key) for key in PROVENANCE}
    write_results(run, scores, items)
    write_pages(run, scores, items, [evidence for _, evidence in decoded], manifest)
    return run


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


def load_evaluation_fold(run: RunFolder, original: DictConfig, name: str, stimuli: Stimuli) -> Fold:
    """One fold's fitted targets and training stimuli."""
    from braindec.evaluation.evidence import Fold
    from braindec.training.folds import load_targets, training_ids
    from braindec.training.predict import embed_training

    targets = load_targets(run, name, parts_of(original).targets())
    training = stimuli.select(training_ids(run, name))
    cache_dir = None if original.cache_dir is None else Path(original.cache_dir)
    return Fold(name, targets, training, embed_training(targets, training, cache_dir))


def write_results(run: RunFolder, scores: Mapping[str, Any], items: pd.DataFrame) -> None:
    """Write the numbers in every form."""
    from braindec.report.tables import to_latex, to_markdown, write_csv

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
) -> None:
    """Write the report."""
    from braindec.evaluation.pages import report_content
    from braindec.report.page import write_report

    content = report_content(run, scores, items, decoded, manifest)
    write_report(run.path / "report.html", content)


def run(config: DictConfig) -> None:
    """What ``braindec evaluate`` does."""
    from braindec.report.tables import to_markdown

    folder = evaluate(config)
    scores = read_json(folder.path / "scores.json")
    print(to_markdown(scores))
    print(f"report: {folder.path / 'report.html'}")
