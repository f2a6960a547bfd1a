"""``braindec prepare``: verify a data set's files, build its memory-mapped cache, embed its stimuli.

    braindec prepare dataset=nsd cache_dir=/fast/nsd target=[clip_vision,vdvae]
    torchrun --nproc-per-node 8 --no-python braindec prepare dataset=nsd cache_dir=/fast/nsd target=[clip_vision]
    braindec train dataset=nsd +dataset.cache_dir=/fast/nsd cache_dir=/fast/nsd ...

With ``target=`` the embeddings of all stimuli by frozen networks are computed too, by as many processes as are started
with the same command (torchrun, srun, or by hand on several machines); the first one also verifies the data.
Files that have published checksums beside them are compared with these. Then every subject's files are read as training
would read them: the reader compares files, shapes and declared counts with each other, and values and ids are checked
here. A build that was interrupted continues; a second run, with the files unchanged, answers at once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from braindec.artifacts import write_json
from braindec.compose import build, checked, chosen_subjects
from braindec.console import progress
from braindec.contracts import Dataset, Target, no_progress
from braindec.datasets.prepared import write_hashes
from braindec.experiment import Experiment
from braindec.types import DataError, Stimuli, TargetEmbeddings, Trials

if TYPE_CHECKING:
    from omegaconf import DictConfig

RECORD = "prepared.json"


@dataclass(frozen=True)
class Preparation:
    """The schema of ``configs/prepare.yaml``.

    Attributes
    ----------
    dataset : the data set.
    subject : a subject's name, several, or ``all``.
    cache_dir : where the cache and the record of what was verified are kept; None only verifies.
    n_jobs : subjects that are read at a time, each in a process of its own.
    again : verify again although a record says that the same files were verified.
    checksums : compare files with the checksums that were published with them (lists beside them, git-annex keys).
    targets : embeddings of frozen networks to compute for every stimulus; they need ``cache_dir``.
    """

    dataset: Dataset
    subject: str | list[str]
    cache_dir: str | None
    n_jobs: int
    again: bool
    checksums: bool
    targets: Mapping[str, Target]


def prepare(config: DictConfig) -> dict[str, dict[str, Any]]:
    """Verify and cache as the configuration says; per subject what was found (see `verify`).

    Raises
    ------
    DataError
        At the first subject whose files are missing, damaged or inconsistent.
    """
    from omegaconf import OmegaConf

    config = without_training(config)
    checked(config, Preparation)
    plain: dict[str, Any] = OmegaConf.to_container(config.dataset, resolve=True)  # type: ignore[assignment]
    dataset = build(config.dataset)
    subjects = chosen_subjects(config.subject, dataset.subjects())
    identity = {"dataset": dataset.name, "version": dataset.version()}
    record = None if config.cache_dir is None else Path(config.cache_dir) / RECORD
    known = {} if config.again or record is None else _read_record(record, identity)
    missing = [subject for subject in subjects if subject not in known]
    n_sums = _checksums(dataset) if missing and config.checksums else 0
    for subject, found in _each(plain, missing, config.cache_dir, config.n_jobs):
        known[subject] = {**found, "checksums": n_sums}
        if record is not None:
            record.parent.mkdir(parents=True, exist_ok=True)
            write_json(record, {**identity, "subjects": known})
    return {subject: known[subject] for subject in subjects}


def without_training(config: DictConfig) -> DictConfig:
    """The configuration without settings of training, which a data set's own file may make (its split, its averaging).

    What neither training nor preparing knows is kept, for the check to name.
    """
    from omegaconf import OmegaConf

    own, training = ({field.name for field in fields(schema)} for schema in (Preparation, Experiment))
    return OmegaConf.masked_copy(config, [str(key) for key in config if key in own or key not in training])


def _checksums(dataset: Dataset) -> int:
    """How many of the data set's files agree with published checksums; 0 where none are published."""
    from braindec.datasets.checksums import verify

    root = getattr(dataset, "root", None)
    return 0 if root is None else verify(Path(root).resolve(), progress)


