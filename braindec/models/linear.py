"""Ridge decoders: brain signal -> target embeddings, one fit a subject.

Legend: N trials, P features, U distinct training stimuli, T flattened targets (K tokens x D dimensions).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from braindec.contracts import FitContext, State, TrainingData
from braindec.models.column_blocks import TargetColumns
from braindec.models.linear_map import FeatureFrame, LinearMap
from braindec.models.ridge import Precision, RidgeSystem, operator, ridge_system
from braindec.models.ridge_cv import (
    AlphaChoice,
    AlphaPer,
    HeldOut,
    Selection,
    choose_alpha,
    group_width,
    leave_out_labels,
)
from braindec.models.ridge_targets import ColumnStream, columns_alpha
from braindec.types import DataError, TargetEmbeddings, Trials

LISTED_ALPHAS = 512
"""A report lists the alphas of at most this many groups, and counts them beyond."""


@dataclass(frozen=True)
class SubjectData:
    """One subject's training trials beside the targets of their distinct stimuli.

    Attributes
    ----------
    position_N : int, the distinct stimulus of each trial.
    columns, shapes : target name -> flattened targets of the distinct stimuli, and (K, D).
    """

    trials: Trials
    position_N: np.ndarray
    columns: Mapping[str, TargetColumns]
    shapes: Mapping[str, tuple[int, int]]

    @classmethod
    def of(cls, trials: Trials, targets: Mapping[str, TargetEmbeddings]) -> SubjectData:
        """Raises `DataError` when a training stimulus has no target embedding."""
        if not targets:
            raise DataError("targets: a decoder needs at least one target, found none")
        shown = trials.table["stimulus_id"].tolist()
        order: dict[str, int] = {}
        columns, shapes = {}, {}
        for name, target in targets.items():
            index = {stimulus_id: row for row, stimulus_id in enumerate(target.ids)}
            unknown = sorted({i for i in shown if i not in index})
            if unknown:
                raise DataError(
                    f"target {name!r}: no embedding for {len(unknown)} training stimuli of subject "
                    f"{trials.subject!r}, e.g. {unknown[:3]}"
                )
            # In file order of the first target, so that blocks of rows are read in long runs.
            order = order or {i: u for u, i in enumerate(sorted(set(shown), key=index.__getitem__))}
            values = target.values.reshape(len(target.values), -1)
            columns[name] = TargetColumns(name, values, np.array([index[i] for i in order]))
            shapes[name] = (target.values.shape[1], target.values.shape[2])
        return cls(trials, np.array([order[i] for i in shown]), columns, shapes)


class SubjectwiseDecoder:
    """A `Decoder` with one independent linear fit a subject; a subclass gives `_fit_subject`.

    Attributes
    ----------
    maps_ : subject -> target name -> fitted `LinearMap`.
    """

    precision: Precision = "float32"

    def __init__(self) -> None:
        self.maps_: dict[str, dict[str, LinearMap]] = {}

    def fit(self, data: TrainingData, context: FitContext) -> Mapping[str, Any]:
        """Fit every subject; return per subject and target what was chosen, its held-out R2, and the seconds taken."""
        self.maps_ = {}
        report: dict[str, Any] = {}
        for subject in context.progress(list(data.train), "subjects"):
            if "/" in subject or any("/" in name for name in data.targets):
                raise DataError(f"names of subjects and targets may not hold '/': {subject!r}, {list(data.targets)}")
            started = time.perf_counter()
            prepared = SubjectData.of(data.train[subject], data.targets)
            self.maps_[subject], report[subject] = self._fit_subject(prepared, context)
            report[subject]["seconds"] = round(time.perf_counter() - started, 3)
        return report

    def _fit_subject(self, data: SubjectData, context: FitContext) -> tuple[dict[str, LinearMap], dict[str, Any]]:
        raise NotImplementedError

    def predict(self, trials: Trials, device: str) -> dict[str, np.ndarray]:
        """Target name -> float32 (N, K, D).

        Raises
        ------
        DataError
            When nothing is fitted, the subject is unknown, or its signal has another shape than in training.
        """
        if not self.maps_:
            raise DataError(f"{type(self).__name__} is not fitted: call fit or load_state first")
        if trials.subject not in self.maps_:
            raise DataError(f"no fit for subject {trials.subject!r}; fitted subjects are {sorted(self.maps_)}")
        return {name: m.predict(trials, device, self.precision) for name, m in self.maps_[trials.subject].items()}

    def state(self) -> State:
        """Arrays named ``subject/target/array``."""
        return {
            f"{subject}/{target}/{name}": array
            for subject, maps in self.maps_.items()
            for target, fitted in maps.items()
            for name, array in fitted.state().items()
        }

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over the fits of a `state`. Raises `DataError` on names or arrays that are not one."""
        nested: dict[tuple[str, str], dict[str, np.ndarray]] = {}
        for key, array in state.items():
            parts = key.split("/")
            if len(parts) != 3:
                raise DataError(f"state: expected names subject/target/array, found {key!r}")
            nested.setdefault((parts[0], parts[1]), {})[parts[2]] = array
        self.maps_ = {}
        for (subject, target), arrays in nested.items():
            self.maps_.setdefault(subject, {})[target] = LinearMap.from_state(arrays)


