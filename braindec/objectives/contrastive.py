"""Contrastive objectives. Legend: B trials, F features of a flattened embedding, P parts of it.

Source: Radford et al. 2021, figure 3 (InfoNCE both ways); Defossez et al. 2023, equation 2 (one way, only the candidate
normalised); MindEye (Scotti et al. 2023), equations 1-2 (BiMixCo, SoftCLIP).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from braindec.objectives.schedules import Progress, Schedule, at
from braindec.objectives.view import Source, StepView, TargetObjective
from braindec.types import DataError

Normalised = Literal["both", "target", "none"]
_LEAST_TEMPERATURE = 0.01
_LEAST_LENGTH = 1e-12
_LONG_ROW = 16_384
_MOST_PARTS = 512


def _check_temperature(name: str, temperature: float | Schedule) -> None:
    lowest = min(at(temperature, 0.0), at(temperature, 1.0))
    if not lowest > 0:
        raise DataError(f"{name}.temperature: similarities are divided by it; expected above 0, found {lowest:g}")


def inner_products(first_BF: torch.Tensor, second_BF: torch.Tensor, n_parts: int | None = None) -> torch.Tensor:
    """Inner products (B, B) of rows, long ones summed over ``n_parts`` parts; None chooses.

    A product of few rows of some hundred thousand features has too small a result to fill a GPU: one processor would
    walk along all features. Parts are walked along beside each other.
    """
    n_features = first_BF.shape[1]
    if n_parts is None:
        n_parts = _n_parts(n_features) if first_BF.is_cuda else 1
    if n_parts == 1:
        return first_BF @ second_BF.T
    first_PBF, second_PBF = (v.unflatten(1, (n_parts, -1)).transpose(0, 1) for v in (first_BF, second_BF))
    return torch.bmm(first_PBF, second_PBF.transpose(1, 2)).sum(dim=0)


def _n_parts(n_features: int) -> int:
    if n_features < _LONG_ROW or n_features % 8:
        return 1
    # Parts of a multiple of eight features keep their rows aligned.
    return next(parts for parts in range(_MOST_PARTS, 0, -1) if (n_features // 8) % parts == 0)


def cosines(first_BF: torch.Tensor, second_BF: torch.Tensor) -> torch.Tensor:
    """Cosines (B, B) of rows. Lengths divide the products, so that no scaled copy of the rows is made."""
    lengths = [torch.linalg.vector_norm(v, dim=1).clamp(min=_LEAST_LENGTH) for v in (first_BF, second_BF)]
    return inner_products(first_BF, second_BF) / (lengths[0][:, None] * lengths[1])


def similarities(predicted_BF: torch.Tensor, target_BF: torch.Tensor, normalised: Normalised) -> torch.Tensor:
    """Inner products (B, B), predictions in rows, after scaling the chosen sides to unit length."""
    if normalised == "both":
        return cosines(predicted_BF, target_BF)
    products = inner_products(predicted_BF, target_BF)
    if normalised == "none":
        return products
    return products / torch.linalg.vector_norm(target_BF, dim=1).clamp(min=_LEAST_LENGTH)


def hide_duplicates(logits_BB: torch.Tensor, stimulus_B: torch.Tensor) -> torch.Tensor:
    """Logits without the false negatives: other trials that show the same stimulus."""
    same = stimulus_B[:, None] == stimulus_B[None]
    same.fill_diagonal_(False)
    return logits_BB.masked_fill(same, float("-inf"))


def info_nce(logits_BB: torch.Tensor, symmetric: bool) -> torch.Tensor:
    """Cross entropy of each row with its diagonal entry; ``symmetric`` averages rows and columns."""
    rows = torch.arange(len(logits_BB), device=logits_BB.device)
    loss = nn.functional.cross_entropy(logits_BB, rows)
    return (loss + nn.functional.cross_entropy(logits_BB.T, rows)) / 2 if symmetric else loss


def soft_clip(predicted_BF: torch.Tensor, target_BF: torch.Tensor, temperature: float | torch.Tensor) -> torch.Tensor:
    """Cross entropy with the targets' own similarities as soft labels, mean of both directions."""
    labels_BB = (cosines(target_BF, target_BF) / temperature).softmax(dim=1)
    logits_BB = cosines(predicted_BF, target_BF) / temperature
    rows = -(logits_BB.log_softmax(dim=1) * labels_BB).sum(dim=1).mean()
    columns = -(logits_BB.T.log_softmax(dim=1) * labels_BB).sum(dim=1).mean()
    return (rows + columns) / 2


