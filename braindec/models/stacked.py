"""Stacked ridge: one ridge a ROI, joined by non-negative weights fitted to their held-out predictions.

Legend: N trials, P features, U distinct training stimuli, T targets, R ROIs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from braindec.contracts import FitContext
from braindec.models.linear import SubjectData, SubjectwiseDecoder, open_stream
from braindec.models.linear_map import FeatureFrame, LinearMap
from braindec.models.ridge import Precision, RidgeSystem, onto_rows, operator, ridge_system
from braindec.models.ridge_cv import HeldOut, Selection, held_out_matrix, leave_out_labels, target_gram
from braindec.models.ridge_targets import columns_alpha
from braindec.types import DataError


def stacking_weights(held_out: list[torch.Tensor], identity: torch.Tensor, gram: torch.Tensor) -> np.ndarray:
    """Non-negative weights (R,) of held-out predictions that minimise the squared error summed over all targets.

    Parameters
    ----------
    held_out : for each ROI the matrix F (N, U) that maps centred targets to its held-out predictions.
    identity : (N, U), maps targets to themselves by trial.
    gram : ``Y Y'`` (U, U) of the centred targets.

    Notes
    -----
    Only inner products of predictions enter: ``<F_r Y, F_s Y> = <F_r (Y Y'), F_s>``.

    Source: Breiman 1996, stacked regressions (non-negativity, held-out predictions).
    """
    from scipy.optimize import nnls

    products = [matrix @ gram for matrix in held_out]
    inner = np.array([[float((a * b).double().sum()) for b in held_out] for a in products])
    right = np.array([float((a * identity).double().sum()) for a in products])
    values, vectors = np.linalg.eigh((inner + inner.T) / 2)
    kept = values > max(values.max(), 0) * 1e-10
    if not kept.any():
        return np.zeros(len(right))
    root = np.sqrt(values[kept])
    return nnls(root[:, None] * vectors[:, kept].T, (vectors[:, kept].T @ right) / root)[0]


class StackedRidgeDecoder(SubjectwiseDecoder):
    """One ridge a ROI with its own alpha; their sum is weighted for each target array.

    Parameters
    ----------
    rois : names of the ROIs, each one model; ROIs may overlap.
    alphas : candidate penalties, shared by all ROIs and targets.
    selection, n_folds, intercept, precision : as in `RidgeDecoder`. Alphas and stacking weights are fitted to the same
        held-out predictions of the training trials.

    Source: Breiman 1996; Lin, Naselaris, Henderson, Tarr & Wehbe 2024 (stacked regression of feature spaces in fMRI).
    """

    def __init__(
        self,
        rois: list[str],
        alphas: list[float],
        selection: Selection = "loo",
        n_folds: int = 5,
        intercept: bool = True,
        precision: Precision = "float32",
    ) -> None:
        super().__init__()
        self.rois = rois
        self.alphas = alphas
        self.selection: Selection = selection
        self.n_folds = n_folds
        self.intercept = intercept
        self.precision = precision

    def _fit_subject(self, data: SubjectData, context: FitContext) -> tuple[dict[str, LinearMap], dict[str, Any]]:
        if not self.rois:
            raise DataError("StackedRidgeDecoder: rois names no ROI; name at least one")
        labels = leave_out_labels(data.position_N, self.selection, self.n_folds, context.seed)
        frames = {roi: FeatureFrame.of(data.trials, [roi]) for roi in self.rois}
        systems = {
            roi: ridge_system(
                f.features(data.trials), data.position_N, self.intercept, context.device, self.precision, form="dual"
            )
            for roi, f in frames.items()
        }
        errors = {roi: HeldOut(system, np.array(self.alphas), labels) for roi, system in systems.items()}
        any_system = next(iter(systems.values()))
        joint = FeatureFrame.of(data.trials, self.rois)
        mean_P = _mean_features(joint, frames, systems)
        eye = torch.eye(len(data.position_N), dtype=any_system.dtype, device=any_system.device)
        identity = onto_rows(any_system, eye)
        maps, report = {}, {}
        for name in data.columns:
            stream = open_stream(any_system, data, name)
            gram, total = target_gram(stream)
            scores = {roi: 1 - e.group_errors(gram).cpu().numpy() / max(total, 1e-300) for roi, e in errors.items()}
            alphas = {roi: float(self.alphas[int(score.argmax())]) for roi, score in scores.items()}
            held_out = [identity - onto_rows(s, held_out_matrix(s, alphas[roi], labels)) for roi, s in systems.items()]
            weights = stacking_weights(held_out, identity, gram)
            joined = torch.zeros(len(mean_P), any_system.n_rows, dtype=any_system.dtype, device=any_system.device)
            for weight, (roi, system) in zip(weights, systems.items()):
                joined[_feature_rows(joint, frames[roi])] += float(weight) * operator(system, alphas[roi])
            maps[name] = LinearMap.from_operators(
                joint,
                mean_P,
                stream,
                {0.0: joined},
                columns_alpha(0.0, stream.n_columns),
                data.shapes[name],
                context.folder / f"{data.trials.subject}-{name}",
            )
            report[name] = {
                "alpha": alphas,
                "weights": {roi: float(weight) for roi, weight in zip(systems, weights)},
                "held_out_r2": {roi: float(score.max()) for roi, score in scores.items()},
                "selection": self.selection,
            }
        return maps, report


def _feature_rows(joint: FeatureFrame, part: FeatureFrame) -> torch.Tensor:
    """Rows of the features of ``part`` among those of ``joint``."""
    where = np.searchsorted(joint.positions, part.positions)
    return torch.from_numpy((where[:, None] * joint.n_times + np.arange(joint.n_times)).ravel())


def _mean_features(
    joint: FeatureFrame, frames: Mapping[str, FeatureFrame], systems: Mapping[str, RidgeSystem]
) -> np.ndarray:
    """Training means of the features of ``joint``, put together from those of its parts."""
    first = next(iter(systems.values())).mean_P
    mean_P = torch.zeros(len(joint.positions) * joint.n_times, dtype=first.dtype)
    for roi, system in systems.items():
        mean_P[_feature_rows(joint, frames[roi])] = system.mean_P.cpu()
    return mean_P.numpy()
