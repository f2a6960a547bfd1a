"""``braindec evaluate``: open the test stimuli, score a run beside its controls, write the report.

    braindec evaluate run=outputs/my_run
    braindec evaluate run=outputs/my_run metric=[pixcorr,two_way]
    braindec evaluate folder=their_pictures truth=nsd metric=[mindeye_pixels,mindeye_features]

A folder of any system's pictures or captions, named by stimulus id (see `braindec.datasets.image_folder`), is scored
against ``truth``: another such folder, the data set of a run folder, or a data set by its config name.

Writes ``scores.json`` (documented in docs/scores.md), ``scores.csv``, ``scores_items.csv``, ``scores.md``,
``scores.tex`` and ``report.html`` into the run folder; of a folder, into ``out``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from braindec.artifacts import RunFolder, read_json, write_table
from braindec.compose import build, checked, compose, load_config, parts_of, run_config
from braindec.console import progress
from braindec.contracts import Dataset, Metric
from braindec.experiment import ControlName
from braindec.locations import configs_folder
from braindec.types import DataError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from braindec.evaluation.evidence import FittedMaterial
    from braindec.types import Fold, Stimuli, Trials

log = logging.getLogger(__name__)

N_RESAMPLES = 10_000
SEED = 0
"""Of a folder's intervals and permutations; a run brings its own."""


@dataclass(frozen=True)
class Evaluation:
    """The schema of ``configs/evaluate.yaml``.

    Attributes
    ----------
    run : the run folder; or None and
    folder : pictures and captions of any system, named by stimulus id.
    truth : what was shown: a folder, a run folder, or the name of a data set.
    subject : who was decoded in a folder; results are compared by subject and stimulus. None means ``unnamed``.
    out : where the results of a folder go; None means ``outputs/evaluation_<folder's name>``.
    metrics, controls, n_resamples : replace those of the run's own configuration; empty or None keeps them.
    """

    run: str | None
    folder: str | None
    truth: str | None
    subject: str | None
    out: str | None
    metrics: dict[str, Metric]
    controls: list[ControlName] | None
    n_resamples: int | None


def evaluate(config: DictConfig) -> RunFolder:
    """Evaluate as the configuration says; returns the run folder."""
    import pandas as pd

    from braindec.evaluation.ceiling import response_ceilings, run_ceilings
    from braindec.evaluation.curve import repetition_curve
    from braindec.evaluation.evidence import build_evidence, test_ids
    from braindec.evaluation.results import PROVENANCE, write_pages, write_results
    from braindec.evaluation.scoring import score, score_controls
    from braindec.metrics.summary import summarise
    from braindec.questions import with_questions

    checked(config, Evaluation)
    if (config.run is None) == (config.folder is None):
        raise DataError("evaluate: give either run=DIR, or folder=DIR with truth=DIR or a data set's name")
    if config.folder is not None:
        return evaluate_folder(config)
    run = RunFolder.open(Path(config.run))
    original = run_config(run)
    manifest = run.manifest()
    metrics = build(config.metrics or original.metrics)
    controls = list(original.controls if config.controls is None else config.controls)
    dataset = build(original.dataset)
    stimuli = with_questions(dataset.stimuli(), original.get("questions"))
    recorded = check_run(run, original, dataset, stimuli)
    ids = {subject: test_ids(run, subject) for subject in manifest["subjects"]}
    # Subjects that saw the same stimuli share one gallery: what a metric computes of it is computed once.
    shared = {chosen: stimuli.select(chosen) for chosen in set(ids.values())}
    galleries = {subject: shared[chosen] for subject, chosen in ids.items()}
    folds = [load_evaluation_fold(run, original, name, stimuli) for name in run.folds()]
    decoded = [(fold, evidence) for fold in folds for evidence in build_evidence(run, "decoded", fold, galleries)]
    scored = score(metrics, [evidence for _, evidence in decoded])
    scored_controls = score_controls(run, controls, metrics, decoded, galleries, original.seed, progress)
    scores, items = summarise(
        scored,
        scored_controls,
        n_resamples=config.n_resamples or original.n_resamples,
        seed=original.seed,
        ceilings=run_ceilings(run, metrics, decoded, galleries),
        flags=[*manifest["flags"], *manifest.get("reconstruction_flags", [])],
    )
    tables = pd.concat([evidence.table for _, evidence in decoded])
    averaged = {str(subject): float(n) for subject, n in tables.groupby("subject")["n_repetitions"].mean().items()}
    scores["repetition_curve"] = repetition_curve(
        run, metrics, folds, galleries, config.n_resamples or original.n_resamples, original.seed
    )
    scores["response_ceilings"] = response_ceilings(*recorded, averaged)
    scores["run"] = {key: manifest.get(key) for key in PROVENANCE}
    write_results(run, scores, items)
    write_pages(run, scores, items, [evidence for _, evidence in decoded], manifest)
    return run


