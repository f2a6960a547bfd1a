"""Batches of several subjects: which trials, in which order, and how their numbers reach the device.

Legend: N trials of a subject, B trials of a batch, U training stimuli, S space, T time, K tokens, D dimensions.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from braindec.training.target_scaling import TargetScaling
from braindec.types import DataError, TargetEmbeddings, Trials

PREFETCHED_BATCHES = 3


@dataclass(frozen=True)
class Batch:
    """Trials of all subjects, in the order of ``signals``: signals (N, S, T), targets (B, K, D), stimulus numbers."""

    signals: dict[str, torch.Tensor]
    targets: dict[str, torch.Tensor]
    stimulus_B: torch.Tensor


class Rows:
    """Rows of an array as tensors on a device: from the device's memory, or from (mapped) host memory."""

    def __init__(self, values: np.ndarray, device: torch.device, resident: bool) -> None:
        self.device = device
        self.host = values
        self.kept = torch.from_numpy(np.array(values)).to(device) if resident and device.type != "cpu" else None

    def take(self, rows: np.ndarray) -> torch.Tensor:
        """Rows as float tensors on the device."""
        if self.kept is not None:
            return self.kept[torch.from_numpy(rows).to(self.device, non_blocking=True)]
        # Reading a memory map in file order touches each page once.
        order = np.argsort(rows, kind="stable")
        values = np.empty((len(rows), *self.host.shape[1:]), dtype=self.host.dtype)
        values[order] = self.host[rows[order]]
        tensor = torch.from_numpy(values)
        if self.device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)


class MultiSubjectData:
    """Trials of several subjects beside the targets of their stimuli.

    Parameters
    ----------
    trials : subject -> its trials.
    targets : target name -> embeddings of at least these trials' stimuli.
    scalings : target name -> how its embeddings are scaled.
    device : where batches go.
    resident : whether to keep everything in the device's memory.

    Raises
    ------
    DataError
        If a stimulus has no embedding.
    """

    def __init__(
        self,
        trials: Mapping[str, Trials],
        targets: Mapping[str, TargetEmbeddings],
        scalings: Mapping[str, TargetScaling],
        device: torch.device,
        resident: bool,
    ) -> None:
        self.device = device
        self.resident = resident
        self.scalings = {
            name: (torch.from_numpy(s.mean).to(device), torch.from_numpy(s.scale).to(device))
            for name, s in scalings.items()
            if not s.is_identity
        }
        self.signals = {subject: Rows(t.signal, device, resident) for subject, t in trials.items()}
        shown = {subject: t.table["stimulus_id"].astype(str).to_numpy() for subject, t in trials.items()}
        ids = list(dict.fromkeys(i for group in shown.values() for i in group))
        number = {stimulus_id: row for row, stimulus_id in enumerate(ids)}
        self.stimulus_N = {subject: np.array([number[i] for i in group]) for subject, group in shown.items()}
        self.n_stimuli = len(ids)
        self.target_row_U: dict[str, np.ndarray] = {}
        self.targets: dict[str, Rows] = {}
        for name, target in targets.items():
            index = {stimulus_id: row for row, stimulus_id in enumerate(target.ids)}
            unknown = [i for i in ids if i not in index]
            if unknown:
                raise DataError(f"target {name!r}: no embedding for {len(unknown)} stimuli, e.g. {unknown[:3]}")
            rows = np.array([index[i] for i in ids], dtype=np.int64)
            self.target_row_U[name] = rows
            self.targets[name] = Rows(target.values, device, resident)

    def batch(self, rows: Mapping[str, np.ndarray]) -> Batch:
        """The trials at these rows of each subject."""
        signals = {subject: self.signals[subject].take(chosen) for subject, chosen in rows.items()}
        stimuli = np.concatenate([self.stimulus_N[subject][chosen] for subject, chosen in rows.items()])
        targets = {name: self.target(name, stimuli) for name in self.targets}
        return Batch(signals, targets, torch.from_numpy(stimuli).to(self.device, non_blocking=True))

    def target(self, name: str, stimuli: np.ndarray) -> torch.Tensor:
        """Scaled embeddings (B, K, D) of stimuli by their numbers."""
        values = self.targets[name].take(self.target_row_U[name][stimuli]).float()
        if name not in self.scalings:
            return values
        mean, scale = self.scalings[name]
        return (values - mean) / scale


def data_bytes(trials: Mapping[str, Trials], targets: Mapping[str, TargetEmbeddings]) -> int:
    """Bytes of all signals and target embeddings."""
    return sum(t.signal.nbytes for t in trials.values()) + sum(t.values.nbytes for t in targets.values())


def epoch_rows(
    stimulus_N: Mapping[str, np.ndarray], per_subject: int, one_per_stimulus: bool, seed: int, epoch: int
) -> list[dict[str, np.ndarray]]:
    """Rows of each subject in each batch of an epoch, a function of seed and epoch only.

    Every subject is in every batch. The subject with most trials is passed once (a rest smaller than a batch is left
    out); the others start over, in a new order, until it is done.

    Raises
    ------
    DataError
        If a subject has fewer trials (or stimuli) than its share of a batch.
    """
    passes: dict[str, list[np.ndarray]] = {}
    draws = {subject: np.random.default_rng([seed, epoch, position]) for position, subject in enumerate(stimulus_N)}
    for subject, stimuli in stimulus_N.items():
        passes[subject] = [_one_pass(stimuli, one_per_stimulus, draws[subject])]
        if len(passes[subject][0]) < per_subject:
            what = "training stimuli" if one_per_stimulus else "training trials"
            raise DataError(
                f"engine.batch_size: subject {subject!r} has {len(passes[subject][0])} {what}, fewer than its "
                f"{per_subject} of a batch; choose a smaller batch_size"
            )
    n_batches = max(len(first[0]) // per_subject for first in passes.values())
    joined = {}
    for subject, stimuli in stimulus_N.items():
        while sum(map(len, passes[subject])) < n_batches * per_subject:
            passes[subject].append(_one_pass(stimuli, one_per_stimulus, draws[subject]))
        joined[subject] = np.concatenate(passes[subject])
    return [
        {subject: rows[i * per_subject : (i + 1) * per_subject] for subject, rows in joined.items()}
        for i in range(n_batches)
    ]


def _one_pass(stimulus_N: np.ndarray, one_per_stimulus: bool, draw: np.random.Generator) -> np.ndarray:
    order = draw.permutation(len(stimulus_N))
    if not one_per_stimulus:
        return order
    _, first = np.unique(stimulus_N[order], return_index=True)
    return draw.permutation(order[first])


def prefetched(batches: Iterator[Batch]) -> Generator[Batch, None, None]:
    """The same batches, made ahead by a thread; an exception of the thread is raised here."""
    waiting: queue.Queue[Batch | BaseException | None] = queue.Queue(PREFETCHED_BATCHES)
    stop = threading.Event()

    def put(item: Batch | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                waiting.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for batch in batches:
                if not put(batch):
                    return
            put(None)
        except BaseException as error:  # handed to the consumer, which raises it
            put(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