def _read_record(path: Path, identity: Mapping[str, str]) -> dict[str, Any]:
    """What an earlier run found of the same files, or nothing."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content["subjects"] if {key: content.get(key) for key in identity} == identity else {}


def _each(
    plain: dict[str, Any], subjects: list[str], cache_dir: str | None, n_jobs: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    if n_jobs < 1:
        raise DataError(f"prepare: expected n_jobs of at least 1, found {n_jobs}")
    if n_jobs == 1 or len(subjects) < 2:
        for subject in subjects:
            yield subject, prepare_subject(plain, subject, cache_dir, show_progress=True)
        return
    with ProcessPoolExecutor(min(n_jobs, len(subjects))) as pool:
        jobs = [(subject, pool.submit(prepare_subject, plain, subject, cache_dir)) for subject in subjects]
        for subject, job in progress(jobs, "subjects"):
            yield subject, job.result()


def prepare_subject(
    dataset_config: dict[str, Any], subject: str, cache_dir: str | None, show_progress: bool = False
) -> dict[str, Any]:
    """Build one subject's cache where the data set offers one, then verify what training would see."""
    started = time.perf_counter()
    dataset = build(dataset_config)
    cached = cache_dir is not None and callable(getattr(dataset, "prepare", None))
    if cached:
        dataset.prepare(subject, cache_dir, progress if show_progress else no_progress)
        dataset = build({**dataset_config, "cache_dir": cache_dir})
    trials, stimuli = dataset.trials(subject), dataset.stimuli()
    found = verify(trials, stimuli)
    if cached:
        write_hashes(Path(str(cache_dir)), dataset.version(), trials, stimuli)
    return {**found, "cached": cached, "seconds": round(time.perf_counter() - started, 1)}


def verify(trials: Trials, stimuli: Stimuli) -> dict[str, Any]:
    """Shape, unit and counts of a subject's trials, JSON-able.

    Raises
    ------
    DataError
        If a value is not finite, a trial shows an unknown stimulus, or a showing of a stimulus is listed twice.
    """
    from braindec.signals.check import check_finite

    check_finite(trials)
    used = trials.table[trials.table["split"] != "unused"]
    stimuli.rows(sorted(set(used["stimulus_id"].astype(str))))
    twice = used.duplicated(["stimulus_id", "repetition"])
    if twice.any():
        row = used[twice].iloc[0]
        raise DataError(
            f"subject {trials.subject!r}: {int(twice.sum())} trials share stimulus and repetition with another, first "
            f"{row['stimulus_id']!r}, repetition {row['repetition']}; is a file doubled?"
        )
    return {
        "shape": list(trials.signal.shape),
        "unit": trials.unit,
        "trials": {str(split): int(count) for split, count in trials.table["split"].value_counts().items()},
        "stimuli": int(used["stimulus_id"].nunique()),
        "sessions": int(used["session"].nunique()),
    }


def embed(config: DictConfig) -> dict[str, TargetEmbeddings]:
    """The embeddings of every stimulus by the configured targets, in the cache that training reads.

    Raises
    ------
    DataError
        If there is no ``cache_dir``, or a target is fitted on training trials and cannot be known before.
    """
    from braindec.targets.cache import load_or_compute

    config = without_training(config)
    checked(config, Preparation)
    targets = build(config.targets)
    if not targets:
        return {}
    if config.cache_dir is None:
        raise DataError("prepare: embeddings of targets are kept in cache_dir; set it to a folder")
    fitted = [name for name, target in targets.items() if _is_fitted(target)]
    if fitted:
        raise DataError(
            f"prepare: the targets {', '.join(fitted)} are fitted on training stimuli, so that training itself must "
            "embed; leave them out here"
        )
    stimuli = build(config.dataset).stimuli()
    return {
        name: load_or_compute(target, stimuli, Path(config.cache_dir), name, progress)
        for name, target in targets.items()
    }


def _is_fitted(target: Target) -> bool:
    """Whether a target has a state of its own; one that was not fitted yet may refuse to say."""
    try:
        return bool(target.state())
    except DataError:
        return True


def describe(found: Mapping[str, Any]) -> str:
    """One line on what `prepare` found of a subject."""
    size_gb = 4 * found["shape"][0] * found["shape"][1] * found["shape"][2] / 1e9
    counts = ", ".join(f"{count} {split}" for split, count in found["trials"].items())
    kept = "memory-mapped cache built" if found["cached"] else "verified, no cache"
    return (
        f"{' x '.join(map(str, found['shape']))} in {found['unit']} ({size_gb:.2f} GB), trials: {counts}; "
        f"{found['stimuli']} stimuli, {found['sessions']} sessions; {kept} in {found['seconds']} s; "
        f"{found['checksums'] or 'no'} files had published checksums{' and agree' if found['checksums'] else ''}"
    )


def run(config: DictConfig) -> None:
    """What ``braindec prepare`` does."""
    from braindec.targets.filling import process_rank

    found = prepare(config) if process_rank() == 0 else {}
    override = "dataset.cache_dir" if "cache_dir" in config.dataset else "+dataset.cache_dir"
    for subject, entry in found.items():
        print(f"{subject}: {describe(entry)}")
    if any(entry["cached"] for entry in found.values()):
        print(f"to train from the cache: braindec train ... {override}={config.cache_dir}")
    for name, embeddings in embed(config).items():
        shape, size_gb = " x ".join(map(str, embeddings.values.shape)), embeddings.values.nbytes / 1e9
        print(
            f"target {name}: {shape} {embeddings.values.dtype} ({size_gb:.2f} GB); to train with it: "
            f"cache_dir={config.cache_dir}"
        )
