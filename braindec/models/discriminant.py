"""Linear discriminant analysis with a shrunk covariance, fast when features outnumber trials.

Legend: N trials, F features, C classes.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from braindec.models.classifier import ConceptClassifier
from braindec.signals.shrinkage import ledoit_wolf_shrinkage
from braindec.types import DataError


def shrunk_solve(residual_NF: np.ndarray, shrinkage: float, right_FC: np.ndarray) -> np.ndarray:
    """Solve ((1 - s) R'R/N + s m I) X = right, m being the mean variance; (F, C).

    With fewer trials than features the Woodbury identity leaves a system of N equations.
    """
    n_trials, n_features = residual_NF.shape
    ridge = shrinkage * float((residual_NF**2).sum()) / (n_trials * n_features)
    weight = (1 - shrinkage) / n_trials
    if n_features <= n_trials or ridge == 0:
        covariance_FF = weight * residual_NF.T @ residual_NF + ridge * np.eye(n_features)
        return np.linalg.lstsq(covariance_FF, right_FC)[0] if ridge == 0 else np.linalg.solve(covariance_FF, right_FC)
    inner_NN = ridge / weight * np.eye(n_trials) + residual_NF @ residual_NF.T if weight else np.eye(n_trials)
    inside = residual_NF.T @ np.linalg.solve(inner_NN, residual_NF @ right_FC) if weight else 0.0
    return (right_FC - inside) / ridge


class LinearDiscriminant(ConceptClassifier):
    """Linear discriminant analysis of concepts: Gaussian classes with one shared, shrunk covariance.

    Features are divided by their pooled standard deviation within classes first, so that shrinkage treats a voxel or
    channel alike whatever its unit; features that do not vary are left out.

    Parameters
    ----------
    target : name of the one-hot target.
    shrinkage : share of the identity in the covariance, in (0, 1], or ``ledoit_wolf`` for the analytic optimum.
    priors : ``uniform``, or ``empirical`` for the classes' shares of the training trials.
    window_s : time window (start, stop) of the trials that is looked at; None takes all of it.
    bin_s : average the signal in bins of this width; None takes every time point.

    Source: Fisher 1936; shrinkage for single-trial ERPs: Blankertz et al. 2011, "Single-trial analysis and
    classification of ERP components".
    """

    def __init__(
        self,
        target: str = "concepts",
        shrinkage: float | Literal["ledoit_wolf"] = "ledoit_wolf",
        priors: Literal["uniform", "empirical"] = "uniform",
        window_s: tuple[float, float] | None = None,
        bin_s: float | None = None,
    ) -> None:
        super().__init__(target, window_s, bin_s)
        if not isinstance(shrinkage, str) and not 0 < shrinkage <= 1:
            raise DataError(f"LinearDiscriminant: expected a shrinkage in (0, 1] or ledoit_wolf, found {shrinkage}")
        self.shrinkage = shrinkage
        self.priors: Literal["uniform", "empirical"] = priors

    def _fit_scores(
        self, features_NF: np.ndarray, classes_N: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        counts_C = np.bincount(classes_N)
        means_CF = np.stack([features_NF[classes_N == c].mean(axis=0) for c in range(len(counts_C))])
        residual_NF = features_NF - means_CF[classes_N]
        spread_F = np.sqrt((residual_NF**2).mean(axis=0))
        varies = spread_F > 1e-12 * max(1.0, float(np.abs(features_NF).max()))
        if len(features_NF) <= len(counts_C) or not varies.any():
            raise DataError(
                f"LinearDiscriminant: {len(features_NF)} training trials of {len(counts_C)} classes show no spread "
                "within classes; it needs repeated trials of each concept"
            )
        residual_NF = residual_NF[:, varies] / spread_F[varies]
        scaled_CF = means_CF[:, varies] / spread_F[varies]
        # Scores do not change when a constant vector is taken from all means; centring keeps them small.
        origin_F = scaled_CF.mean(axis=0)
        shrinkage = ledoit_wolf_shrinkage(residual_NF) if isinstance(self.shrinkage, str) else float(self.shrinkage)
        solved_FC = shrunk_solve(residual_NF, shrinkage, (scaled_CF - origin_F).T)
        intercept_C = -0.5 * np.einsum("cf,fc->c", scaled_CF + origin_F, solved_FC)
        if self.priors == "empirical":
            intercept_C = intercept_C + np.log(counts_C / counts_C.sum())
        weights_FC = np.zeros((features_NF.shape[1], len(counts_C)))
        weights_FC[varies] = solved_FC / spread_F[varies, None]
        return weights_FC, intercept_C, {"shrinkage": shrinkage}
