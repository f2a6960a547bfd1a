"""Fit one fold on its training and validation trials, save it, and only then predict its test trials."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from braindec.artifacts import (
    RunFolder,
    read_json,
    read_state,
    read_table,
    safe_name,
    write_array,
    write_json,
    write_state,
    write_table,
)
from braindec.contracts import Decoder, FitContext, Progress, Target, TrainingData, Transform
from braindec.run_tables import CURVE, HALVES
from braindec.signals.average import average_halves, average_repetitions, pseudo_trials
from braindec.signals.leak import FitRecord
from braindec.targets.cache import load_or_compute
from braindec.training.partition import ROW, Partition
from braindec.training.processes import Processes
from braindec.types import PREDICTION_COLUMNS, DataError, Predictions, Stimuli, TargetEmbeddings, Trials

log = logging.getLogger(__name__)

Transforms = Mapping[str, Transform]


@dataclass(frozen=True)
class Parts:
    """Makers of fresh, unfitted parts, so that nothing fitted in one fold reaches another."""

    transforms: Callable[[], Transforms]
    targets: Callable[[], Mapping[str, Target]]
    decoder: Callable[[], Decoder]


@dataclass(frozen=True)
class FitOptions:
    """How a fold is fitted; see `braindec.experiment.Experiment` for the fields."""

    average_train: bool
    test_repetitions: int | Literal["all", "single"]
    test_pseudo_trials: bool
    noise_ceiling: bool
    repetition_curve: Sequence[int]
    seed: int
    device: str
    cache_dir: Path | None
    progress: Progress
    processes: Processes = Processes()  # noqa: RUF009 - frozen


@dataclass(frozen=True)
class FittedFold:
    """One fold's fitted parts, read back from a run folder."""

    transforms: Mapping[str, Transforms]
    targets: Mapping[str, Target]
    decoder: Decoder


def fit_fold(
    run: RunFolder, name: str, partitions: Sequence[Partition], stimuli: Stimuli, parts: Parts, options: FitOptions
) -> dict[str, Any]:
    """Fit transforms, targets and decoder of one fold and save them; returns the fit report.

    A fold whose ``fit.json`` exists is finished and is not fitted again. Of several processes each fits, and the main
    one writes.
    """
    folder, processes = run.decoder(name), options.processes
    train, validation = {}, {}
    fits: list[FitRecord] = []
    for partition in partitions:
        transforms = parts.transforms()
        train[partition.subject], validation[partition.subject], seen_by = _fit_transforms(
            name, transforms, partition, folder if processes.is_main else None, options.average_train
        )
        fits += seen_by
    targets = parts.targets()
    training_ids = _distinct(partition.stimulus_ids("train") for partition in partitions)
    seen_ids = _distinct([training_ids, *(partition.stimulus_ids("validation") for partition in partitions)])
    folder_of_states = folder if processes.is_main else None
    embeddings = _fit_targets(targets, stimuli.view(seen_ids), training_ids, folder_of_states, options)

    decoder = parts.decoder()
    context = FitContext(options.seed, options.device, folder / "checkpoint", options.progress)
    report = dict(decoder.fit(TrainingData(train, validation, embeddings), context))
    if not processes.is_main:
        processes.wait()
        return read_json(folder / "fit.json")
    weights_hash = write_state(folder / "decoder", decoder.state())
    report |= {
        "weights_hash": weights_hash,
        # The decoder was given nothing else, so nothing else can have selected it.
        "selected_on": "training and validation trials" if any(map(len, validation.values())) else "training trials",
        "n_train_trials": {subject: len(trials) for subject, trials in train.items()},
        "n_train_stimuli": len(training_ids),
        "targets": {target: dict(own.source) for target, own in embeddings.items()},
    }
    for subject, trials in train.items():
        fits += [FitRecord(f"target {t}", subject, name, stimulus_ids=training_ids) for t in targets]
        fits.append(FitRecord("decoder", subject, name, stimulus_ids=tuple(trials.table["stimulus_id"])))
    write_json(folder / "fits.json", [_fit_entry(fit) for fit in fits])
    write_json(folder / "fit.json", report)
    processes.wait()
    return report


