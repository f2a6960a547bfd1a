"""Gradient maps of neural decoders: where a small change of the signal changes what is decoded.

Legend: N trials, S space, T time, P = S x T, K tokens, D dimensions, C = K x D, W words, R directions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class GradientMap:
    """How a standard deviation of the signal moves the decoded similarity to an embedding.

    Attributes
    ----------
    gradient_ST : float32, the mean over trials, times the signal's standard deviation; positive where more signal means
        more alike.
    p_value_ST : float64, share of permuted embeddings (the given one counted in) that move as much.
    """

    gradient_ST: np.ndarray
    p_value_ST: np.ndarray


def similarity_gradients(
    decoder: NeuralDecoder,
    trials: Trials,
    target: str,
    embeddings_WC: np.ndarray,
    n_permutations: int,
    n_trials: int,
    seed: int,
    device: str,
) -> list[GradientMap]:
    """Where a network reads single words (W of them) of a target with C = K x D values, and not just any direction.

    The similarity is that of `braindec.signals.patterns.localise`: the inner product of what is decoded, in the
    target's own scale, with the embedding less its part along the mean of what is decoded. Permutations exchange the
    embedding's dimensions.

    Parameters
    ----------
    n_trials : so many trials, drawn by ``seed``, are used at most: with more values than permutations each of these
        costs a backward pass.

    Source: Simonyan, Vedaldi & Zisserman 2014 for gradients as maps.
    """
    rng = np.random.default_rng(seed)
    few = trials.select(np.sort(rng.permutation(len(trials))[:n_trials]))
    scaling = decoder.scalings_[target]
    scale_C = scaling.scale.ravel().astype(np.float64)
    mean_C = _mean_decoded(decoder, few, target, device) * scale_C + scaling.mean.ravel()
    shared = float(mean_C @ mean_C)
    spread_P = np.asarray(few.signal, dtype=np.float64).std(axis=0).ravel()
    shape_ST, found = few.signal.shape[1:], []
    n_values = len(scale_C)
    jacobian_CP = mean_gradients(decoder, few, target, np.eye(n_values), device) if n_values <= n_permutations else None
    for embedding_C in np.asarray(embeddings_WC, dtype=np.float64):
        # A word at a time and in half width: of 257 x 768 values a thousand directions are 0.8 GB.
        directions_RC = np.empty((n_permutations + 1, n_values), dtype=np.float32)
        for row in range(n_permutations + 1):
            own_C = rng.permutation(embedding_C) if row else embedding_C
            along = own_C @ mean_C / shared if shared > 0 else 0.0
            directions_RC[row] = (own_C - along * mean_C) * scale_C
        if jacobian_CP is None:
            maps_RP = mean_gradients(decoder, few, target, directions_RC, device)
        else:
            maps_RP = directions_RC @ jacobian_CP
        size_RP = np.abs(maps_RP)
        p_value_P = (size_RP >= size_RP[:1] * (1 - 1e-9)).mean(axis=0)
        gradient_ST = (maps_RP[0] * spread_P).reshape(shape_ST).astype(np.float32)
        found.append(GradientMap(gradient_ST, p_value_P.reshape(shape_ST)))
    return found


def mean_gradients(
    decoder: NeuralDecoder, trials: Trials, target: str, directions_RC: np.ndarray, device: str
) -> np.ndarray:
    """Mean over trials of the gradient of what is decoded along directions of it, float64 (R, S * T)."""
    total_RP = np.zeros((len(directions_RC), int(np.prod(trials.signal.shape[1:]))))
    directions = torch.from_numpy(np.asarray(directions_RC, dtype=np.float32)).to(device)
    for start in range(0, len(trials), _BATCH):
        signal = torch.from_numpy(np.array(trials.signal[start : start + _BATCH])).to(device).requires_grad_()
        decoded_C = decoder.values_of(signal, trials.subject)[target].flatten(1).sum(0)
        for row, direction_C in enumerate(directions):
            (found,) = torch.autograd.grad(decoded_C, signal, direction_C.to(decoded_C.dtype), retain_graph=True)
            total_RP[row] += found.double().sum(0).flatten().cpu().numpy()
    return total_RP / len(trials)


@torch.no_grad()
def _mean_decoded(decoder: NeuralDecoder, trials: Trials, target: str, device: str) -> np.ndarray:
    """Mean over trials of what is decoded, in the network's scale, float64 (C,)."""
    total_C = np.zeros(int(np.prod(decoder.shapes_[target])))
    for start in range(0, len(trials), _BATCH):
        signal = torch.from_numpy(np.array(trials.signal[start : start + _BATCH])).to(device)
        total_C += decoder.values_of(signal, trials.subject)[target].double().sum(0).flatten().cpu().numpy()
    return total_C / len(trials)


def _signed_sum(signs_KD: torch.Tensor, values_NKD: torch.Tensor) -> torch.Tensor:
    return (values_NKD * signs_KD).sum((1, 2))
