"""``braindec imagery``: find what was imagined or recalled among candidates, with a permutation p-value.

    braindec imagery run=outputs/first
    braindec imagery run=outputs/nsd dataset=nsd_imagery

The run's decoders, fitted on seen stimuli only, predict embeddings of imagery trials; each prediction is compared with
the embeddings of the candidates. Trials come from the run's own data set where its trial table has a column ``task``,
or from another data set of the same subjects and positions. Writes ``imagery.csv`` and ``imagery.json`` into the run
folder.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from braindec.artifacts import RunFolder, write_json, write_table
from braindec.compose import build, checked, parts_of, resolve_device, run_config
from braindec.console import progress
from braindec.contracts import Dataset
from braindec.evaluate import check_run
from braindec.metrics.similarity import Similarity
from braindec.types import DataError, Stimuli, Trials

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig

    from braindec.training.folds import FittedFold

log = logging.getLogger(__name__)

TASK = "task"
"""Column of a trial table that names what the person did."""
EVERYONE = "all"


@dataclass(frozen=True)
class Imagery:
    """The schema of ``configs/imagery.yaml``.

    Attributes
    ----------
    run : the run folder.
    dataset : where the trials are; None: the run's own data set.
    task : which trials, by the table's column ``task``; every trial of a data set without that column, if it is not
        the run's own.
    targets : predicted embeddings that are compared; None takes all.
    candidates : stimulus ids among which the imagined one is sought; None: those that were imagined.
    similarity : ``correlation`` or ``cosine`` over tokens and dimensions.
    n_permutations, seed : of the test.
    device : where networks run.
    """

    run: str
    dataset: Dataset | None
    task: str
    targets: list[str] | None
    candidates: list[str] | None
    similarity: Similarity
    n_permutations: int
    seed: int
    device: str


@dataclass(frozen=True)
class Imagined:
    """Similarity (N, G) of a subject's predictions to the candidates, and the candidate each one was of (N,)."""

    similarity_NG: np.ndarray
    truth_N: np.ndarray


def imagery(config: DictConfig) -> pd.DataFrame:
    """One row a target and subject, and one for ``all``: ``two_way, p_value, null_95, top1, chance_top1, n_stimuli,
    n_candidates``.

    Raises
    ------
    DataError
        If ``n_permutations`` is not positive, no trial is of the task, a subject or stimulus is unknown, positions
        differ from the run's, or a candidate was trained on.
    """
    import pandas as pd

    checked(config, Imagery)
    if config.n_permutations < 1:
        raise DataError(f"imagery: expected n_permutations >= 1, found {config.n_permutations}; 999 is usual")
    run = RunFolder.open(Path(config.run))
    original = run_config(run)
    own = build(original.dataset)
    check_run(run, original, own, own.stimuli())
    dataset = own if config.dataset is None else build(config.dataset)
    stimuli = dataset.stimuli()
    trials = {subject: task_trials(dataset, subject, config.task, own) for subject in run.manifest()["subjects"]}
    candidates = candidate_ids(trials, stimuli, config.candidates)
    found = _compare(run, original, config, trials, stimuli.select(candidates))
    rows = [row for target, by_subject in found.items() for row in _rows(target, by_subject, config)]
    table = pd.DataFrame(rows)
    write_table(run.path / "imagery.csv", table)
    about = {"task": config.task, "dataset": dataset.name, "similarity": config.similarity, "seed": config.seed}
    about |= {"n_permutations": config.n_permutations, "candidates": list(candidates), "rows": rows}
    write_json(run.path / "imagery.json", about)
    return table


def task_trials(dataset: Dataset, subject: str, task: str, own: Dataset) -> Trials:
    """A subject's trials of one task. Raises `DataError` when there is none."""
    trials = dataset.trials(subject)
    if TASK not in trials.table:
        if dataset is own:
            raise DataError(
                f"imagery: the trial table of {dataset.name} has no column {TASK!r}; give the data set of the imagery "
                "trials with dataset=NAME"
            )
        return trials
    rows = (trials.table[TASK] == task).to_numpy()
    if not rows.any():
        raise DataError(
            f"imagery: subject {subject!r} of {dataset.name} has no trial of task {task!r}; its tasks are "
            f"{sorted(set(trials.table[TASK]))}"
        )
    return trials.select(rows)


