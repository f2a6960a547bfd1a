"""Choosing among decoders, or joining the best, by cross-validation inside the training trials.

Legend: N trials, C classes, G groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from braindec.contracts import Decoder, FitContext, State, TrainingData
from braindec.models.classifier import classes_of
from braindec.types import DataError, Trials


class NestedSelection:
    """A `Decoder` that tries several candidates on held-out groups of the training trials and keeps the best.

    The training trials of every subject are divided into groups by a column of their table (runs, say); each candidate
    is fitted without one part of the groups and scored on it. The best candidates, the first of equals, are then fitted
    on all training trials, and their predictions averaged. Test trials play no part: the outer split stays honest.

    Fitted attribute: ``chosen_``, names of the chosen candidates, the best first.

    Parameters
    ----------
    candidates : name -> decoder of the one-hot ``target``.
    target : name of the one-hot target that scores the candidates.
    group : column of the trial table that is held out together: ``run`` (within its session), ``session``, or
        ``repetition``.
    n_folds : number of parts that the groups are divided into; None holds out one group at a time.
    score : ``accuracy`` (mean over classes), or ``auc``, the area under the curve (mean over classes).
    n_best : so many of the best candidates are kept. Held-out scores of few trials are noisy: several candidates of
        nearly the same score, averaged, are steadier than the one that happened to lead.

    Source: Stone 1974; Varma & Simon 2006, "Bias in error estimation when using cross-validation for model selection".
    """

    def __init__(
        self,
        candidates: dict[str, Decoder],
        target: str = "concepts",
        group: Literal["run", "session", "repetition"] = "run",
        n_folds: int | None = None,
        score: Literal["accuracy", "auc"] = "accuracy",
        n_best: int = 1,
    ) -> None:
        if not 1 <= n_best <= len(candidates) or any("/" in name for name in candidates):
            raise DataError(
                f"NestedSelection: expected n_best between 1 and the number of candidates, whose names hold no '/', "
                f"found n_best={n_best} of {sorted(candidates)}"
            )
        self.candidates = candidates
        self.target = target
        self.group: Literal["run", "session", "repetition"] = group
        self.n_folds = n_folds
        self.score: Literal["accuracy", "auc"] = score
        self.n_best = n_best

    def fit(self, data: TrainingData, context: FitContext) -> Mapping[str, Any]:
        """Select, then fit the chosen candidate; the report holds every candidate's held-out score.

        Raises
        ------
        DataError
            If the target is missing or not one-hot, or there are fewer groups than folds.
        """
        if self.target not in data.targets:
            raise DataError(f"NestedSelection: no target {self.target!r}; found {sorted(data.targets)}")
        parts = {
            subject: group_parts(trials, self.group, self.n_folds, context.seed)
            for subject, trials in data.train.items()
        }
        counts = {subject: len(subject_parts) for subject, subject_parts in parts.items()}
        if len(set(counts.values())) > 1:
            raise DataError(f"NestedSelection: subjects have different numbers of groups {counts}; set n_folds")
        quiet = replace(context, progress=lambda items, caption: items)
        scores = {
            name: float(np.mean([self._score(candidate, data, parts, k, quiet) for k in range(max(counts.values()))]))
            for name, candidate in context.progress(list(self.candidates.items()), "candidates")
        }
        self.chosen_ = tuple(sorted(scores, key=lambda name: -scores[name])[: self.n_best])
        fits = {name: dict(self.candidates[name].fit(data, context)) for name in self.chosen_}
        return {f"held_out_{self.score}": scores, "groups_held_out": self.group, "chosen": fits}

    def _score(
        self,
        candidate: Decoder,
        data: TrainingData,
        parts: Mapping[str, list[np.ndarray]],
        k: int,
        context: FitContext,
    ) -> float:
        """Mean score of a candidate on part ``k`` of every subject, fitted on the others."""
        kept = {s: trials.select(np.setdiff1d(np.arange(len(trials)), parts[s][k])) for s, trials in data.train.items()}
        candidate.fit(TrainingData(kept, {}, data.targets), context)
        found = []
        for subject, trials in data.train.items():
            held_out = trials.select(parts[subject][k])
            values = candidate.predict(held_out, context.device)[self.target][:, 0]
            classes = classes_of(trials, data.targets[self.target])[parts[subject][k]]
            found.append((class_accuracy if self.score == "accuracy" else class_auc)(values, classes))
        return float(np.mean(found))

    def predict(self, trials: Trials, device: str) -> dict[str, np.ndarray]:
        """Mean of what the chosen candidates predict. Raises `DataError` when nothing is fitted."""
        made = [self.candidates[name].predict(trials, device) for name in self._chosen()]
        return {t: np.stack([values[t] for values in made]).mean(axis=0, dtype=np.float32) for t in made[0]}

    def state(self) -> State:
        """Names of the chosen candidates, and their states under those names."""
        states = {
            f"{name}/{key}": array for name in self._chosen() for key, array in self.candidates[name].state().items()
        }
        return {"chosen": np.array(self.chosen_), **states}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what `state` gave. Raises `DataError` when a chosen candidate is not among the candidates."""
        chosen = tuple(str(name) for name in state["chosen"])
        unknown = sorted(set(chosen) - set(self.candidates))
        if unknown:
            raise DataError(f"NestedSelection: state of the candidates {unknown}; these are {sorted(self.candidates)}")
        self.chosen_ = chosen
        for name in chosen:
            own = {key: array for key, array in state.items() if key.startswith(f"{name}/")}
            self.candidates[name].load_state({key.removeprefix(f"{name}/"): array for key, array in own.items()})

    def _chosen(self) -> tuple[str, ...]:
        if not hasattr(self, "chosen_"):
            raise DataError("NestedSelection is not fitted: call fit or load_state first")
        return self.chosen_


