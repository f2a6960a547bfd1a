"""Objectives and schedules against independent references: open_clip, plain definitions, diffusers, torch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from braindec.models.priors.schedule import NoiseSchedule
from braindec.objectives.contrastive import (
    InfoNCE,
    _n_parts,
    bimixco,
    info_nce,
    inner_products,
    similarities,
    soft_clip,
)
from braindec.objectives.regression import distance
from braindec.objectives.view import StepView
from braindec.training.optimiser import first_beta, learning_rate
from braindec.training.settings import EngineSettings


def pair(batch: int = 7, width: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, width, generator=generator), torch.randn(batch, width, generator=generator)


def test_info_nce_is_open_clip_s_loss() -> None:
    open_clip = pytest.importorskip("open_clip")
    predicted, target = pair()
    predicted.requires_grad_(True)
    logits = similarities(predicted, target, "both") / 0.07
    ours = info_nce(logits, symmetric=True)
    normalise = torch.nn.functional.normalize
    theirs = open_clip.loss.ClipLoss()(normalise(predicted, dim=1), normalise(target, dim=1), torch.tensor(1 / 0.07))
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    (gradient,) = torch.autograd.grad(ours, predicted)
    (expected,) = torch.autograd.grad(theirs, predicted)
    torch.testing.assert_close(gradient, expected)


def test_one_way_info_nce_normalises_the_candidate_only() -> None:
    predicted, target = pair()
    loss = InfoNCE(temperature=0.5, symmetric=False, normalised="target")
    view = StepView({}, {"x": predicted[:, None]}, {"x": target[:, None]}, torch.arange(7))
    scores = predicted.numpy() @ (target / target.norm(dim=1, keepdim=True)).numpy().T / 0.5
    expected = np.mean([np.log(np.exp(row).sum()) - row[i] for i, row in enumerate(scores)])
    assert loss(view).item() == pytest.approx(expected, rel=1e-5)


def test_inner_products_of_long_rows_may_be_summed_in_parts() -> None:
    first, second = pair(6, 48)
    first.requires_grad_(True)
    weight = torch.randn(6, 6, generator=torch.Generator().manual_seed(3))
    whole, parts = (inner_products(first, second, n) for n in (1, 8))
    torch.testing.assert_close(parts, first @ second.T)
    (gradient,) = torch.autograd.grad((parts * weight).sum(), first)
    (expected,) = torch.autograd.grad((whole * weight).sum(), first)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("n_features", [257 * 768, 77 * 768, 256 * 1664, 16_384, 1024, 17_001])
def test_parts_are_whole_and_aligned(n_features: int) -> None:
    parts = _n_parts(n_features)
    assert n_features % parts == 0
    assert parts == 1 or (n_features // parts % 8 == 0 and 16 < parts <= 512)


def test_trials_of_one_stimulus_do_not_repel_each_other() -> None:
    predicted, target = pair(4)
    target[1] = target[0]
    logits = (similarities(predicted, target, "both") / 0.1).numpy()
    expected = 0.0
    for i in range(4):
        for scores in (logits[i], logits[:, i]):
            kept = [j for j in range(4) if {i, j} != {0, 1}]
            expected += (math.log(sum(math.exp(scores[j]) for j in kept)) - scores[i]) / 8
    view = StepView({}, {"x": predicted[:, None]}, {"x": target[:, None]}, torch.tensor([5, 5, 1, 2]))
    assert InfoNCE(temperature=0.1)(view).item() == pytest.approx(expected, rel=1e-5)


def test_soft_clip_is_its_definition() -> None:
    predicted, target = (x / x.norm(dim=1, keepdim=True) for x in pair())
    p, t = predicted.numpy().astype(np.float64), target.numpy().astype(np.float64)

    def softmax(x: np.ndarray) -> np.ndarray:
        e = np.exp(x - x.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    labels = softmax(t @ t.T / 0.1)
    expected = -(labels * np.log(softmax(p @ t.T / 0.1))).sum(axis=1).mean() / 2
    expected += -(labels * np.log(softmax(t @ p.T / 0.1))).sum(axis=1).mean() / 2
    assert soft_clip(predicted, target, 0.1).item() == pytest.approx(expected, rel=1e-5)


def test_bimixco_is_its_definition() -> None:
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    partner, share = torch.tensor([2, 1, 3, 0]), torch.tensor([0.7, 1.0, 0.4, 0.9], dtype=torch.float64)
    forward = backward = 0.0
    for i in range(4):
        row = logits[i] - torch.logsumexp(logits[i], 0)
        forward -= (share[i] * row[i] + (1 - share[i]) * row[partner[i]]) / 4
        column = logits[:, i] - torch.logsumexp(logits[:, i], 0)
        backward -= share[i] * column[i] / 4
        for j in range(4):
            if partner[j] == i:
                backward -= (1 - share[j]) * column[j] / 4
    torch.testing.assert_close(bimixco(logits, partner, share), (forward + backward) / 2)


def test_bimixco_of_unmixed_trials_is_info_nce() -> None:
    logits = torch.randn(5, 5, generator=torch.Generator().manual_seed(2))
    mixed = bimixco(logits, torch.tensor([1, 2, 3, 4, 0]), torch.ones(5))
    torch.testing.assert_close(mixed, info_nce(logits, symmetric=True))


def test_distances() -> None:
    predicted, target = (x.view(2, 2, 5) for x in pair(4))
    p, t = predicted.numpy(), target.numpy()
    cosines = (p * t).sum(2) / np.linalg.norm(p, axis=2) / np.linalg.norm(t, axis=2)
    assert distance(predicted, target, "mse").item() == pytest.approx(((p - t) ** 2).mean(), rel=1e-5)
    assert distance(predicted, target, "l1").item() == pytest.approx(np.abs(p - t).mean(), rel=1e-5)
    assert distance(predicted, target, "cosine").item() == pytest.approx(1 - cosines.mean(), rel=1e-5)


@pytest.mark.parametrize(("name", "theirs"), [("cosine", "squaredcos_cap_v2"), ("linear", "linear")])
def test_noise_schedule_noising_and_velocity_are_diffusers(name: str, theirs: str) -> None:
    diffusers = pytest.importorskip("diffusers")
    reference = diffusers.DDPMScheduler(num_train_timesteps=100, beta_schedule=theirs)
    schedule = NoiseSchedule(100, name)  # type: ignore[arg-type]
    clean, noise = (x[:, None] for x in pair())
    levels = torch.tensor([0, 1, 30, 50, 80, 98, 99])
    torch.testing.assert_close(
        schedule.add_noise(clean, noise, levels), reference.add_noise(clean, noise, levels), atol=2e-5, rtol=1e-4
    )
    torch.testing.assert_close(
        schedule.velocity(clean, noise, levels), reference.get_velocity(clean, noise, levels), atol=2e-5, rtol=1e-4
    )


@pytest.mark.parametrize("kind", ["x0", "v", "noise"])
def test_every_prediction_kind_implies_the_same_clean_embedding(kind: str) -> None:
    schedule = NoiseSchedule(100, "cosine")
    clean, noise = (x[:, None].double() for x in pair())
    levels = torch.tensor([0, 1, 30, 50, 80, 90, 95])
    noisy = schedule.add_noise(clean, noise, levels)
    aim = {"x0": clean, "noise": noise, "v": schedule.velocity(clean, noise, levels)}[kind]
    found, found_noise = schedule.clean_and_noise(aim, noisy, levels, kind)  # type: ignore[arg-type]
    torch.testing.assert_close(found, clean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found_noise, noise, atol=1e-3, rtol=1e-3)


def test_sampling_step_is_diffusers_ddim() -> None:
    diffusers = pytest.importorskip("diffusers")
    reference = diffusers.DDIMScheduler(
        num_train_timesteps=100, beta_schedule="linear", clip_sample=False, set_alpha_to_one=False, steps_offset=0
    )
    reference.set_timesteps(10)
    schedule = NoiseSchedule(100, "linear")
    noisy, predicted = (x[:, None] for x in pair())
    level, following = torch.full((7,), 90), torch.full((7,), 80)
    clean, noise = schedule.clean_and_noise(predicted, noisy, level, "noise")
    theirs = reference.step(predicted, 90, noisy).prev_sample
    torch.testing.assert_close(schedule.add_noise(clean, noise, following), theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("warmup", [0.1, 0.3])
def test_one_cycle_is_torch_s(warmup: float) -> None:
    settings = EngineSettings(epochs=1, batch_size=1, learning_rate=0.01, warmup=warmup)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.AdamW([parameter], lr=0.01)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=0.01, total_steps=50, pct_start=warmup, div_factor=25, final_div_factor=100
    )
    for update in range(50):
        assert learning_rate(settings, update, 50) == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-6)
        assert first_beta(settings, update, 50) == pytest.approx(optimiser.param_groups[0]["betas"][0], rel=1e-6)
        optimiser.step()
        reference.step()
