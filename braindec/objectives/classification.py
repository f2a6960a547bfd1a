"""Classification of one-hot targets. Legend: B trials, C classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from braindec.objectives.view import Source, StepView, TargetObjective


class CrossEntropy(TargetObjective):
    """Cross entropy of logits with a one-hot target (B, 1, C); where trials were mixed, the labels are mixed alike.

    Parameters
    ----------
    smoothing : share of each label that is spread evenly over all classes.
    targets, source : see `TargetObjective`; the logits are a class head's contrast path.
    """

    def __init__(
        self, smoothing: float = 0.0, targets: Sequence[str] | None = None, source: Source = "contrast"
    ) -> None:
        super().__init__(targets, source)
        self.smoothing = smoothing

    def one(self, predicted_BKD: torch.Tensor, target_BKD: torch.Tensor, view: StepView) -> torch.Tensor:
        """Loss of one target."""
        labels_BC = target_BKD.flatten(1)
        if view.mix is not None:
            share = view.mix.share_B[:, None].to(labels_BC.dtype)
            labels_BC = share * labels_BC + (1 - share) * labels_BC[view.mix.partner_B]
        return nn.functional.cross_entropy(predicted_BKD.flatten(1), labels_BC, label_smoothing=self.smoothing)