def _distinct(groups: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item for group in groups for item in group))


def _fit_transforms(
    fold: str, transforms: Transforms, partition: Partition, folder: Path | None, average: bool
) -> tuple[Trials, Trials, list[FitRecord]]:
    """Transformed training and validation trials, and what each transform's statistics saw.

    States are written into ``folder``, or nowhere with None.
    """
    train, validation = partition.train(), partition.validation()
    fits = []
    for name, transform in transforms.items():
        transform.fit(train)
        rows = train.table[ROW].to_numpy(dtype=np.int64)
        fits.append(FitRecord(f"transform {name}", partition.subject, fold, rows=rows))
        if folder is not None:
            write_state(folder / "transforms" / safe_name(partition.subject) / name, transform.state())
        train = transform.apply(train)
        validation = transform.apply(validation) if len(validation) else validation
    if average:
        train = average_repetitions(train)
        validation = average_repetitions(validation) if len(validation) else validation
    return train, validation, fits


def _fit_entry(fit: FitRecord) -> dict[str, Any]:
    return {
        "statistic": fit.statistic,
        "subject": fit.subject,
        "fold": fit.fold,
        "rows": None if fit.rows is None else fit.rows.tolist(),
        "stimulus_ids": None if fit.stimulus_ids is None else list(fit.stimulus_ids),
    }


def read_fits(run: RunFolder, fold: str) -> list[FitRecord]:
    """What each statistic of a fold saw when it was fitted."""
    return [
        FitRecord(
            entry["statistic"],
            entry["subject"],
            entry["fold"],
            None if entry["rows"] is None else np.array(entry["rows"], dtype=np.int64),
            None if entry["stimulus_ids"] is None else tuple(entry["stimulus_ids"]),
        )
        for entry in read_json(run.decoder(fold) / "fits.json")
    ]


def _fit_targets(
    targets: Mapping[str, Target],
    seen: Stimuli,
    training_ids: Sequence[str],
    folder: Path | None,
    options: FitOptions,
) -> dict[str, TargetEmbeddings]:
    embeddings = {}
    training = seen.view(training_ids)
    for name, target in targets.items():
        target.fit(training)
        if folder is not None:
            write_state(folder / "targets" / name, target.state())
        embeddings[name] = load_or_compute(target, seen, options.cache_dir, name, options.progress)
    return embeddings


def load_fold(run: RunFolder, name: str, subjects: Sequence[str], parts: Parts) -> FittedFold:
    """Read one fold's fitted parts back."""
    folder = run.decoder(name)
    fitted: dict[str, Transforms] = {}
    for subject in subjects:
        fitted[subject] = parts.transforms()
        for key, transform in fitted[subject].items():
            transform.load_state(read_state(folder / "transforms" / safe_name(subject) / key))
    targets = load_targets(run, name, parts.targets())
    decoder = parts.decoder()
    decoder.load_state(read_state(folder / "decoder"))
    return FittedFold(fitted, targets, decoder)


def load_targets(run: RunFolder, fold: str, targets: Mapping[str, Target]) -> Mapping[str, Target]:
    """Give fresh targets the state that was fitted on the fold's training stimuli."""
    for name, target in targets.items():
        target.load_state(read_state(run.decoder(fold) / "targets" / name))
    return targets


def training_ids(run: RunFolder, fold: str) -> tuple[str, ...]:
    """Distinct stimulus ids of a fold's training trials over all subjects, read back from the run folder."""
    found: dict[str, None] = {}
    for path in sorted((run.path / "folds" / safe_name(fold)).glob("*.csv")):
        table = read_table(path, ("stimulus_id", "part"))
        found.update(dict.fromkeys(table.loc[table["part"] == "train", "stimulus_id"]))
    if not found:
        raise DataError(f"{run.path}: folds/{safe_name(fold)} lists no training trial; run braindec train again")
    return tuple(found)


