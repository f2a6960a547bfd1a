"""Parameter groups and the learning rate as a function of the update, so that there is no scheduler state to save."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn

from braindec.training.settings import EngineSettings

ONE_CYCLE_START = 25.0
ONE_CYCLE_END = 100.0
ONE_CYCLE_MOMENTUM = (0.95, 0.85)


def make_optimiser(module: nn.Module, settings: EngineSettings, device: torch.device) -> torch.optim.AdamW:
    """AdamW over the trainable parameters: matrices decay, vectors do not, a module's own ``weight_decay`` wins."""
    groups: dict[float, list[nn.Parameter]] = {}
    for parameter, decay in _with_decay(module, settings.weight_decay, set()):
        groups.setdefault(decay if parameter.ndim > 1 else 0.0, []).append(parameter)
    return torch.optim.AdamW(
        [{"params": parameters, "weight_decay": decay} for decay, parameters in sorted(groups.items())],
        lr=settings.learning_rate,
        betas=settings.adam_betas,
        fused=device.type in ("cuda", "cpu"),
    )


def _with_decay(module: nn.Module, decay: float, seen: set[int]) -> Iterator[tuple[nn.Parameter, float]]:
    own = getattr(module, "weight_decay", None)
    decay = decay if own is None else float(own)
    for parameter in module.parameters(recurse=False):
        if parameter.requires_grad and id(parameter) not in seen:
            seen.add(id(parameter))
            yield parameter, decay
    for child in module.children():
        yield from _with_decay(child, decay, seen)


def learning_rate(settings: EngineSettings, update: int, n_updates: int) -> float:
    """Learning rate of update ``update`` (0-based) of ``n_updates``."""
    peak = settings.learning_rate
    if settings.schedule == "one_cycle":
        turn = settings.warmup * n_updates - 1
        low = peak / ONE_CYCLE_START
        if update <= turn:
            return _cosine(low, peak, update / turn if turn > 0 else 1.0)
        return _cosine(peak, low / ONE_CYCLE_END, (update - turn) / max(n_updates - 1 - turn, 1e-9))
    n_warm = settings.warmup * n_updates
    if update < n_warm:
        return peak * (update + 1) / math.ceil(n_warm)
    if settings.schedule == "constant":
        return peak
    return _cosine(peak, 0.0, (update - n_warm) / max(n_updates - n_warm, 1))


def first_beta(settings: EngineSettings, update: int, n_updates: int) -> float:
    """Adam's first beta: a one-cycle schedule moves it against the learning rate (Smith & Topin 2018)."""
    if settings.schedule != "one_cycle":
        return settings.adam_betas[0]
    high, low = ONE_CYCLE_MOMENTUM
    turn = settings.warmup * n_updates - 1
    if update <= turn:
        return _cosine(high, low, update / turn if turn > 0 else 1.0)
    return _cosine(low, high, (update - turn) / max(n_updates - 1 - turn, 1e-9))


def set_rates(optimiser: torch.optim.Optimizer, settings: EngineSettings, update: int, n_updates: int) -> float:
    """Prepare the optimiser for an update; returns the learning rate."""
    rate = learning_rate(settings, update, n_updates)
    for group in optimiser.param_groups:
        group["lr"] = rate
        group["betas"] = (first_beta(settings, update, n_updates), settings.adam_betas[1])
    return rate


def _cosine(first: float, last: float, share: float) -> float:
    return last + (first - last) / 2 * (1 + math.cos(math.pi * min(max(share, 0.0), 1.0)))