def bimixco(logits_BB: torch.Tensor, partner_B: torch.Tensor, share_B: torch.Tensor) -> torch.Tensor:
    """InfoNCE of mixed trials: each is ``share`` of itself and the rest of its partner, in both directions.

    In the direction from targets, a target belongs to its own trial and to every trial that it was mixed into.
    """
    batch = len(logits_BB)
    labels_BB = torch.zeros_like(logits_BB)
    rows = torch.arange(batch, device=logits_BB.device)
    labels_BB[rows, rows] = share_B.to(labels_BB.dtype)
    labels_BB = labels_BB.index_put((rows, partner_B), 1 - share_B.to(labels_BB.dtype), accumulate=True)
    forward = -(labels_BB * logits_BB.log_softmax(dim=1)).sum(dim=1).mean()
    backward = -(labels_BB.T * logits_BB.T.log_softmax(dim=1)).sum(dim=1).mean()
    return (forward + backward) / 2


class InfoNCE(TargetObjective):
    """CLIP's loss over the trials of a step.

    Parameters
    ----------
    temperature : divides similarities; a number or a schedule. With ``learn_temperature`` the value at the start.
    learn_temperature : train its logarithm, never below 0.01 (a factor of 100, as CLIP).
    symmetric : also from targets to predictions.
    normalised : which side has unit length.
    duplicates_are_negatives : treat two trials of one stimulus as different; otherwise they do not repel each other.
    targets, source : see `TargetObjective`.

    Raises
    ------
    DataError
        If the temperature is not above 0, or is both a schedule and learnt.
    """

    needs_negatives = True

    def __init__(
        self,
        temperature: float | Schedule = 0.07,
        learn_temperature: bool = False,
        symmetric: bool = True,
        normalised: Normalised = "both",
        duplicates_are_negatives: bool = False,
        targets: Sequence[str] | None = None,
        source: Source = "contrast",
    ) -> None:
        super().__init__(targets, source)
        _check_temperature("InfoNCE", temperature)
        if learn_temperature and callable(temperature):
            raise DataError(
                "InfoNCE.temperature: expected a number to start from where learn_temperature is true, found a "
                "schedule; choose one of the two"
            )
        self.temperature = temperature
        self.symmetric = symmetric
        self.normalised: Normalised = normalised
        self.duplicates_are_negatives = duplicates_are_negatives
        self.log_scale = nn.Parameter(torch.tensor(-math.log(at(temperature, 0.0)))) if learn_temperature else None

    def scale(self, progress: Progress) -> torch.Tensor | float:
        """Factor on similarities."""
        if self.log_scale is not None:
            return self.log_scale.clamp(max=-math.log(_LEAST_TEMPERATURE)).exp()
        return 1 / at(self.temperature, progress)

    def one(self, predicted_BKD: torch.Tensor, target_BKD: torch.Tensor, view: StepView) -> torch.Tensor:
        """Loss of one target."""
        logits = similarities(predicted_BKD.flatten(1), target_BKD.flatten(1), self.normalised)
        logits = logits * self.scale(view.progress)
        if view.mix is not None:
            return bimixco(logits, view.mix.partner_B, view.mix.share_B)
        if not self.duplicates_are_negatives:
            logits = hide_duplicates(logits, view.stimulus_B)
        return info_nce(logits, self.symmetric)


class SoftCLIP(TargetObjective):
    """See `soft_clip`; ``temperature`` is a number or a schedule."""

    needs_negatives = True

    def __init__(
        self,
        temperature: float | Schedule = 0.005,
        targets: Sequence[str] | None = None,
        source: Source = "contrast",
    ) -> None:
        super().__init__(targets, source)
        _check_temperature("SoftCLIP", temperature)
        self.temperature = temperature

    def one(self, predicted_BKD: torch.Tensor, target_BKD: torch.Tensor, view: StepView) -> torch.Tensor:
        """Loss of one target."""
        return soft_clip(predicted_BKD.flatten(1), target_BKD.flatten(1), at(self.temperature, view.progress))
