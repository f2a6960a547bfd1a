from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.covariance import ledoit_wolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from braindec.contracts import Decoder, FitContext, TrainingData
from braindec.models.discriminant import LinearDiscriminant, shrunk_solve
from braindec.models.logistic import LogisticClassifier
from braindec.models.nested import NestedSelection, class_accuracy, class_auc
from braindec.types import DataError, Space, TargetEmbeddings, Trials

CLASSES = ("bird", "car", "face")


def make_trials(n=90, n_space=4, n_times=10, seed=0, separation=1.5, subject="s1", informative=slice(5, 8)):
    rng = np.random.default_rng(seed)
    number = rng.permutation(np.arange(n) % 3)
    means = separation * np.random.default_rng(7).normal(size=(3, n_space))
    signal = rng.normal(size=(n, n_space, n_times))
    signal[:, :, informative] += means[number][:, :, None]
    table = pd.DataFrame({"stimulus_id": [CLASSES[i] for i in number], "concept": "", "session": 1})
    table["run"], table["repetition"], table["split"] = np.arange(n) // 15, np.arange(n), "train"
    times = np.arange(n_times) / 100
    return Trials(subject, signal.astype(np.float32), "V", Space("channels", n_space), table, times_s=times)


TARGET = TargetEmbeddings("concepts", CLASSES, np.eye(3, dtype=np.float32)[:, None, :])


def fit(decoder, trials, tmp_path):
    data = TrainingData({trials.subject: trials}, {}, {"concepts": TARGET})
    return decoder.fit(data, FitContext(0, "cpu", tmp_path))


def classes(trials):
    return np.array([CLASSES.index(i) for i in trials.table["stimulus_id"]])


DECODERS = {
    "lda": lambda: LinearDiscriminant(),
    "lda_fixed": lambda: LinearDiscriminant(shrinkage=0.3, priors="empirical", window_s=(0.04, 0.09), bin_s=0.02),
    "logistic": lambda: LogisticClassifier(0.1),
    "nested": lambda: NestedSelection({"a": LinearDiscriminant(), "b": LogisticClassifier(0.1)}, n_best=2),
}


@pytest.mark.parametrize("kind", DECODERS)
def test_classifiers_decode_unseen_trials_and_survive_their_state(kind, tmp_path) -> None:
    decoder = DECODERS[kind]()
    assert isinstance(decoder, Decoder)
    json.dumps(fit(decoder, make_trials(), tmp_path))
    test = make_trials(seed=5)
    found = decoder.predict(test, "cpu")["concepts"]
    assert found.shape == (90, 1, 3)
    np.testing.assert_allclose(found.sum(axis=2), 1, rtol=1e-5)
    assert class_accuracy(found[:, 0], classes(test)) > 0.75
    again = DECODERS[kind]()
    again.load_state(decoder.state())
    np.testing.assert_array_equal(again.predict(test, "cpu")["concepts"], found)


@pytest.mark.parametrize(("n", "n_space"), [(90, 2), (30, 12)])
def test_discriminant_agrees_with_scikit_learn_on_standardised_features(n, n_space, tmp_path) -> None:
    trials, test = make_trials(n, n_space), make_trials(60, n_space, seed=3)
    x, y = trials.signal.reshape(n, -1).astype(float), classes(trials)
    residual = x - np.stack([x[y == c].mean(axis=0) for c in range(3)])[y]
    spread = residual.std(axis=0)
    shrinkage = ledoit_wolf(residual / spread, assume_centered=True)[1]

    class Shrunk:
        def fit(self, rows):
            covariance = residual.T @ residual / n / np.outer(spread, spread)
            mixed = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / len(spread) * np.eye(len(spread))
            self.covariance_ = mixed

    reference = LinearDiscriminantAnalysis("lsqr", covariance_estimator=Shrunk(), priors=[1 / 3] * 3)
    reference.fit(x / spread, y)
    decoder = LinearDiscriminant()
    report = fit(decoder, trials, tmp_path)
    assert report["s1"]["shrinkage"] == pytest.approx(shrinkage)
    expected = reference.predict_proba(test.signal.reshape(60, -1) / spread)
    np.testing.assert_allclose(decoder.predict(test, "cpu")["concepts"][:, 0], expected, atol=1e-4)


