"""Decoding by inverting an encoding model under a Gaussian prior, with the noise measured between repetitions.

Legend: N training trials, U distinct training stimuli, P features (S x T), T flattened target values.

Model: ``r = r0 + (x - mu) W + noise``, ``noise ~ N(0, Sigma)``, ``x ~ N(mu, K)``. With few stimuli and many features
W has rank U - 1 at most: it is ``C' B``, B (U, P) the mean responses and C (U, T) what writes a picture as a mixture
of training pictures. Then every inverse is of size U or N, and the posterior mean of x is linear in r.

Source: linear-Gaussian encoding and its inversion as in Thirion et al. 2006 (inverse retinotopy) and Naselaris et al.
2009 (Bayesian reconstruction); posterior mean of a linear Gaussian model as in Bishop 2006, eq. 2.116.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from braindec.contracts import FitContext
from braindec.models.linear import SubjectData, SubjectwiseDecoder
from braindec.models.linear_map import FeatureFrame, LinearMap
from braindec.models.ridge_cv import Selection, leave_out_labels
from braindec.signals.check import check_finite
from braindec.types import DataError

VARIANCE_FLOOR = 1e-6
"""Smallest noise variance of a feature, relative to the mean over features: keeps a constant feature harmless."""


@dataclass(frozen=True)
class Patterns:
    """Mean responses to the distinct stimuli, and what the trials scatter around them.

    Attributes
    ----------
    mean_P : mean over stimuli.
    signal_UP : mean response of each stimulus minus ``mean_P``, each feature shrunk by its reliability.
    residual_NP : trial minus its stimulus's mean response.
    variance_P : unbiased noise variance, floored.
    dof : degrees of freedom N - U of the residuals.
    """

    mean_P: np.ndarray
    signal_UP: np.ndarray
    residual_NP: np.ndarray
    variance_P: np.ndarray
    dof: int


def measure_patterns(x_NP: np.ndarray, position_N: np.ndarray) -> Patterns:
    """Patterns and noise of trials whose stimulus is ``position_N`` (0-based, none left out).

    Each feature's pattern is multiplied by ``max(0, 1 - 1/F)``, F its ratio of between- to within-stimulus mean
    squares, which is the positive-part James-Stein shrinkage towards no response. Features are judged one by one: one
    that only carries noise shared with others (F below 1) is dropped, though it could help to cancel theirs.

    Raises
    ------
    DataError
        If no stimulus repeats, or nothing varies between the repetitions.

    Source: Efron & Morris 1973 (shrinkage by the F ratio).
    """
    count_U = np.bincount(position_N)
    n_stimuli = len(count_U)
    dof = len(x_NP) - n_stimuli
    if dof < 1:
        raise DataError(
            f"noise covariance: {len(x_NP)} training trials of {n_stimuli} stimuli hold no repetition; train on single "
            "trials (average_train=false) of a data set that repeats its stimuli, or choose decoder=ridge"
        )
    response_UP = np.zeros((n_stimuli, x_NP.shape[1]))
    np.add.at(response_UP, position_N, x_NP)
    response_UP /= count_U[:, None]
    residual_NP = x_NP - response_UP[position_N]
    variance_P = (residual_NP**2).sum(0) / dof
    if not variance_P.any():
        raise DataError("noise covariance: repetitions of a stimulus are identical, so there is no noise to measure")
    variance_P = np.maximum(variance_P, VARIANCE_FLOOR * variance_P.mean())
    mean_P = response_UP.mean(0)
    signal_UP = response_UP - mean_P
    between_P = (count_U[:, None] * signal_UP**2).sum(0) / max(1, n_stimuli - 1)
    with np.errstate(divide="ignore"):
        reliability_P = np.maximum(0.0, 1.0 - variance_P / between_P)
    return Patterns(mean_P, signal_UP * reliability_P, residual_NP, variance_P, dof)


def whitened_patterns(patterns: Patterns, shrinkage: float) -> np.ndarray:
    """``signal_UP Sigma^-1`` with ``Sigma = shrinkage * diag(variance) + (1 - shrinkage) * residual' residual / dof``.

    The matrix inversion lemma keeps the inverse at size N.
    """
    white_UP = patterns.signal_UP / (shrinkage * patterns.variance_P)
    scaled_NP = patterns.residual_NP * np.sqrt((1.0 - shrinkage) / patterns.dof)
    white_NP = scaled_NP / (shrinkage * patterns.variance_P)
    core_NN = np.eye(len(scaled_NP)) + white_NP @ scaled_NP.T
    return white_UP - np.linalg.solve(core_NN, scaled_NP @ white_UP.T).T @ white_NP


def smooth_pixels(values_UT: np.ndarray, length_px: float, shape_KD: tuple[int, int]) -> np.ndarray:
    """``values_UT K`` with ``K = exp(-distance^2 / (2 length^2))`` between pixels; the identity at length 0.

    Raises
    ------
    DataError
        If the length is positive and the target is not a square picture of 1 or 3 channels in one token.
    """
    if length_px == 0:
        return values_UT
    n_tokens, n_dims = shape_KD
    sides = {c: round((n_dims / c) ** 0.5) for c in (1, 3)}
    fitting = [c for c, side in sides.items() if side * side * c == n_dims]
    if n_tokens != 1 or not fitting:
        raise DataError(
            f"smoothness_px: the target has {n_tokens} tokens of {n_dims} values, which is no square picture of 1 or 3 "
            "channels; use smoothness_px=[0]"
        )
    side = sides[fitting[0]]
    offset = np.arange(side)[:, None] - np.arange(side)
    kernel = np.exp(-(offset**2) / (2.0 * length_px**2))
    pictures = values_UT.reshape(len(values_UT), side, side, fitting[0])
    return np.einsum("hi,wj,uijc->uhwc", kernel, kernel, pictures, optimize=True).reshape(len(values_UT), -1)


def inversion(
    patterns: Patterns,
    white_UP: np.ndarray,
    centred_UT: np.ndarray,
    shape_KD: tuple[int, int],
    length_px: float,
    prior_scale: float,
    encoding_ridge: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Maps (P, U) and values (U, T) whose product turns ``r - r0`` into the posterior mean of ``x - mu``.

    Parameters
    ----------
    white_UP : from `whitened_patterns`.
    centred_UT : training targets minus their mean over stimuli.
    length_px, prior_scale : ``K`` is `smooth_pixels`'s kernel times ``prior_scale`` times the mean training variance
        of a target value.
    encoding_ridge : penalty of the encoding weights, relative to the mean squared norm of a centred target.

    Notes
    -----
    With ``G = B Sigma^-1 B'`` and ``M = C K C'`` the posterior mean ``K W' (W' .. + Sigma)^-1 (r - r0)`` becomes
    ``(r - r0) Sigma^-1 B' (I + M G)^-1 C K``.
    """
    n_stimuli = len(centred_UT)
    gram_UU = centred_UT @ centred_UT.T
    penalty = encoding_ridge * np.trace(gram_UU) / n_stimuli
    if penalty == 0:
        raise DataError("encoding model: the training stimuli have identical targets, so nothing can be told apart")
    mixture_UT = np.linalg.solve(gram_UU + penalty * np.eye(n_stimuli), centred_UT)
    values_UT = prior_scale * (centred_UT**2).mean() * smooth_pixels(mixture_UT, length_px, shape_KD)
    information_UU = white_UP @ patterns.signal_UP.T
    prior_UU = values_UT @ mixture_UT.T
    maps_PU = np.linalg.solve((np.eye(n_stimuli) + prior_UU @ information_UU).T, white_UP).T
    return maps_PU, values_UT