def open_test_trials(
    run: RunFolder,
    partition: Partition,
    transforms: Transforms,
    repetitions: int | Literal["all", "single"],
    in_groups: bool = False,
) -> Trials:
    """Unseal a partition's test trials, transform them with training statistics, and average as asked.

    With ``in_groups`` every so many repetitions make a test item, rather than the first ones alone.
    """
    trials = partition.open_test(run.decoder(partition.fold.name) / "decoder" / "state.json")
    for transform in transforms.values():
        trials = transform.apply(trials)
    if repetitions == "single":
        return trials
    if in_groups and repetitions != "all":
        return pseudo_trials(trials, int(repetitions))
    return average_repetitions(trials, None if repetitions == "all" else int(repetitions))


def repeated_test_trials(
    run: RunFolder, partition: Partition, transforms: Transforms, options: FitOptions
) -> dict[str, Trials]:
    """Further averages of the test trials by source: halves for noise ceilings, first repetitions for a curve.

    Empty where no test stimulus was shown twice, or where the data set holds averages already.
    """
    single = open_test_trials(run, partition, transforms, "single")
    counts = single.table["stimulus_id"].value_counts()
    averaged = "n_repetitions" in single.table and (single.table["n_repetitions"] > 1).any()
    if averaged or counts.max() < 2:
        return {}
    made: dict[str, Trials] = {}
    if options.noise_ceiling:
        asked = options.test_repetitions
        limit = None if asked == "all" else 2 if asked == "single" else max(2, int(asked))
        made.update(zip(HALVES, average_halves(single, limit), strict=True))
    for n in options.repetition_curve:
        if n <= counts.max():
            made[f"{CURVE}{n:03d}"] = average_repetitions(single, n)
    return made


def training_trials(partition: Partition, transforms: Transforms, average: bool) -> Trials:
    """A partition's training trials as the decoder saw them: transformed by fitted transforms, averaged as asked."""
    trials = partition.train()
    for transform in transforms.values():
        trials = transform.apply(trials)
    return average_repetitions(trials) if average else trials


def prediction_table(trials: Trials, fold: str, tested_again: bool) -> pd.DataFrame:
    """Rows of a `Predictions` table.

    Ids are subject and stimulus; the repetition follows where single trials are predicted, and the fold where other
    folds test the same stimulus (``tested_again``).
    """
    table = trials.table
    stimulus_ids = table["stimulus_id"].astype(str)
    item_ids = trials.subject + "_" + stimulus_ids
    if stimulus_ids.duplicated().any():
        item_ids = item_ids + "_rep-" + table["repetition"].astype(int).map("{:02d}".format)
    if tested_again:
        item_ids = item_ids + "_" + fold
    rows = pd.DataFrame(
        {
            "item_id": item_ids.map(safe_name),
            "subject": trials.subject,
            "fold": fold,
            "stimulus_id": stimulus_ids,
            "n_repetitions": table["n_repetitions"].astype(int) if "n_repetitions" in table else 1,
        }
    )
    if rows["item_id"].duplicated().any():
        twice = rows.loc[rows["item_id"].duplicated(), "item_id"].iloc[0]
        raise DataError(
            f"trial table of subject {trials.subject!r}, column repetition: {twice!r} occurs twice; trials of one "
            "stimulus must have different repetition numbers"
        )
    return rows


def save_predictions(folder: Path, predictions: Predictions) -> None:
    """Write a fold's predictions; ``table.csv`` comes last and marks them whole."""
    for name, values in predictions.embeddings.items():
        write_array(folder / f"{safe_name(name)}.npy", np.asarray(values, dtype=np.float32))
    write_table(folder / "table.csv", predictions.table[list(PREDICTION_COLUMNS)])
