"""A weighted sum of objectives, each weight a number or a schedule over training."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from braindec.objectives.schedules import Schedule, at
from braindec.objectives.view import Objective, StepView
from braindec.types import DataError


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

    def forward(self, view: StepView, everyone: StepView | None = None) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The sum, and each unweighted loss that took part.

        Parameters
        ----------
        view : trials of this process.
        everyone : trials of all processes, for objectives that need negatives; None where there is one process.
        """
        losses: dict[str, torch.Tensor] = {}
        total: torch.Tensor | None = None
        for name in self.names:
            term: Weighted = self.terms[f"{name}_"]  # type: ignore[assignment]
            weight = at(term.weight, view.progress)
            if weight == 0:
                continue
            objective = term.objective
            losses[name] = objective(everyone if everyone is not None and objective.needs_negatives else view)
            weighted = weight * losses[name]
            total = weighted if total is None else total + weighted
        if total is None:
            raise DataError(f"objectives: every weight is 0 at progress {view.progress:.3f} of training")
        return total, losses
