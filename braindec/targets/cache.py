"""Target embeddings computed once and kept on disk, found again by content, by any number of processes at a time.

    CACHE/targets/TARGET/STIMULI/      one `braindec.targets.entry.Entry`

TARGET hashes everything that the values depend on but the stimuli: the target's class, arguments and fitted state, for
a frozen network its weights and preprocessing. STIMULI hashes the stimuli's ids and content. A stimulus that another
entry of the same target holds already is copied from there, so that what was prepared for a whole data set serves any
part of it. Nothing larger than a few chunks is ever in memory.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from braindec.artifacts import write_json
from braindec.contracts import Progress, Target, no_progress
from braindec.targets.checks import check_not_collapsed
from braindec.targets.entry import CHUNK_BYTES, Entry, Layout
from braindec.targets.filling import Donor, Job, batches, work
from braindec.targets.identity import description_hash, digests_hash, stimulus_digests, target_description
from braindec.types import DataError, Stimuli, TargetEmbeddings

log = logging.getLogger(__name__)

_KEY_LENGTH = 32
_WAIT_S = 0.2


def load_or_compute(
    target: Target,
    stimuli: Stimuli,
    cache_dir: Path | None,
    name: str,
    progress: Progress = no_progress,
    chunk_bytes: int = CHUNK_BYTES,
) -> TargetEmbeddings:
    """The target embeddings of all given stimuli, from the cache where it has them.

    Processes that call this with the same arguments at the same time, on one machine or several that share the folder,
    divide the chunks among themselves and all return when the whole is there. A process that was killed is replaced by
    calling this again.

    Parameters
    ----------
    target : a fitted target. It may have ``stored``, the dtype that its values are kept in (``float32``), and
        ``embed_batches(stimuli, rows)``, which yields the values of each of several arrays of rows in turn; ``embed``
        is called on a chunk at a time otherwise.
    stimuli : what to embed.
    cache_dir : folder of the cache, made when missing; None computes in memory and keeps nothing.
    name : name of the result (the key of the target in the configuration); not part of the cache's key.
    chunk_bytes : about how much is written at a time.

    Returns
    -------
    TargetEmbeddings
        Values float32 or float16 (n, K, D), memory-mapped read-only when there is a cache; ``source`` holds the
        target's class, arguments, hash of its fitted state (or its fingerprint, with the hash of the network's
        weights), and the key.

    Raises
    ------
    DataError
        If there are no stimuli, the target gives a wrong shape or dtype, NaN or infinities, all stimuli get the same
        embedding, the target holds something that cannot be described, or memory or disk are too small.
    """
    if not len(stimuli):
        raise DataError(f"target {name}: no stimuli to embed")
    source = target_description(target, f"target {name}")
    stored = np.dtype(getattr(target, "stored", "float32"))
    if cache_dir is None:
        values = _in_memory(target, stimuli, name, stored, progress)
        check_not_collapsed(target, values, name)
        return TargetEmbeddings(name, stimuli.ids, values, source)
    digests = stimulus_digests(stimuli)
    target_key = description_hash({"target": source, "stored": stored.name})[:_KEY_LENGTH]
    key = digests_hash(digests)[:_KEY_LENGTH]
    source = {**source, "key": f"{target_key}/{key}"}
    family = cache_dir / "targets" / target_key
    entry = Entry(family / key)
    job = Job(target, stimuli, digests, name, stored, progress, chunk_bytes)
    if not (entry.folder / "complete.json").exists():
        job.donors = _donors(family, digests)
        part = _part_of_another(job.donors)
        if part is not None:
            return TargetEmbeddings(name, stimuli.ids, part, source)
    return TargetEmbeddings(name, stimuli.ids, _filled(entry, job), source)


def _in_memory(target: Target, stimuli: Stimuli, name: str, stored: np.dtype[Any], progress: Progress) -> np.ndarray:
    rows = np.arange(len(stimuli))
    batch = getattr(target, "batch_size", None) or len(rows)
    whole: np.ndarray | None = None
    parts = [rows[start : start + batch] for start in range(0, len(rows), batch)]
    for part, values in zip(parts, batches(target, stimuli, progress(parts, f"target {name}"), name, stored)):
        if whole is None:
            _check_memory(len(rows) * values[0].nbytes, name)
            whole = np.empty((len(rows), *values.shape[1:]), stored)
        whole[part] = values
    assert whole is not None
    return whole


def _check_memory(n_bytes: int, name: str) -> None:
    available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if n_bytes > available:
        raise DataError(
            f"target {name}: its embeddings need {n_bytes / 1e9:.1f} GB, this machine has {available / 1e9:.1f} GB of "
            "memory; set cache_dir to a folder, where they are kept on disk"
        )


def _donors(family: Path, digests: np.ndarray) -> list[Donor]:
    """Whole entries of the same target that hold some of the stimuli, verified."""
    donors = []
    for complete in sorted(family.glob("*/complete.json")):
        entry = Entry(complete.parent)
        if not entry.exists():
            continue
        index = {own.tobytes(): row for row, own in enumerate(entry.digests())}
        rows = np.array([index.get(own.tobytes(), -1) for own in digests], dtype=np.int64)
        if (rows >= 0).any():
            entry.verify()
            damaged = np.isin(rows // entry.layout.rows_per_chunk, entry.missing())
            donors.append(Donor(entry, np.where(damaged, -1, rows)))
    return donors


def _part_of_another(donors: list[Donor]) -> np.ndarray | None:
    """The stimuli's rows of a donor, if they lie there one after the other."""
    for donor in donors:
        if donor.rows[0] >= 0 and (np.diff(donor.rows) == 1).all():
            return donor.entry.values()[donor.rows[0] : donor.rows[-1] + 1]
    return None


def _filled(entry: Entry, job: Job) -> np.ndarray:
    """The entry's values once every chunk is whole."""
    with entry.lock():
        if not entry.exists():
            entry.create(_layout(job), job.digests)
    entry.verify()
    waited = False
    while missing := entry.missing():
        if not work(entry, job):
            if not waited:
                log.info(
                    "target %s: other processes are at the last %d chunks; waiting for them", job.name, len(missing)
                )
            waited = True
            time.sleep(_WAIT_S)
    values = entry.values()
    complete = entry.folder / "complete.json"
    if not complete.exists():
        cosine = check_not_collapsed(job.target, values, job.name, entry.folder)
        write_json(complete, {"median_cosine": cosine})
    return values


def _layout(job: Job) -> Layout:
    if job.donors:
        _, n_tokens, n_dims = job.donors[0].entry.layout.shape
    else:
        (values,) = batches(job.target, job.stimuli, [np.arange(1)], job.name, job.stored)
        _, n_tokens, n_dims = values.shape
    shape = (len(job.stimuli), n_tokens, n_dims)
    return Layout.of(shape, job.stored, getattr(job.target, "batch_size", None), job.chunk_bytes)
