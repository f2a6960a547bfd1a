"""What linear classifiers share: features of trials, concepts as classes, one fit a subject.

Legend: N trials, S space, B time bins, F features (S x B), C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from braindec.contracts import FitContext, State, TrainingData
from braindec.signals.windows import bin_means, in_window
from braindec.types import DataError, TargetEmbeddings, Trials


def trial_features(trials: Trials, window_s: tuple[float, float] | None, bin_s: float | None) -> np.ndarray:
    """Flattened signal float64 (N, F) of a window of time, averaged in bins, time fastest.

    Raises
    ------
    DataError
        If a window or bins are asked for and the trials have no time axis, or the window holds no time point.
    """
    signal_NSB, times_s = np.asarray(trials.signal), trials.times_s
    if window_s is not None or bin_s is not None:
        if times_s is None:
            raise DataError(f"subject {trials.subject!r}: its trials have no times_s; leave out window_s and bin_s")
        if window_s is not None:
            inside = in_window(times_s, *window_s)
            signal_NSB, times_s = signal_NSB[:, :, inside], times_s[inside]
        if bin_s is not None:
            signal_NSB, times_s = bin_means(signal_NSB, times_s, bin_s)
    return signal_NSB.reshape(len(signal_NSB), -1).astype(np.float64)


def classes_of(trials: Trials, target: TargetEmbeddings) -> np.ndarray:
    """Class of each trial, int (N,), from a one-hot target (n, 1, C).

    Raises
    ------
    DataError
        If the target is not one-hot, or a trained class has no trial.
    """
    values = target.of(trials.table["stimulus_id"].tolist())
    if values.shape[1] != 1 or not np.array_equal(np.sort(values[:, 0], axis=1)[:, -2:], _one_hot_tail(values)):
        raise DataError(f"target {target.name!r}: a classifier needs one-hot values (n, 1, class), such as concepts")
    found = values[:, 0].argmax(axis=1)
    absent = sorted(set(range(values.shape[2])) - set(found.tolist()))
    if absent:
        raise DataError(f"target {target.name!r}: {len(absent)} of {values.shape[2]} classes have no training trial")
    return found


def _one_hot_tail(values: np.ndarray) -> np.ndarray:
    return np.tile(np.array([0.0, 1.0], dtype=values.dtype), (len(values), 1))[:, -min(2, values.shape[2]) :]


class ConceptClassifier:
    """A `Decoder` of one one-hot target with linear scores; a subclass gives `_fit_scores`.

    Predictions are the classes' posterior probabilities, float32 (N, 1, C): the expectation of the one-hot vector.

    Fitted attributes
    -----------------
    weights_ : subject -> float64 (F, C); ``intercepts_`` : subject -> (C,).
    """

    def __init__(self, target: str, window_s: tuple[float, float] | None, bin_s: float | None) -> None:
        if window_s is not None and not window_s[0] < window_s[1]:
            raise DataError(f"{type(self).__name__}: expected window_s of start < stop, found {window_s}")
        self.target = target
        self.window_s = window_s
        self.bin_s = bin_s
        self.weights_: dict[str, np.ndarray] = {}
        self.intercepts_: dict[str, np.ndarray] = {}

    def fit(self, data: TrainingData, context: FitContext) -> Mapping[str, Any]:
        """Fit every subject on its training trials; raises `DataError` when the target is missing or not one-hot."""
        if self.target not in data.targets or len(data.targets) != 1:
            raise DataError(
                f"{type(self).__name__} predicts the one target {self.target!r}, found {sorted(data.targets)}; "
                f"choose target=[{self.target}]"
            )
        self.weights_, self.intercepts_ = {}, {}
        report: dict[str, Any] = {}
        for subject in context.progress(list(data.train), "subjects"):
            trials = data.train[subject]
            features_NF = trial_features(trials, self.window_s, self.bin_s)
            classes_N = classes_of(trials, data.targets[self.target])
            weights, intercept, noted = self._fit_scores(features_NF, classes_N)
            self.weights_[subject], self.intercepts_[subject] = weights, intercept
            report[subject] = {"n_features": features_NF.shape[1], "n_classes": len(intercept), **noted}
        return report

    def _fit_scores(self, features_NF: np.ndarray, classes_N: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict]:
        """Weights (F, C) and intercept (C,) of the log-posterior up to a constant, and what to report."""
        raise NotImplementedError

    def predict(self, trials: Trials, device: str) -> dict[str, np.ndarray]:
        """The target's posterior probabilities float32 (N, 1, C). Raises `DataError` as `linear_scores`."""
        return {self.target: softmax(self.linear_scores(trials)).astype(np.float32)[:, None, :]}

    def linear_scores(self, trials: Trials) -> np.ndarray:
        """Log-posteriors up to a constant a trial, float64 (N, C): linear in the signal.

        Raises
        ------
        DataError
            When nothing is fitted, the subject is unknown, or its signal has another shape than in training.
        """
        name = type(self).__name__
        if not self.weights_:
            raise DataError(f"{name} is not fitted: call fit or load_state first")
        if trials.subject not in self.weights_:
            raise DataError(f"no fit for subject {trials.subject!r}; fitted subjects are {sorted(self.weights_)}")
        features_NF = trial_features(trials, self.window_s, self.bin_s)
        weights_FC = self.weights_[trials.subject]
        if features_NF.shape[1] != len(weights_FC):
            raise DataError(
                f"{name}: fitted on {len(weights_FC)} features of subject {trials.subject!r}, "
                f"found {features_NF.shape[1]}"
            )
        return features_NF @ weights_FC + self.intercepts_[trials.subject]

    def state(self) -> State:
        """Arrays named ``subject/weights`` and ``subject/intercept``."""
        weights = {f"{subject}/weights": array for subject, array in self.weights_.items()}
        return weights | {f"{subject}/intercept": array for subject, array in self.intercepts_.items()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what `state` gave."""
        self.weights_ = {k.removesuffix("/weights"): np.asarray(v) for k, v in state.items() if k.endswith("/weights")}
        self.intercepts_ = {subject: np.asarray(state[f"{subject}/intercept"]) for subject in self.weights_}


def softmax(scores_NC: np.ndarray) -> np.ndarray:
    """Probabilities (N, C) from log-probabilities up to a constant a row."""
    shifted = np.exp(scores_NC - scores_NC.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
