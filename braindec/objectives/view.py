"""What an objective sees of one training step. Legend: B trials, K tokens, D dimensions, N trials of a subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn

from braindec.objectives.schedules import Progress
from braindec.types import DataError

Source = Literal["value", "contrast"]


@dataclass(frozen=True)
class Mix:
    """How the trials of this step were mixed: trial i is ``share_B[i]`` of itself and the rest of ``partner_B[i]``."""

    partner_B: torch.Tensor
    share_B: torch.Tensor


@dataclass(frozen=True)
class StepView:
    """One step's predictions and targets: those of one process, or those of all (see `Objective.needs_negatives`).

    Attributes
    ----------
    value, contrast : target name -> predictions (B, K, D).
    targets : target name -> (B, K, D).
    stimulus_B : int, equal where two trials show the same stimulus.
    progress : of training, in [0, 1]; a `Dial` in a step that is recorded.
    mix : of the signals, or None.
    rebuilt, cycled, prior_errors : see `braindec.models.network.Outputs`.
    pseudo : the view of decoded pseudo-trials of this process alone, or None.
    """

    value: Mapping[str, torch.Tensor]
    contrast: Mapping[str, torch.Tensor]
    targets: Mapping[str, torch.Tensor]
    stimulus_B: torch.Tensor
    progress: Progress = 0.0
    mix: Mix | None = None
    rebuilt: Sequence[tuple[torch.Tensor, torch.Tensor]] = ()
    cycled: Sequence[tuple[torch.Tensor, torch.Tensor]] = ()
    prior_errors: Mapping[str, torch.Tensor] = field(default_factory=dict)
    pseudo: StepView | None = None


class Objective(nn.Module):
    """A loss of a `StepView`.

    Attributes
    ----------
    needs_negatives : whether trials are compared with each other, so that those of all processes must be seen at once.
    """

    needs_negatives: bool = False

    def forward(self, view: StepView) -> torch.Tensor:
        """A scalar."""
        raise NotImplementedError


class TargetObjective(Objective):
    """A loss of each target by itself, averaged over targets.

    Parameters
    ----------
    targets : the targets it looks at; None for all.
    source : the path of the head it looks at.
    """

    def __init__(self, targets: Sequence[str] | None, source: Source) -> None:
        super().__init__()
        self.target_names = None if targets is None else tuple(targets)
        self.source: Source = source

    def forward(self, view: StepView) -> torch.Tensor:
        """Mean over targets. Raises `DataError` on a target that is not there."""
        names = tuple(view.targets) if self.target_names is None else self.target_names
        unknown = [name for name in names if name not in view.targets]
        if unknown:
            raise DataError(f"objective targets: unknown {unknown}; the targets are {sorted(view.targets)}")
        predictions = view.value if self.source == "value" else view.contrast
        losses = [self.one(predictions[name].float(), view.targets[name].float(), view) for name in names]
        return torch.stack(losses).mean()

    def one(self, predicted_BKD: torch.Tensor, target_BKD: torch.Tensor, view: StepView) -> torch.Tensor:
        """Loss of one target, a scalar."""
        raise NotImplementedError
