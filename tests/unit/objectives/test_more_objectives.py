"""Classification, weights by uncertainty, and objectives of pseudo-trials."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from braindec.objectives.classification import CrossEntropy
from braindec.objectives.contrastive import InfoNCE
from braindec.objectives.internal import OfPseudoTrials
from braindec.objectives.regression import Regression
from braindec.objectives.uncertainty import UncertaintyWeighted
from braindec.objectives.view import Mix, StepView
from braindec.types import DataError


def view_of(**targets: torch.Tensor) -> StepView:
    torch.manual_seed(0)
    predicted = {name: torch.randn_like(values) for name, values in targets.items()}
    return StepView(predicted, predicted, targets, torch.arange(len(next(iter(targets.values())))))


def test_cross_entropy_mixes_labels_as_signals_were_mixed() -> None:
    classes = torch.tensor([0, 2, 1, 2])
    view = view_of(c=torch.nn.functional.one_hot(classes, 3).float()[:, None])
    logits = view.contrast["c"][:, 0]
    torch.testing.assert_close(CrossEntropy()(view), torch.nn.functional.cross_entropy(logits, classes))
    smoothed = torch.nn.functional.cross_entropy(logits, classes, label_smoothing=0.1)
    torch.testing.assert_close(CrossEntropy(smoothing=0.1)(view), smoothed)
    partner, share = torch.tensor([1, 0, 3, 2]), torch.tensor([0.7, 1.0, 0.5, 0.2])
    each = [torch.nn.functional.cross_entropy(logits, c, reduction="none") for c in (classes, classes[partner])]
    mixed = CrossEntropy()(replace(view, mix=Mix(partner, share)))
    torch.testing.assert_close(mixed, (share * each[0] + (1 - share) * each[1]).mean())


def test_weights_by_uncertainty_settle_at_the_log_of_each_loss() -> None:
    view = view_of(easy=torch.randn(6, 1, 4), hard=9 * torch.randn(6, 1, 4))
    objective = UncertaintyWeighted(Regression(), ["easy", "hard"])
    each = torch.stack([Regression(targets=[n])(view) for n in ("easy", "hard")])
    torch.testing.assert_close(objective(view), each.mean())
    optimiser = torch.optim.LBFGS(objective.parameters(), max_iter=100)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = objective(view)
        loss.backward()
        return loss

    optimiser.step(closure)
    torch.testing.assert_close(objective.log_variance.detach(), each.log(), atol=1e-3, rtol=1e-3)
    assert UncertaintyWeighted(InfoNCE(), ["easy", "hard"]).needs_negatives
    with pytest.raises(DataError, match="unknown"):
        UncertaintyWeighted(Regression(), ["easy", "other"])(view)
    with pytest.raises(DataError, match="two or more different targets"):
        UncertaintyWeighted(Regression(), ["easy"])


def test_an_objective_of_pseudo_trials_sees_these_alone() -> None:
    view, pseudo = view_of(x=torch.randn(4, 1, 3)), view_of(x=torch.randn(2, 1, 3) + 5)
    rebuilt = [(torch.zeros(1), torch.zeros(1))]
    objective = OfPseudoTrials(Regression())
    assert objective(replace(view, rebuilt=rebuilt)) == 0
    torch.testing.assert_close(objective(replace(view, rebuilt=rebuilt, pseudo=pseudo)), Regression()(pseudo))
    with pytest.raises(DataError, match=r"decoder\.builder"):
        objective(view)
