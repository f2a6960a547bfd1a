"""A weighted sum of objectives, each weight a number or a schedule over training."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from braindec.objectives.schedules import Progress, Schedule, at, number
from braindec.objectives.view import Objective, StepView
from braindec.types import DataError

_LOOKS = 1000
"""Moments of training at which weights are looked at before it begins."""


def _nothing_at(progress: float) -> str:
    return (
        f"objectives: every weight is 0 at progress {progress:.3f} of training; let phases (start, stop) meet, so that "
        "some objective takes part at all times"
    )


class Weighted(nn.Module):
    """One objective with its weight. ``weight`` 0 at some progress leaves the objective out of that step."""

    def __init__(self, objective: Objective, weight: float | Schedule = 1.0) -> None:
        super().__init__()
        self.objective = objective
        self.weight = weight


class WeightedSum(nn.Module):
    """Sum of named `Weighted` objectives."""

    def __init__(self, terms: Mapping[str, Weighted]) -> None:
        super().__init__()
        if not terms:
            raise DataError("objectives: expected at least one, found none")
        self.terms = nn.ModuleDict({f"{name}_": term for name, term in terms.items()})
        self.names = tuple(terms)

    def active(self, progress: Progress) -> tuple[str, ...]:
        """Names of the objectives whose weight is not 0."""
        weights = {name: at(self.terms[f"{name}_"].weight, number(progress)) for name in self.names}  # type: ignore[arg-type]
        return tuple(name for name, weight in weights.items() if weight != 0)

    def check_phases(self) -> None:
        """Raise `DataError` where every weight is 0, before hours of training have led there."""
        for progress in (position / _LOOKS for position in range(_LOOKS + 1)):
            if not self.active(progress):
                raise DataError(_nothing_at(progress))

    def forward(self, view: StepView, everyone: StepView | None = None) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The sum, and each unweighted loss that took part.

        Parameters
        ----------
        view : trials of this process.
        everyone : trials of all processes, for objectives that need negatives; None where there is one process.
        """
        losses: dict[str, torch.Tensor] = {}
        total: torch.Tensor | None = None
        active = self.active(view.progress)
        for name in self.names:
            term: Weighted = self.terms[f"{name}_"]  # type: ignore[assignment]
            if name not in active:
                continue
            weight = at(term.weight, view.progress)
            objective = term.objective
            losses[name] = objective(everyone if everyone is not None and objective.needs_negatives else view)
            weighted = weight * losses[name]
            total = weighted if total is None else total + weighted
        if total is None:
            raise DataError(_nothing_at(number(view.progress)))
        return total, losses
