"""Batches of several subjects: which trials, in which order, and how their numbers reach the device.

Legend: N trials of a subject, B trials of a batch, U training stimuli, S space, T time, K tokens, D dimensions.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from braindec.training.streaming import RowReader, uploaded
from braindec.training.target_scaling import TargetScaling
from braindec.types import DataError, TargetEmbeddings, Trials


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
        self.reader = RowReader(values)
        self.kept = torch.from_numpy(np.array(values)).to(device) if resident and device.type != "cpu" else None

    def take(self, rows: np.ndarray) -> torch.Tensor:
        """Rows as float tensors on the device."""
        if self.kept is not None:
            return self.kept.index_select(0, torch.from_numpy(rows).to(self.device, non_blocking=True))
        return torch.from_numpy(self.reader.rows(rows)).to(self.device)


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
        stimuli = self._stimuli(rows)
        targets = {name: self.target(name, stimuli) for name in self.targets}
        return Batch(signals, targets, torch.from_numpy(stimuli).to(self.device, non_blocking=True))

    def batches(self, plan: Sequence[Mapping[str, np.ndarray]]) -> Generator[Batch, None, None]:
        """The batches of a plan (subject -> rows, of equal numbers in all batches) in turn, without a wait for Python.

        From the device's memory where data are kept there; else read ahead by threads, if the device is a GPU.
        """
        if self.device.type == "cpu" or not plan:
            yield from (self.batch(rows) for rows in plan)
        elif self.resident:
            yield from self._kept_batches(plan)
        else:
            yield from self._streamed_batches(plan)

    def _stimuli(self, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.concatenate([self.stimulus_N[subject][chosen] for subject, chosen in rows.items()])

    def _kept_batches(self, plan: Sequence[Mapping[str, np.ndarray]]) -> Generator[Batch, None, None]:
        # Row numbers of all batches go to the device at once: a batch is then a few launches.
        stimuli = np.stack([self._stimuli(rows) for rows in plan])
        numbers = torch.from_numpy(stimuli).to(self.device)
        rows_of = {s: torch.from_numpy(np.stack([rows[s] for rows in plan])).to(self.device) for s in plan[0]}
        target_rows = {n: torch.from_numpy(self.target_row_U[n][stimuli]).to(self.device) for n in self.targets}
        for i in range(len(plan)):
            signals = {s: self.signals[s].kept.index_select(0, rows[i]) for s, rows in rows_of.items()}  # type: ignore[union-attr]
            targets = {n: self.targets[n].kept.index_select(0, rows[i]) for n, rows in target_rows.items()}  # type: ignore[union-attr]
            yield Batch(signals, {n: self._scaled(n, v) for n, v in targets.items()}, numbers[i])

    def _streamed_batches(self, plan: Sequence[Mapping[str, np.ndarray]]) -> Generator[Batch, None, None]:
        stimuli = np.stack([self._stimuli(rows) for rows in plan])
        numbers = torch.from_numpy(stimuli).to(self.device)
        # A subject and a target may have the same name.
        readers = {f"signal/{s}": rows.reader for s, rows in self.signals.items()}
        readers |= {f"target/{n}": rows.reader for n, rows in self.targets.items()}
        wanted = (
            {f"signal/{s}": chosen for s, chosen in rows.items()}
            | {f"target/{n}": self.target_row_U[n][stimuli[i]] for n in self.targets}
            for i, rows in enumerate(plan)
        )
        for i, found in enumerate(uploaded(readers, wanted, self.device)):
            signals = {s: found[f"signal/{s}"] for s in plan[i]}
            yield Batch(signals, {n: self._scaled(n, found[f"target/{n}"]) for n in self.targets}, numbers[i])

    def target(self, name: str, stimuli: np.ndarray) -> torch.Tensor:
        """Scaled embeddings (B, K, D) of stimuli by their numbers."""
        return self._scaled(name, self.targets[name].take(self.target_row_U[name][stimuli]))

    def _scaled(self, name: str, values_BKD: torch.Tensor) -> torch.Tensor:
        values_BKD = values_BKD.float()
        if name not in self.scalings:
            return values_BKD
        mean, scale = self.scalings[name]
        return (values_BKD - mean) / scale


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
