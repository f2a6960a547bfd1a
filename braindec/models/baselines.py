"""Classical baselines through scikit-learn: ridge on principal components, and partial least squares.

Both hold the targets of all training trials in memory, so they serve targets of some thousand values.

Legend: N trials, P features, T targets, C components.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from braindec.contracts import FitContext
from braindec.models.linear import SubjectData, SubjectwiseDecoder
from braindec.models.linear_map import FeatureFrame, LinearMap
from braindec.types import DataError


def _trial_arrays(data: SubjectData, name: str) -> tuple[FeatureFrame, np.ndarray, np.ndarray]:
    """The frame of all space, features (N, P) and targets (N, T). Raises `DataError` on NaN or infinite values."""
    frame = FeatureFrame.of(data.trials, None)
    x_NP = frame.features(data.trials)
    columns = data.columns[name]
    y_NT = np.asarray(columns.values[columns.rows[data.position_N]], dtype=np.float32)
    for what, array in ((f"signal of subject {data.trials.subject!r}", x_NP), (f"target {name!r}", y_NT)):
        if not np.isfinite(array).all():
            raise DataError(f"{what}: holds NaN or infinite values; remove or repair them")
    return frame, x_NP, y_NT


def _check_components(n_components: int, x_NP: np.ndarray) -> None:
    if not 1 <= n_components <= min(len(x_NP) - 1, x_NP.shape[1]):
        raise DataError(
            f"n_components: expected 1 to {min(len(x_NP) - 1, x_NP.shape[1])} for {x_NP.shape[0]} trials of "
            f"{x_NP.shape[1]} features, found {n_components}"
        )


class PCARidgeDecoder(SubjectwiseDecoder):
    """Principal components of the signal, then ridge on their scores.

    Parameters
    ----------
    n_components : number of components C.
    alpha : ridge penalty on the component scores; 0 is principal component regression.

    Source: scikit-learn, `PCA` and `Ridge`.
    """

    def __init__(self, n_components: int, alpha: float) -> None:
        super().__init__()
        self.n_components = n_components
        self.alpha = alpha

    def _fit_subject(self, data: SubjectData, context: FitContext) -> tuple[dict[str, LinearMap], dict[str, Any]]:
        from sklearn.decomposition import PCA
        from sklearn.linear_model import Ridge

        maps, report = {}, {}
        for name in data.columns:
            frame, x_NP, y_NT = _trial_arrays(data, name)
            _check_components(self.n_components, x_NP)
            pca = PCA(self.n_components, random_state=context.seed).fit(x_NP)
            ridge = Ridge(alpha=self.alpha).fit(pca.transform(x_NP), y_NT)
            weights_PT = (pca.components_.T @ np.atleast_2d(ridge.coef_).T).astype(np.float32)
            intercept_T = np.atleast_1d(ridge.intercept_).astype(np.float32)
            mean_P = pca.mean_.astype(np.float32)
            maps[name] = LinearMap.from_weights(frame, mean_P, weights_PT, intercept_T, data.shapes[name])
            report[name] = {"explained_variance": float(pca.explained_variance_ratio_.sum()), "alpha": self.alpha}
        return maps, report


class PLSDecoder(SubjectwiseDecoder):
    """Partial least squares regression.

    Parameters
    ----------
    n_components : number of latent components C.
    scale : divide features and targets by their standard deviations first.

    Source: scikit-learn, `PLSRegression`.
    """

    def __init__(self, n_components: int, scale: bool = True, max_iter: int = 500) -> None:
        super().__init__()
        self.n_components = n_components
        self.scale = scale
        self.max_iter = max_iter

    def _fit_subject(self, data: SubjectData, context: FitContext) -> tuple[dict[str, LinearMap], dict[str, Any]]:
        from sklearn.cross_decomposition import PLSRegression

        maps, report = {}, {}
        for name in data.columns:
            frame, x_NP, y_NT = _trial_arrays(data, name)
            _check_components(self.n_components, x_NP)
            pls = PLSRegression(self.n_components, scale=self.scale, max_iter=self.max_iter).fit(x_NP, y_NT)
            weights_PT = np.atleast_2d(pls.coef_).T.astype(np.float32)
            mean_P = x_NP.mean(axis=0, dtype=np.float64).astype(np.float32)
            intercept_T = y_NT.mean(axis=0, dtype=np.float64).astype(np.float32)
            maps[name] = LinearMap.from_weights(frame, mean_P, weights_PT, intercept_T, data.shapes[name])
            report[name] = {"n_components": self.n_components}
        return maps, report
