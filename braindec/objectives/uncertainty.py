"""Weights of several targets that are learnt from their own losses. Legend: B trials, K tokens, D dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from braindec.objectives.view import Objective, StepView, TargetObjective
from braindec.types import DataError


class UncertaintyWeighted(Objective):
    """Sum over targets of exp(-s) loss + s, where s is learnt: a target that stays uncertain counts less.

    Parameters
    ----------
    objective : an objective of one target at a time, e.g. InfoNCE; its own ``targets`` are not looked at.
    targets : names of the targets, at least two.

    Source: Kendall, Gal & Cipolla 2018, equation 7, with s = log of twice the variance up to a constant.
    """

    def __init__(self, objective: TargetObjective, targets: Sequence[str]) -> None:
        super().__init__()
        if len(set(targets)) < 2 or len(set(targets)) < len(targets):
            raise DataError(f"UncertaintyWeighted.targets: expected two or more different targets, found {targets}")
        self.objective = objective
        self.target_names = tuple(targets)
        self.needs_negatives = objective.needs_negatives
        self.log_variance = nn.Parameter(torch.zeros(len(targets)))

    def forward(self, view: StepView) -> torch.Tensor:
        """A scalar. Raises `DataError` on a target that is not there."""
        unknown = [name for name in self.target_names if name not in view.targets]
        if unknown:
            raise DataError(f"objective targets: unknown {unknown}; the targets are {sorted(view.targets)}")
        paths = view.value if self.objective.source == "value" else view.contrast
        losses = torch.stack(
            [self.objective.one(paths[n].float(), view.targets[n].float(), view) for n in self.target_names]
        )
        return (torch.exp(-self.log_variance) * losses + self.log_variance).mean()