class EncodingInversionDecoder(SubjectwiseDecoder):
    """Posterior mean of the target under a linear encoding model, a Gaussian prior and the measured noise covariance.

    For data sets with few stimuli and repetitions in training: it costs O(N^2 P) and keeps U x T numbers. Computed in
    float64 on the CPU. The three settings are chosen together, one choice a target, by the correlation between
    predicted and true target of held-out training trials (mean over trials); all trials of a stimulus are held out
    together.

    Parameters
    ----------
    noise_shrinkages : candidate weights in (0, 1] of the diagonal in the noise covariance; 1 ignores correlations.
    smoothness_px : candidate correlation lengths of the prior between pixels of a square picture; 0 for none, and for
        targets that are no picture.
    prior_scales : candidate prior variances, relative to the mean variance of a target value over training stimuli.
    encoding_ridge : relative penalty of the encoding weights (see `inversion`).
    selection, n_folds : as in `RidgeDecoder`.
    """

    def __init__(
        self,
        noise_shrinkages: list[float],
        smoothness_px: list[float],
        prior_scales: list[float],
        encoding_ridge: float = 0.01,
        selection: Selection = "loo",
        n_folds: int = 5,
    ) -> None:
        super().__init__()
        if not noise_shrinkages or not all(0 < s <= 1 for s in noise_shrinkages):
            raise DataError(f"noise_shrinkages: expected numbers above 0 and up to 1, found {noise_shrinkages}")
        if not smoothness_px or not all(length >= 0 for length in smoothness_px):
            raise DataError(f"smoothness_px: expected lengths of 0 or more, found {smoothness_px}")
        if not prior_scales or not all(scale > 0 for scale in prior_scales):
            raise DataError(f"prior_scales: expected positive numbers, found {prior_scales}")
        if not encoding_ridge > 0:
            raise DataError(f"encoding_ridge: expected a positive number, found {encoding_ridge}")
        self.noise_shrinkages = noise_shrinkages
        self.smoothness_px = smoothness_px
        self.prior_scales = prior_scales
        self.encoding_ridge = encoding_ridge
        self.selection: Selection = selection
        self.n_folds = n_folds

    def _fit_subject(self, data: SubjectData, context: FitContext) -> tuple[dict[str, LinearMap], dict[str, Any]]:
        check_finite(data.trials)
        frame = FeatureFrame.of(data.trials, None)
        x_NP = frame.features(data.trials).astype(np.float64)
        maps: dict[str, LinearMap] = {}
        report: dict[str, Any] = {}
        for name, columns in data.columns.items():
            target_UT = np.asarray(columns.values[columns.rows], dtype=np.float64)
            if not np.isfinite(target_UT).all():
                raise DataError(f"target {name!r}: holds NaN or infinite values; remove or repair them")
            choice, report[name] = self._choose(x_NP, data.position_N, target_UT, data.shapes[name], context.seed)
            maps[name] = self._map(frame, x_NP, data.position_N, target_UT, data.shapes[name], choice)
        return maps, report

    def _map(
        self,
        frame: FeatureFrame,
        x_NP: np.ndarray,
        position_N: np.ndarray,
        target_UT: np.ndarray,
        shape_KD: tuple[int, int],
        choice: tuple[float, float, float],
    ) -> LinearMap:
        shrinkage, length_px, scale = choice
        patterns = measure_patterns(x_NP, position_N)
        mean_T = target_UT.mean(0)
        maps_PU, values_UT = inversion(
            patterns,
            whitened_patterns(patterns, shrinkage),
            target_UT - mean_T,
            shape_KD,
            length_px,
            scale,
            self.encoding_ridge,
        )
        return LinearMap(
            frame=frame,
            mean_P=patterns.mean_P,
            maps_QPU=maps_PU[None],
            map_of_T=np.zeros(len(mean_T), np.int32),
            values_RT=values_UT,
            centre_T=np.zeros(len(mean_T)),
            intercept_T=mean_T,
            shape_KD=shape_KD,
        )

    def _choose(
        self, x_NP: np.ndarray, position_N: np.ndarray, target_UT: np.ndarray, shape_KD: tuple[int, int], seed: int
    ) -> tuple[tuple[float, float, float], dict[str, Any]]:
        candidates = list(itertools.product(self.noise_shrinkages, self.smoothness_px, self.prior_scales))
        scores = np.zeros(len(candidates))
        if len(candidates) > 1:
            label_N = leave_out_labels(position_N, self.selection, self.n_folds, seed)
            for label in np.unique(label_N):
                scores += self._held_out(x_NP, position_N, target_UT, shape_KD, label_N == label) / len(x_NP)
        best = int(scores.argmax())
        names = ("noise_shrinkage", "smoothness_px", "prior_scale")
        report: dict[str, Any] = dict(zip(names, map(float, candidates[best])))
        if len(candidates) > 1:
            report |= {"held_out_correlation": float(scores[best]), "n_candidates": len(candidates)}
        return candidates[best], report

    def _held_out(
        self,
        x_NP: np.ndarray,
        position_N: np.ndarray,
        target_UT: np.ndarray,
        shape_KD: tuple[int, int],
        held_N: np.ndarray,
    ) -> np.ndarray:
        """Sum over held-out trials of their correlation with the truth, one a candidate in product order."""
        kept, inner_N = np.unique(position_N[~held_N], return_inverse=True)
        patterns = measure_patterns(x_NP[~held_N], inner_N)
        mean_T = target_UT[kept].mean(0)
        truth = target_UT[position_N[held_N]]
        sums = []
        for shrinkage in self.noise_shrinkages:
            white_UP = whitened_patterns(patterns, shrinkage)
            for length_px, scale in itertools.product(self.smoothness_px, self.prior_scales):
                maps_PU, values_UT = inversion(
                    patterns, white_UP, target_UT[kept] - mean_T, shape_KD, length_px, scale, self.encoding_ridge
                )
                predicted = (x_NP[held_N] - patterns.mean_P) @ maps_PU @ values_UT + mean_T
                sums.append(_row_correlation(predicted, truth).sum())
        return np.array(sums)


def _row_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson correlation of matching rows, 0 where a row is constant."""
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    norm = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.divide((a * b).sum(1), norm, out=np.zeros(len(a)), where=norm > 0)