def candidate_ids(trials: dict[str, Trials], stimuli: Stimuli, asked: list[str] | None) -> tuple[str, ...]:
    """Sorted ids of the candidates. Raises `DataError` when an imagined stimulus is none of them, or one is unknown."""
    imagined = {str(i) for own in trials.values() for i in own.table["stimulus_id"]}
    chosen = set(asked) if asked else imagined
    missing = sorted(imagined - chosen)
    if missing:
        raise DataError(f"imagery: {len(missing)} imagined stimuli are not among the candidates, e.g. {missing[:3]}")
    stimuli.rows(sorted(chosen))
    return tuple(sorted(chosen))


def _compare(
    run: RunFolder, original: DictConfig, config: DictConfig, trials: dict[str, Trials], candidates: Stimuli
) -> dict[str, dict[str, Imagined]]:
    """Target -> subject -> similarities, their means over folds."""
    from braindec.signals.average import average_repetitions
    from braindec.training.folds import load_fold, training_ids

    summed: dict[str, dict[str, np.ndarray]] = {}
    truth: dict[str, np.ndarray] = {}
    place = {stimulus_id: row for row, stimulus_id in enumerate(candidates.ids)}
    for name in progress(run.folds(), "folds"):
        trained = sorted(set(training_ids(run, name)) & set(candidates.ids))
        if trained:
            raise DataError(
                f"imagery: fold {name!r} was trained on {len(trained)} of the candidates, e.g. {trained[:3]}; "
                "candidates must be new to the decoder"
            )
        fitted = load_fold(run, name, list(trials), parts_of(original))
        for subject, own in trials.items():
            signal = own
            for transform in fitted.transforms[subject].values():
                signal = transform.apply(signal)
            averaged = average_repetitions(signal)
            truth[subject] = np.array([place[str(i)] for i in averaged.table["stimulus_id"]])
            for target, similarity_NG in _similarities(fitted, averaged, candidates, config).items():
                by_subject = summed.setdefault(target, {})
                by_subject[subject] = by_subject.get(subject, 0) + similarity_NG
    n_folds = len(run.folds())
    return {
        target: {subject: Imagined(total / n_folds, truth[subject]) for subject, total in by_subject.items()}
        for target, by_subject in summed.items()
    }


def _similarities(fitted: FittedFold, trials: Trials, candidates: Stimuli, config: DictConfig) -> dict[str, np.ndarray]:
    from braindec.metrics.similarity import flattened, similarity_matrix

    predicted = fitted.decoder.predict(trials, resolve_device(config.device))
    unknown = sorted(set(config.targets or ()) - set(predicted))
    if unknown:
        raise DataError(f"targets: {unknown} are not decoded by this run; it decodes {sorted(predicted)}")
    found = {}
    for target in config.targets or predicted:
        true_GF = flattened(fitted.targets[target].embed(candidates), f"candidates as {target}")
        found[target] = similarity_matrix(true_GF, flattened(predicted[target], target), config.similarity).T
    return found


def _rows(target: str, by_subject: dict[str, Imagined], config: DictConfig) -> list[dict[str, Any]]:
    from braindec.metrics.permutation import identification_test
    from braindec.metrics.ranking import compete, top_k

    rows = []
    everyone = {EVERYONE: list(by_subject.values())} if len(by_subject) > 1 else {}
    for subject, group in {**{name: [one] for name, one in by_subject.items()}, **everyone}.items():
        test = identification_test(
            [one.similarity_NG for one in group], [one.truth_N for one in group], config.n_permutations, config.seed
        )
        top1 = [float(top_k(compete(one.similarity_NG, one.truth_N), 1).mean()) for one in group]
        n_candidates = group[0].similarity_NG.shape[1]
        rows.append(
            {
                "target": target,
                "subject": subject,
                "two_way": test.value,
                **{key: value for key, value in asdict(test).items() if key != "value"},
                "top1": float(np.mean(top1)),
                "chance_top1": 1 / n_candidates,
                "n_stimuli": len({int(i) for one in group for i in one.truth_N}),
                "n_candidates": n_candidates,
            }
        )
    return rows


def run(config: DictConfig) -> None:
    """What ``braindec imagery`` does."""
    table = imagery(config)
    print(table.to_string(index=False, float_format=lambda value: f"{value:.4f}"))
    log.info("table: %s", Path(config.run) / "imagery.csv")
