"""Noise schedules of diffusion and a deterministic sampler. Legend: B batch, K tokens, D dimensions, N noise levels.

Source: Ho et al. 2020 (linear), Nichol & Dhariwal 2021, equation 17 (cosine), Salimans & Ho 2022 (v), Song et al. 2021,
equation 12 with eta = 0 (sampling).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn

from braindec.types import DataError

ScheduleName = Literal["cosine", "linear"]
PredictionKind = Literal["x0", "v", "noise"]


class NoiseSchedule(nn.Module):
    """Shares of signal and noise at N levels; level 0 has least noise.

    ``cosine`` caps each step's beta at 0.999; ``linear`` runs from 1e-4 to 0.02.
    """

    def __init__(self, n_levels: int, name: ScheduleName) -> None:
        super().__init__()
        if name == "linear":
            beta = torch.linspace(1e-4, 0.02, n_levels, dtype=torch.float64, device="cpu")
        else:
            edges = torch.arange(n_levels + 1, dtype=torch.float64, device="cpu") / n_levels
            kept = torch.cos((edges + 0.008) / 1.008 * math.pi / 2) ** 2
            beta = (1 - kept[1:] / kept[:-1]).clamp(max=0.999)
        kept = torch.cumprod(1 - beta, dim=0)
        self.n_levels = n_levels
        # Recomputed from the settings, so never part of a state.
        self.register_buffer("signal_N", kept.sqrt().float(), persistent=False)
        self.register_buffer("noise_N", (1 - kept).sqrt().float(), persistent=False)

    def shares(self, level_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Factors (B, 1, 1) of signal and noise."""
        return self.signal_N[level_B][:, None, None], self.noise_N[level_B][:, None, None]  # type: ignore[index]

    def add_noise(self, clean_BKD: torch.Tensor, noise_BKD: torch.Tensor, level_B: torch.Tensor) -> torch.Tensor:
        """Noisy embeddings."""
        signal, noise = self.shares(level_B)
        return signal * clean_BKD + noise * noise_BKD

    def velocity(self, clean_BKD: torch.Tensor, noise_BKD: torch.Tensor, level_B: torch.Tensor) -> torch.Tensor:
        """What a v-predicting network predicts."""
        signal, noise = self.shares(level_B)
        return signal * noise_BKD - noise * clean_BKD

    def clean_and_noise(
        self, predicted: torch.Tensor, noisy_BKD: torch.Tensor, level_B: torch.Tensor, kind: PredictionKind
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The clean embedding and the noise that a prediction implies."""
        signal, noise = self.shares(level_B)
        if kind == "x0":
            return predicted, (noisy_BKD - signal * predicted) / noise
        if kind == "v":
            return signal * noisy_BKD - noise * predicted, noise * noisy_BKD + signal * predicted
        return (noisy_BKD - noise * predicted) / signal, predicted

    def levels(self, n_steps: int) -> list[int]:
        """Levels visited by a sampler of ``n_steps`` steps, from most noise to least."""
        if not 1 <= n_steps <= self.n_levels:
            raise DataError(f"prior: expected 1 to {self.n_levels} sampling steps, found {n_steps}")
        return torch.linspace(self.n_levels - 1, 0, n_steps, device="cpu").round().long().tolist()
