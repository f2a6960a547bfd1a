"""Gradient maps of neural decoders: where a small change of the signal changes what is decoded.

Legend: N trials, S space, T time, K tokens, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from braindec.training.neural import NeuralDecoder
from braindec.types import Trials

_BATCH = 64

Scalar = Callable[[torch.Tensor], torch.Tensor]
"""Decoded values (N, K, D) -> one number a trial (N,)."""


def gradients(decoder: NeuralDecoder, trials: Trials, target: str, scalar: Scalar, device: str) -> np.ndarray:
    """Gradient of a number a trial with respect to the trial's signal, float32 (N, S, T)."""
    parts = []
    for start in range(0, len(trials), _BATCH):
        signal = torch.from_numpy(np.array(trials.signal[start : start + _BATCH])).to(device).requires_grad_()
        decoded = decoder.values_of(signal, trials.subject)[target]
        (found,) = torch.autograd.grad(scalar(decoded).sum(), signal)
        parts.append(found.float().cpu().numpy())
    return np.concatenate(parts)


def sensitivity(
    decoder: NeuralDecoder, trials: Trials, target: str, device: str, n_probes: int, seed: int
) -> np.ndarray:
    """How much a standard deviation of the signal at each position and time moves the decoded target, float32 (S, T).

    The root over trials and values of the mean squared derivative, times the signal's standard deviation. The sum over
    values of squared derivatives is estimated from ``n_probes`` random sums of the values.

    Source: Simonyan, Vedaldi & Zisserman 2014, "Deep inside convolutional networks" (gradients as maps); Hutchinson
    1990 for the estimate of a sum of squares by random signs.
    """
    generator = torch.Generator().manual_seed(seed)
    shape_KD = decoder.shapes_[target]
    total_ST = np.zeros(trials.signal.shape[1:])
    for _ in range(n_probes):
        signs = (2 * torch.randint(0, 2, shape_KD, generator=generator) - 1).to(device)
        found_NST = gradients(decoder, trials, target, partial(_signed_sum, signs), device)
        total_ST += (found_NST.astype(np.float64) ** 2).mean(axis=0)
    n_values = shape_KD[0] * shape_KD[1]
    spread_ST = np.asarray(trials.signal, dtype=np.float64).std(axis=0)
    return (np.sqrt(total_ST / (n_probes * n_values)) * spread_ST).astype(np.float32)


def similarity_gradient(
    decoder: NeuralDecoder, trials: Trials, target: str, embedding_KD: np.ndarray, device: str
) -> np.ndarray:
    """How a standard deviation of the signal moves the decoded target's cosine with an embedding, float32 (S, T).

    The mean gradient over trials, times the signal's standard deviation; positive where more signal means more alike.
    """
    wanted = torch.from_numpy(np.asarray(embedding_KD, dtype=np.float32)).to(device).flatten()

    def cosine(values_NKD: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cosine_similarity(values_NKD.flatten(1), wanted[None], dim=1)

    found_NST = gradients(decoder, trials, target, cosine, device).astype(np.float64)
    return (found_NST.mean(axis=0) * np.asarray(trials.signal, dtype=np.float64).std(axis=0)).astype(np.float32)


def _signed_sum(signs_KD: torch.Tensor, values_NKD: torch.Tensor) -> torch.Tensor:
    return (values_NKD * signs_KD).sum((1, 2))
