"""Checks of a trainable decoder before it is trained: settings that would have no effect, or fail hours later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import nn

from braindec.contracts import TrainingData
from braindec.models.network import DEFAULT, Parts
from braindec.objectives.internal import OfPseudoTrials, PriorLoss
from braindec.objectives.weighted import Weighted
from braindec.types import DataError


def check_parts(
    parts: Parts, objectives: Mapping[str, Weighted], predicts: str | Mapping[str, str], data: TrainingData, fresh: bool
) -> None:
    """Whether data, parts, objectives and the predicted paths fit each other.

    Parameters
    ----------
    fresh : whether all weights start at random, so that a prior that nothing trains would be noise.

    Raises
    ------
    DataError
        If there is nothing to learn from; a head, prior or path is named for a target that is not there; a prior is
        to be predicted that no target has, or that no `PriorLoss` trains; or pseudo-trials are asked for by only one
        of ``decoder.pseudo_trials`` and an objective, or of a single subject.
    """
    if not data.train or not all(len(trials) for trials in data.train.values()):
        empty = sorted(subject for subject, trials in data.train.items() if not len(trials))
        raise DataError(f"training data: no training trials of {empty or 'any subject'}")
    if not data.targets:
        raise DataError("targets: a decoder needs at least one target, found none")
    targets = tuple(data.targets)
    priors = {name for name, prior in (parts.priors or {}).items() if prior is not None}
    paths = dict.fromkeys(targets, predicts) if isinstance(predicts, str) else dict(predicts)
    for field, names in {"heads": parts.heads, "priors": priors, "predicts": paths}.items():
        unknown = sorted(set(names) - {*targets, *(() if field == "predicts" else (DEFAULT,))})
        if unknown:
            raise DataError(f"decoder.{field}: no target is called {unknown[0]!r}; the targets are {sorted(targets)}")
    own = {name for name in targets if (parts.priors or {}).get(name, (parts.priors or {}).get(DEFAULT)) is not None}
    without = [name for name, path in paths.items() if path == "prior" and name not in own]
    if without:
        raise DataError(
            f"decoder.predicts=prior: the target {without[0]!r} has no prior; give decoder.priors one, or predict its "
            "value"
        )
    if fresh:
        _check_trained(own, objectives)
    _check_pseudo_trials(parts, objectives, len(data.train))


def _modules(objectives: Mapping[str, Weighted]) -> Iterator[nn.Module]:
    for term in objectives.values():
        yield from term.modules()


def _check_trained(priors: set[str], objectives: Mapping[str, Weighted]) -> None:
    losses = [part for part in _modules(objectives) if isinstance(part, PriorLoss)]
    trained = {name for loss in losses for name in (priors if loss.target_names is None else loss.target_names)}
    if priors - trained:
        raise DataError(
            f"decoder.priors: no objective trains the prior of {sorted(priors - trained)[0]!r}; give "
            "decoder.objectives a braindec.objectives.internal.PriorLoss, or leave the prior out"
        )


def _check_pseudo_trials(parts: Parts, objectives: Mapping[str, Weighted], n_subjects: int) -> None:
    learnt = any(isinstance(part, OfPseudoTrials) for part in _modules(objectives))
    if learnt and parts.builder is None:
        raise DataError("objective OfPseudoTrials: the decoder rebuilds no signal; give decoder.builder")
    if learnt != parts.pseudo_trials:
        found = "an objective OfPseudoTrials alone" if learnt else "decoder.pseudo_trials=true alone"
        raise DataError(
            f"decoder.pseudo_trials: {found} has no effect; expected both decoder.pseudo_trials=true and an objective "
            "braindec.objectives.internal.OfPseudoTrials"
        )
    if learnt and n_subjects < 2:
        raise DataError(
            "decoder.pseudo_trials: they are made of another subject's trials, but one subject is trained; add others "
            "by subject=[...]"
        )
