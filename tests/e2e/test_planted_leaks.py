"""Every kind of leak of the evaluation protocol, planted in the simulated world, stops a run; clean worlds do not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from braindec import evaluate, train
from braindec.compose import build, compose
from braindec.datasets.simulated.dataset import Simulated
from braindec.signals.leak import FitRecord, LeakError, check_folds
from braindec.signals.split import published
from braindec.types import DataError, Fold, Trials

WORLD = {"n_train": 24, "n_test": 10, "n_voxels": 80, "repetitions_train": 2, "repetitions_test": 2, "image_size": 32}
SMALL = [f"dataset.{key}={value}" for key, value in WORLD.items()] + ["target=[words]", "stage=[]", "device=cpu"]


def world(**knobs) -> tuple[dict[str, Trials], dict[str, tuple[Fold, ...]], Simulated]:
    """Trials, published folds and data set of a small simulated world."""
    data = Simulated(**{**WORLD, **knobs})
    trials = {subject: data.trials(subject) for subject in data.subjects()}
    return trials, {subject: published(own.table) for subject, own in trials.items()}, data


def kinds(**knobs) -> set[str]:
    unit = knobs.pop("unit", "stimulus")
    trials, folds, data = world(**knobs)
    return {leak.kind for leak in check_folds(folds, trials, data.stimuli(), unit)}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("knobs", [{}, {"shared_train": False}, {"concept_disjoint": True, "unit": "concept"}])
def test_clean_worlds_raise_no_alarm(seed: int, knobs: dict) -> None:
    assert kinds(seed=seed, **knobs) == set()


@pytest.mark.parametrize(
    ("leak", "found", "knobs"),
    [
        ("stimulus", "unit_overlap", {}),
        ("duplicate_image", "identical_content", {}),
        ("duplicate_trial", "identical_trials", {}),
        ("concept", "unit_overlap", {"concept_disjoint": True, "unit": "concept"}),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_each_planted_fault_is_caught_and_named(leak: str, found: str, knobs: dict, seed: int) -> None:
    assert found in kinds(leak=leak, seed=seed, **knobs)


@pytest.mark.parametrize("leak", ["stimulus", "duplicate_image", "duplicate_trial"])
def test_a_planted_fault_stops_training_before_anything_is_fitted(leak: str, tmp_path: Path) -> None:
    overrides = [*SMALL, f"dataset.leak={leak}", f"run_dir={tmp_path / 'run'}"]
    with pytest.raises(LeakError):
        train.train(compose("train", overrides))
    assert not (tmp_path / "run").exists()


def test_an_allowed_leak_reaches_every_table_of_the_result(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    more = ["dataset.leak=stimulus", "allow_leak=planted on purpose", "metric=[retrieval_words]", "n_resamples=50"]
    train.train(compose("train", [*SMALL, *more, "controls=[shuffled_brain]", f"run_dir={folder}"]))
    evaluate.evaluate(compose("evaluate", [f"run={folder}"]))
    scores = json.loads((folder / "scores.json").read_text())
    for entry in scores["metrics"].values():
        assert "allow_leak: planted on purpose" in entry["flags"]
    assert "allow_leak: planted on purpose" in (folder / "scores.csv").read_text()
    assert "planted on purpose" in (folder / "report.html").read_text()


def test_repetitions_of_a_stimulus_on_both_sides() -> None:
    """The split unit is the stimulus, never the trial."""
    trials, _, data = world()
    halves = {
        subject: (Fold("by trial", np.arange(0, len(own), 2), np.arange(0), np.arange(1, len(own), 2)),)
        for subject, own in trials.items()
    }
    leaks = check_folds(halves, trials, data.stimuli())
    assert {leak.subject for leak in leaks if leak.kind == "unit_overlap"} == set(trials)


def test_a_sentence_on_both_sides() -> None:
    trials, folds, _ = world(n_subjects=1)
    (subject,) = trials
    own = trials[subject]
    sentences = own.table["stimulus_id"].astype(str).to_numpy(dtype=object).copy()
    table = own.table.assign(sentence=sentences)
    assert check_folds(folds, {subject: replace(own, table=table)}, unit="sentence") == []
    fold = folds[subject][0]
    # Another picture of the test part now goes with a sentence that is trained.
    sentences[sentences == sentences[fold.test[0]]] = sentences[fold.train[0]]
    spoiled = replace(own, table=own.table.assign(sentence=sentences))
    leaks = check_folds(folds, {subject: spoiled}, unit="sentence")
    overlaps = [leak for leak in leaks if leak.kind == "unit_overlap"]
    assert {offender for leak in overlaps for offender in leak.offenders} == {sentences[fold.train[0]]}


@pytest.mark.parametrize("statistic", ["z-score", "noise ceiling mask", "decoder"])
def test_a_statistic_fitted_on_test_trials(statistic: str) -> None:
    trials, folds, _ = world(n_subjects=1)
    (subject,) = trials
    fold = folds[subject][0]
    clean = FitRecord(statistic, subject, fold.name, rows=fold.train)
    assert check_folds(folds, trials, fits=[clean]) == []
    spoiled = FitRecord(statistic, subject, fold.name, rows=np.append(fold.train, fold.test[:3]))
    (leak,) = check_folds(folds, trials, fits=[spoiled])
    assert leak.kind == "statistics_outside_training"
    assert len(leak.offenders) == 3


def test_a_target_fitted_on_test_stimuli_stops_the_evaluation(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train.train(compose("train", [*SMALL, "metric=[retrieval_words]", "controls=[]", f"run_dir={folder}"]))
    path = next(folder.glob("decoder/*/fits.json"))
    fits = json.loads(path.read_text())
    tested = build(compose("train", SMALL).dataset).selection.test[0]
    next(fit for fit in fits if fit["statistic"].startswith("target"))["stimulus_ids"].append(tested)
    path.write_text(json.dumps(fits))
    with pytest.raises(LeakError, match=tested):
        evaluate.evaluate(compose("evaluate", [f"run={folder}"]))


def test_another_subjects_training_stimuli_in_a_joint_decoder() -> None:
    trials, folds, data = world(shared_train=True)
    first, second = trials
    own = folds[second][0]
    swapped = Fold(own.name, own.test, np.arange(0), own.train)
    leaks = check_folds({**folds, second: (swapped,)}, trials, data.stimuli())
    assert {leak.kind for leak in leaks} == {"unit_overlap"}
    assert {leak.subject for leak in leaks} == {first, second}


def test_data_that_changed_after_training_stop_the_evaluation(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train.train(compose("train", [*SMALL, "metric=[retrieval_words]", "controls=[]", f"run_dir={folder}"]))
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("n_test: 10", "n_test: 9"))
    with pytest.raises(DataError, match="trained on version"):
        evaluate.evaluate(compose("evaluate", [f"run={folder}"]))
