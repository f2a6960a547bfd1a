"""Schedules, weighted sums, and the objectives of a network's own parts."""

from __future__ import annotations

import pytest
import torch

from braindec.objectives.contrastive import InfoNCE, SoftCLIP
from braindec.objectives.internal import Cycle, PriorLoss, Reconstruction
from braindec.objectives.regression import Regression, unit_distance
from braindec.objectives.schedules import Phase, Ramp, at
from braindec.objectives.view import Mix, StepView
from braindec.objectives.weighted import Weighted, WeightedSum
from braindec.types import DataError


def view(**fields: object) -> StepView:
    generator = torch.Generator().manual_seed(0)
    value = {"x": torch.randn(4, 2, 3, generator=generator)}
    targets = {"x": torch.randn(4, 2, 3, generator=generator)}
    given = {"value": value, "contrast": value, "targets": targets, "stimulus_B": torch.arange(4), **fields}
    return StepView(**given)  # type: ignore[arg-type]


def test_schedules() -> None:
    phase, ramp = Phase(0.25, 0.5, 2.0), Ramp(1.0, 3.0, 0.5, 1.0)
    assert [phase(p) for p in (0.0, 0.25, 0.49, 0.5, 1.0)] == [0, 2, 2, 0, 0]
    assert Phase(0.5)(1.0) == 1.0
    assert [ramp(p) for p in (0.0, 0.5, 0.75, 1.0)] == [1, 1, 2, 3]
    assert Ramp(0.0, 1.0, cosine=True)(0.25) == pytest.approx((1 - 2**-0.5) / 2)
    assert at(0.7, 0.3) == 0.7
    with pytest.raises(DataError, match="start < stop"):
        Phase(0.5, 0.5)


def test_weighted_sum_switches_objectives_and_reports_them_unweighted() -> None:
    terms = {"early": Weighted(Regression(), Phase(0.0, 0.5, 3.0)), "late": Weighted(Regression("l1"), Phase(0.5))}
    total, losses = WeightedSum(terms)(view(progress=0.2))
    assert list(losses) == ["early"]
    torch.testing.assert_close(total, 3 * losses["early"])
    _, losses = WeightedSum(terms)(view(progress=0.5))
    assert list(losses) == ["late"]


def test_every_weight_zero_is_an_error() -> None:
    with pytest.raises(DataError, match="every weight is 0"):
        WeightedSum({"a": Weighted(Regression(), Phase(0.0, 0.5))})(view(progress=0.9))
    with pytest.raises(DataError, match="expected at least one"):
        WeightedSum({})


def test_negatives_come_from_everyone_and_regression_from_this_process() -> None:
    own, everyone = view(), view(targets={"x": torch.zeros(4, 2, 3)})
    terms = {"clip": Weighted(InfoNCE()), "mse": Weighted(Regression())}
    _, losses = WeightedSum(terms)(own, everyone)
    torch.testing.assert_close(losses["mse"], Regression()(own))
    torch.testing.assert_close(losses["clip"], InfoNCE()(everyone))


def test_an_unknown_target_is_named() -> None:
    with pytest.raises(DataError, match="unknown \\['y'\\]"):
        Regression(targets=["y"])(view())


def test_regression_mixes_targets_as_the_signals_were() -> None:
    mix = Mix(torch.tensor([1, 0, 3, 2]), torch.tensor([0.25, 1.0, 0.5, 0.75]))
    seen = view(mix=mix)
    target = seen.targets["x"]
    mixed = torch.stack(
        [mix.share_B[i] * target[i] + (1 - mix.share_B[i]) * target[mix.partner_B[i]] for i in range(4)]
    )
    torch.testing.assert_close(Regression()(seen), ((seen.value["x"] - mixed) ** 2).mean())


def test_embedding_normalisation_makes_scale_irrelevant() -> None:
    seen = view()
    scaled = view(value={"x": 7 * seen.value["x"]})
    objective = Regression(normalised="embedding")
    torch.testing.assert_close(objective(seen), objective(scaled))


def test_learnt_temperature_starts_as_given_and_gets_a_gradient() -> None:
    objective = InfoNCE(temperature=0.2, learn_temperature=True)
    torch.testing.assert_close(objective(view()), InfoNCE(temperature=0.2)(view()))
    objective(view()).backward()
    assert objective.log_scale is not None
    assert objective.log_scale.grad is not None


def test_reconstruction_and_cycle_weigh_values_equally() -> None:
    pairs = [(torch.ones(2, 3), torch.zeros(2, 3)), (torch.full((1, 2), 3.0), torch.zeros(1, 2))]
    assert Reconstruction()(view(rebuilt=pairs)).item() == pytest.approx((6 * 1 + 2 * 9) / 8)
    assert Cycle()(view(rebuilt=pairs, cycled=pairs[:1])).item() == 1
    assert Cycle()(view(rebuilt=pairs)).item() == 0
    for objective in (Reconstruction(), Cycle()):
        with pytest.raises(DataError, match=r"give decoder\.builder"):
            objective(view())


def test_prior_loss_needs_a_prior() -> None:
    assert PriorLoss()(view(prior_errors={"x": torch.tensor(2.0)})).item() == 2
    with pytest.raises(DataError, match="no prior for any target"):
        PriorLoss()(view())
    with pytest.raises(DataError, match="no prior for \\['y'\\]"):
        PriorLoss(["y"])(view(prior_errors={"x": torch.tensor(2.0)}))


def test_embedding_normalisation_is_the_mean_square_of_unit_embeddings() -> None:
    generator = torch.Generator().manual_seed(3)
    predicted, target = (torch.randn(5, 4, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    unit = [v.flatten(1) / v.flatten(1).norm(dim=1, keepdim=True) for v in (predicted, target)]
    expected = (unit[0] - unit[1]).square().mean()
    torch.testing.assert_close(unit_distance(predicted, target), expected)
    assert unit_distance(predicted, torch.zeros_like(target)).isfinite()


def test_a_temperature_is_above_zero_and_scheduled_or_learnt() -> None:
    for wrong in (0.0, -1.0, Ramp(0.1, 0.0)):
        for made in (InfoNCE, SoftCLIP):
            with pytest.raises(DataError, match=rf"{made.__name__}\.temperature: .*expected above 0, found"):
                made(temperature=wrong)
    with pytest.raises(DataError, match="found a schedule; choose one of the two"):
        InfoNCE(temperature=Ramp(0.1, 0.2), learn_temperature=True)