def evaluate_folder(config: DictConfig) -> RunFolder:
    """Score a folder of pictures and captions; returns the folder of results, laid out as a run."""
    from omegaconf import OmegaConf

    from braindec.artifacts import git_revision, library_versions, text_hash
    from braindec.evaluation.folder import folder_evidence
    from braindec.evaluation.results import PROVENANCE, write_pages, write_results
    from braindec.evaluation.scoring import score, score_shuffled
    from braindec.metrics.summary import summarise

    folder = Path(config.folder)
    if config.truth is None:
        raise DataError(f"folder={folder}: say what was shown: truth=DIR, a run folder, or a data set's name")
    if not config.metrics:
        raise DataError(f"folder={folder}: say by what it is scored: metric=[NAME,...]")
    subject = config.subject or "unnamed"
    truth = truth_config(str(config.truth))
    dataset = build(truth)
    found = folder_evidence(folder, dataset.stimuli(), subject, restrict=dataset.name != "image_folder")
    for problem in found.problems:
        log.warning("%s", problem)
    metrics = build(config.metrics)
    scored_controls = {} if found.alone else {"shuffled_brain": score_shuffled(metrics, found.evidences, SEED)}
    scores, items = summarise(
        score(metrics, found.evidences),
        scored_controls,
        n_resamples=config.n_resamples or N_RESAMPLES,
        seed=SEED,
        flags=found.problems,
    )
    out = Path(config.out or f"outputs/evaluation_{folder.stem}")
    text = OmegaConf.to_yaml(OmegaConf.create({"name": folder.stem, "dataset": truth, "metrics": config.metrics}))
    manifest = {
        "name": folder.stem,
        "dataset": dataset.name,
        "data_version": dataset.version(),
        "subjects": [subject],
        "folds": [],
        "seed": SEED,
        "git_revision": git_revision(),
        "libraries": library_versions(),
        "flags": list(found.problems),
        "folder": str(folder.resolve()),
    }
    key = text_hash(f"{text}|{folder.resolve()}|{subject}")
    run = RunFolder.create(out, text, manifest, key)
    run.update_manifest(**manifest)
    write_table(run.reconstructions("decoded") / "table.csv", found.table(run.reconstructions("decoded")))
    scores["run"] = {name: manifest.get(name) for name in PROVENANCE}
    write_results(run, scores, items)
    write_pages(run, scores, items, found.evidences, manifest, found.links(run.path))
    return run


def truth_config(truth: str) -> DictConfig:
    """The configuration of the data set that ``truth`` names: a run's, a folder's, or one of ``configs/dataset``."""
    from omegaconf import OmegaConf

    path = Path(truth)
    if (path / "config.yaml").exists():
        return load_config(path / "config.yaml").dataset
    if path.exists():
        root = str(path.resolve())
        return OmegaConf.create({"_target_": "braindec.datasets.image_folder.ImageFolder", "root": root})
    known = sorted(file.stem for file in (configs_folder() / "dataset").glob("*.yaml"))
    if truth not in known:
        raise DataError(f"truth={truth}: neither a folder nor a data set; data sets are {', '.join(known)}")
    return compose("train", [f"dataset={truth}"]).dataset


def check_run(
    run: RunFolder, original: DictConfig, dataset: Dataset, stimuli: Stimuli
) -> tuple[dict[str, Trials], dict[str, tuple[Fold, ...]]]:
    """The leak check once more, now with what every statistic saw when it was fitted.

    Returns
    -------
    Trials and folds by subject, as they were checked.

    Raises
    ------
    DataError
        When the data or its partition changed since training, or something leaks that nobody allowed.
    """
    from braindec.datasets.prepared import read_hashes
    from braindec.signals.leak import check_folds, raise_on_leaks, unit_of
    from braindec.signals.split import split_hash
    from braindec.training.folds import read_fits

    manifest = run.manifest()
    if dataset.version() != manifest["data_version"]:
        raise DataError(
            f"{run.path}: trained on version {manifest['data_version']} of {dataset.name}, found {dataset.version()}; "
            "train again, or put the data back"
        )
    split = build(original.split)
    trials = {subject: dataset.trials(subject) for subject in manifest["subjects"]}
    folds = {subject: split(own.table) for subject, own in trials.items()}
    for subject, own in folds.items():
        if split_hash(own, trials[subject].table) != manifest["split_hash"][subject]:
            raise DataError(f"{run.path}: subject {subject!r} is split differently now than in training; train again")
    fits = [fit for name in run.folds() for fit in read_fits(run, name)]
    unit = original.leak_unit or unit_of(dataset)
    hashes = read_hashes(dataset, manifest["data_version"], manifest["subjects"])
    raise_on_leaks(check_folds(folds, trials, stimuli, unit, fits, hashes=hashes), original.allow_leak)
    return trials, folds


def load_evaluation_fold(run: RunFolder, original: DictConfig, name: str, stimuli: Stimuli) -> FittedMaterial:
    """One fold's fitted targets and training stimuli."""
    from braindec.evaluation.evidence import FittedMaterial
    from braindec.training.folds import load_targets, training_ids
    from braindec.training.predict import embed_training

    targets = load_targets(run, name, parts_of(original).targets())
    training = stimuli.view(training_ids(run, name))
    cache_dir = None if original.cache_dir is None else Path(original.cache_dir)
    embeddings = embed_training(targets, training, cache_dir, progress)
    return FittedMaterial(name, targets, training, embeddings, cache_dir)


def run(config: DictConfig) -> None:
    """What ``braindec evaluate`` does."""
    from braindec.report.tables import to_markdown

    folder = evaluate(config)
    scores = read_json(folder.path / "scores.json")
    print(to_markdown(scores))
    print(f"report: {folder.path / 'report.html'}")