class RidgeDecoder(SubjectwiseDecoder):
    """Ridge regression of every target value on the flattened signal.

    Parameters
    ----------
    alphas : candidate penalties of every target, or target name -> candidates. A single one is used as given.
    selection : how candidates are scored on held-out training trials; repetitions of a stimulus are always held out
        together: one stimulus at a time (``loo``), or in ``n_folds`` folds (``kfold``).
    alpha_per : what shares one alpha: the whole target array, each token, or nothing (each value has its own).
    standardise_targets : score the mean R2 over values rather than the R2 of their sum of squares.
    rois : target name -> names of the ROIs (their union) that feed it; a target not named reads all of space.
    intercept : centre signal and targets by their training means.
    precision : ``tf32`` is faster on recent GPUs and rounds products with targets; ``float64`` is for checks.

    Source: Hoerl & Kennard 1970; `braindec.models.ridge` and `ridge_cv` for the solver.
    """

    def __init__(
        self,
        alphas: list[float] | Mapping[str, list[float]],
        selection: Selection = "loo",
        n_folds: int = 5,
        alpha_per: AlphaPer = "target_array",
        standardise_targets: bool = False,
        rois: Mapping[str, list[str]] | None = None,
        intercept: bool = True,
        precision: Precision = "float32",
    ) -> None:
        super().__init__()
        self.alphas = alphas
        self.selection: Selection = selection
        self.n_folds = n_folds
        self.alpha_per: AlphaPer = alpha_per
        self.standardise_targets = standardise_targets
        self.rois = rois
        self.intercept = intercept
        self.precision = precision

    def _fit_subject(self, data: SubjectData, context: FitContext) -> tuple[dict[str, LinearMap], dict[str, Any]]:
        candidates = candidates_by_target(self.alphas, data.columns)
        rois = rois_by_target(self.rois, data.columns)
        maps: dict[str, LinearMap] = {}
        report: dict[str, Any] = {}
        # Targets that read the same ROIs share one system, and those with the same candidates one set of errors.
        for names in dict.fromkeys(rois.values()):
            frame = FeatureFrame.of(data.trials, names)
            system = ridge_system(
                frame.features(data.trials), data.position_N, self.intercept, context.device, self.precision
            )
            held_out: dict[tuple[float, ...], HeldOut] = {}
            for target in (t for t in data.columns if rois[t] == names):
                stream = open_stream(system, data, target)
                candidate = candidates[target]
                if len(candidate) > 1 and candidate not in held_out:
                    labels = leave_out_labels(data.position_N, self.selection, self.n_folds, context.seed)
                    held_out[candidate] = HeldOut(system, np.array(candidate), labels)
                alphas_T, report[target] = self._choose(stream, candidate, data.shapes[target], held_out)
                maps[target] = LinearMap.from_operators(
                    frame,
                    system.mean_P.cpu().numpy(),
                    stream,
                    {float(a): operator(system, float(a)) for a in np.unique(alphas_T)},
                    alphas_T,
                    data.shapes[target],
                    context.folder / f"{data.trials.subject}-{target}",
                )
        return {name: maps[name] for name in data.columns}, report

    def _choose(
        self,
        stream: ColumnStream,
        candidates: tuple[float, ...],
        shape_KD: tuple[int, int],
        held_out: Mapping[tuple[float, ...], HeldOut],
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """The alpha of each value (T,), and what to report of it."""
        if len(candidates) == 1:
            return columns_alpha(candidates[0], stream.n_columns), {"alpha": candidates[0], "selection": "given"}
        width = group_width(self.alpha_per, *shape_KD)
        stream.group_width = width if width > 1 else None
        choice = choose_alpha(held_out[candidates], stream, width, self.standardise_targets)
        return choice.alphas_T, {**choice_report(choice), "selection": self.selection}


def candidates_by_target(
    alphas: Sequence[float] | Mapping[str, Sequence[float]], names: Mapping[str, Any]
) -> dict[str, tuple[float, ...]]:
    """Candidate alphas of each target. Raises `DataError` when a mapping misses a target or names an unknown one."""
    if not isinstance(alphas, Mapping):
        given = {name: tuple(float(a) for a in alphas) for name in names}
    else:
        if set(alphas) != set(names):
            raise DataError(f"alphas: expected an entry for each target {sorted(names)}, found {sorted(alphas)}")
        given = {name: tuple(float(a) for a in alphas[name]) for name in names}
    empty = [name for name, values in given.items() if not values]
    if empty:
        raise DataError(f"alphas: no candidate for the targets {empty}")
    return given


def rois_by_target(
    rois: Mapping[str, Sequence[str]] | None, names: Mapping[str, Any]
) -> dict[str, tuple[str, ...] | None]:
    """ROI names of each target, None for all of space. Raises `DataError` on an unknown target."""
    unknown = sorted(set(rois or {}) - set(names))
    if unknown:
        raise DataError(f"rois: unknown targets {unknown}; the targets are {sorted(names)}")
    return {name: tuple(rois[name]) if rois and name in rois else None for name in names}


def open_stream(system: RidgeSystem, data: SubjectData, target: str) -> ColumnStream:
    """The targets of a subject, kept on a GPU between passes where they take less than half of its free memory."""
    columns = data.columns[target]
    keep = False
    if system.device.type == "cuda":
        itemsize = torch.empty(0, dtype=system.dtype).element_size()
        keep = len(columns.rows) * columns.values.shape[1] * itemsize < torch.cuda.mem_get_info(system.device)[0] / 2
    return ColumnStream(system, columns, keep=keep)


def choice_report(choice: AlphaChoice) -> dict[str, Any]:
    """Chosen alphas and the held-out R2 of every candidate (mean over groups), JSON-able."""
    chosen = choice.chosen
    entry: dict[str, Any] = {
        "candidates": [float(a) for a in choice.alphas],
        "held_out_r2": [float(score) for score in choice.scores.mean(axis=0)],
        "best_held_out_r2": float(choice.scores.max(axis=1).mean()),
    }
    if len(chosen) == 1:
        entry["alpha"] = float(chosen[0])
    elif len(chosen) <= LISTED_ALPHAS:
        entry["alpha"] = [float(a) for a in chosen]
    else:
        values, counts = np.unique(chosen, return_counts=True)
        entry["alpha_counts"] = {f"{value:g}": int(count) for value, count in zip(values, counts)}
    return entry