def test_solving_over_trials_equals_solving_over_features() -> None:
    rng = np.random.default_rng(0)
    residual, right = rng.normal(size=(10, 30)), rng.normal(size=(30, 2))
    covariance = 0.7 * residual.T @ residual / 10 + 0.3 * (residual**2).sum() / 300 * np.eye(30)
    np.testing.assert_allclose(shrunk_solve(residual, 0.3, right), np.linalg.solve(covariance, right), rtol=1e-8)


def test_two_classes_of_logistic_regression_agree_with_scikit_learn(tmp_path) -> None:
    trials = make_trials()
    trials = trials.select((trials.table["stimulus_id"] != "face").to_numpy())
    x = trials.signal.reshape(len(trials), -1).astype(float)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    reference = LogisticRegression(C=0.1, max_iter=1000).fit(x, classes(trials)).predict_proba(x)
    decoder = LogisticClassifier(0.1)
    two = TargetEmbeddings("concepts", CLASSES[:2], np.eye(2, dtype=np.float32)[:, None, :])
    decoder.fit(TrainingData({"s1": trials}, {}, {"concepts": two}), FitContext(0, "cpu", tmp_path))
    np.testing.assert_allclose(decoder.predict(trials, "cpu")["concepts"][:, 0], reference, atol=1e-3)


def test_nested_selection_finds_the_window_that_holds_the_signal(tmp_path) -> None:
    windows = {"before": (0.0, 0.05), "during": (0.05, 0.08), "after": (0.08, 0.1)}
    decoder = NestedSelection({name: LinearDiscriminant(window_s=window) for name, window in windows.items()})
    report = fit(decoder, make_trials(), tmp_path)
    assert decoder.chosen_ == ("during",)
    assert report["held_out_accuracy"]["during"] > report["held_out_accuracy"]["before"] + 0.2
    assert abs(report["held_out_accuracy"]["before"] - 1 / 3) < 0.2


def test_nested_selection_never_scores_a_group_that_it_fitted(tmp_path) -> None:
    seen = []

    class Watched(LinearDiscriminant):
        def fit(self, data, context):
            self.runs = set(data.train["s1"].table["run"])
            return super().fit(data, context)

        def predict(self, trials, device):
            seen.append(self.runs & set(trials.table["run"]))
            return super().predict(trials, device)

    fit(NestedSelection({"a": Watched()}, n_folds=3), make_trials(), tmp_path)
    assert seen == [set()] * 3


def test_area_under_the_curve_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    number, values = rng.integers(0, 3, 80), rng.normal(size=(80, 3)).round(1)
    expected = np.mean([roc_auc_score(number == c, values[:, c]) for c in range(3)])
    assert class_auc(values, number) == pytest.approx(expected)


def test_bad_input_is_refused(tmp_path) -> None:
    trials = make_trials()
    graded = TargetEmbeddings("concepts", CLASSES, np.full((3, 1, 3), 0.3, dtype=np.float32))
    data = TrainingData({"s1": trials}, {}, {"concepts": graded})
    with pytest.raises(DataError, match="one-hot"):
        LinearDiscriminant().fit(data, FitContext(0, "cpu", tmp_path))
    with pytest.raises(DataError, match="classes have no training trial"):
        fit(LinearDiscriminant(), trials.select((trials.table["stimulus_id"] != "face").to_numpy()), tmp_path)
    with pytest.raises(DataError, match="no spread within classes"):
        fit(LinearDiscriminant(), trials.select(np.unique(classes(trials), return_index=True)[1]), tmp_path)
    with pytest.raises(DataError, match="training groups"):
        fit(NestedSelection({"a": LinearDiscriminant()}), trials.select(np.arange(15)), tmp_path)
    decoder = LinearDiscriminant()
    with pytest.raises(DataError, match="not fitted"):
        decoder.predict(trials, "cpu")
    fit(decoder, trials, tmp_path)
    with pytest.raises(DataError, match="fitted subjects are"):
        decoder.predict(make_trials(subject="s2"), "cpu")
    with pytest.raises(DataError, match="found 20"):
        decoder.predict(make_trials(n_times=5, informative=slice(1, 2)), "cpu")
