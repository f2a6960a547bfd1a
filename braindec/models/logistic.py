"""Multinomial logistic regression of concepts, through scikit-learn.

Legend: N trials, F features, C classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from braindec.models.classifier import ConceptClassifier
from braindec.types import DataError


class LogisticClassifier(ConceptClassifier):
    """Multinomial logistic regression with an L2 penalty on standardised features.

    Parameters
    ----------
    target : name of the one-hot target.
    c : inverse penalty, scikit-learn's ``C``.
    window_s, bin_s : time window and bins, as in `braindec.models.discriminant.LinearDiscriminant`.

    Source: scikit-learn, ``LogisticRegression``.
    """

    def __init__(
        self,
        c: float,
        target: str = "concepts",
        window_s: tuple[float, float] | None = None,
        bin_s: float | None = None,
    ) -> None:
        super().__init__(target, window_s, bin_s)
        if not c > 0:
            raise DataError(f"LogisticClassifier: expected c > 0, found {c}")
        self.c = c

    def _fit_scores(
        self, features_NF: np.ndarray, classes_N: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        from sklearn.linear_model import LogisticRegression

        mean_F, spread_F = features_NF.mean(axis=0), features_NF.std(axis=0)
        spread_F = np.where(spread_F > 0, spread_F, np.inf)
        model = LogisticRegression(C=self.c, max_iter=1000).fit((features_NF - mean_F) / spread_F, classes_N)
        coefficients_CF, intercept_C = model.coef_, model.intercept_
        if len(coefficients_CF) == 1:
            coefficients_CF = np.concatenate([np.zeros_like(coefficients_CF), coefficients_CF])
            intercept_C = np.array([0.0, intercept_C[0]])
        weights_FC = coefficients_CF.T / spread_F[:, None]
        return weights_FC, intercept_C - mean_F @ weights_FC, {"c": self.c, "iterations": int(model.n_iter_.max())}