def group_parts(trials: Trials, group: str, n_folds: int | None, seed: int) -> list[np.ndarray]:
    """Rows of each held-out part; a part is one group, or one of ``n_folds`` random shares of the groups.

    Raises
    ------
    DataError
        If there are fewer than two groups, or fewer than ``n_folds``.
    """
    columns = ["session", "run"] if group == "run" else [group]
    group_N = trials.table.groupby(columns, sort=True).ngroup().to_numpy()
    n_groups = int(group_N.max()) + 1
    n_parts = n_groups if n_folds is None else n_folds
    if n_groups < 2 or not 2 <= n_parts <= n_groups:
        raise DataError(
            f"NestedSelection: subject {trials.subject!r} has {n_groups} training groups ({group}); expected at least "
            f"2 and n_folds between 2 and their number, found n_folds={n_folds}"
        )
    order = np.arange(n_groups) if n_folds is None else np.random.default_rng(seed).permutation(n_groups)
    return [np.flatnonzero(np.isin(group_N, part)) for part in np.array_split(order, n_parts)]


def class_accuracy(values_NC: np.ndarray, classes_N: np.ndarray) -> float:
    """Share of trials whose own class has the largest value, mean over the classes present."""
    right_N = values_NC.argmax(axis=1) == classes_N
    return float(np.mean([right_N[classes_N == c].mean() for c in np.unique(classes_N)]))


def class_auc(values_NC: np.ndarray, classes_N: np.ndarray) -> float:
    """Area under the curve of each class against the rest, mean over the classes present; ties count half.

    Raises
    ------
    DataError
        If only one class is present.
    """
    from scipy.stats import rankdata

    found = []
    for c in np.unique(classes_N):
        own_N = classes_N == c
        n_own, n_other = int(own_N.sum()), int((~own_N).sum())
        if n_other == 0:
            raise DataError("area under the curve: all held-out trials are of one class; hold out larger groups")
        ranks_N = rankdata(values_NC[:, c])
        found.append((ranks_N[own_N].sum() - n_own * (n_own + 1) / 2) / (n_own * n_other))
    return float(np.mean(found))
