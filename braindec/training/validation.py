"""Scores of a network on validation trials: the objectives' losses, and retrieval among the validation stimuli.

Legend: B trials, G gallery, F features of a flattened embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import nn

from braindec.training.batches import MultiSubjectData
from braindec.training.module import TrainingModule, view_of

Precision = Callable[[], AbstractContextManager[Any]]
"""Makes a context in which the network's numbers have some precision."""
LARGEST_GALLERY = 300
"""Validation retrieval looks at the trials of at most so many stimuli."""


@torch.no_grad()
def validate(
    module: TrainingModule, data: MultiSubjectData, batch_size: int, seed: int, precision: Precision
) -> dict[str, float]:
    """Mean losses over trials, objectives weighed as at the end of training, and top-1 retrieval of targets, if any.

    Objectives that change over training would otherwise make epochs incomparable. Random numbers (of priors) are the
    same at each call; the next update seeds its own. The network alone runs in ``precision``, as in training.
    """
    module.eval()
    torch.manual_seed(seed)
    sums: dict[str, torch.Tensor] = {}
    n_trials = 0
    hits: list[torch.Tensor] = []
    gallery = _gallery(data)
    for subject, stimuli in data.stimulus_N.items():
        for start in range(0, len(stimuli), batch_size):
            rows = np.arange(start, min(start + batch_size, len(stimuli)))
            batch = data.batch({subject: rows})
            with precision():
                outputs = module.network(batch.signals, batch.targets, None)
            total, losses = module.objectives(view_of(outputs, batch, 1.0, None))
            for name, loss in {"loss": total, **losses}.items():
                sums[name] = sums.get(name, 0) + loss * len(rows)
            n_trials += len(rows)
            hits.extend(_hits(outputs.contrast[name], gallery[name], batch.stimulus_B) for name in gallery)
    module.train()
    scores = {f"validation_{name}": float(total) / n_trials for name, total in sums.items()}
    if hits:
        scores["validation_retrieval"] = float(torch.cat(hits).mean())
    return scores


def _gallery(data: MultiSubjectData) -> dict[str, torch.Tensor]:
    numbers = np.arange(min(data.n_stimuli, LARGEST_GALLERY))
    return {name: nn.functional.normalize(data.target(name, numbers).flatten(1), dim=1) for name in data.targets}


def _hits(contrast_BKD: torch.Tensor, gallery_GF: torch.Tensor, stimulus_B: torch.Tensor) -> torch.Tensor:
    inside = stimulus_B < len(gallery_GF)
    best = (contrast_BKD[inside].float().flatten(1) @ gallery_GF.T).argmax(dim=1)
    return (best == stimulus_B[inside]).float()
