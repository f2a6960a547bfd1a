"""Controls that pass the same stages as the decoded predictions: constant, from metadata alone, from noise.

Legend: N trials or predictions, K tokens, D dimensions, P metadata features, F = K x D.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from braindec.metrics.training_mean import mean_embedding, mean_of_rows
from braindec.types import DataError, Predictions, TargetEmbeddings, Trials

_VALUES_AT_ONCE = 1 << 24


def prior_only_predictions(table: pd.DataFrame, embeddings: Mapping[str, TargetEmbeddings]) -> Predictions:
    """Every prediction is the mean training embedding: what the stages make of no information at all.

    Parameters
    ----------
    table : of the decoded predictions.
    embeddings : target name -> embeddings of the training stimuli.
    """
    made = {name: np.repeat(mean_embedding(own)[None], len(table), axis=0) for name, own in embeddings.items()}
    return Predictions(table, made, "prior_only")


def metadata_only(
    train: pd.DataFrame,
    test: pd.DataFrame,
    table: pd.DataFrame,
    embeddings: Mapping[str, TargetEmbeddings],
    alpha: float = 1.0,
) -> Predictions:
    """Target embeddings predicted from the trial table alone: session, run, repetition and order, by ridge.

    What this scores above chance comes from the design of the experiment, not from the brain. Where stimuli of the test
    part are trained too (classes, repeated pictures), the repetition is left out: it counts a stimulus' own showings in
    order, so that counter and order together name the stimulus by arithmetic, which is no metadata.

    Parameters
    ----------
    train : table of the training trials, in the order of recording.
    test : table of the test trials, row i for row i of ``table``.
    table : of the decoded predictions.
    embeddings : target name -> embeddings of the training stimuli.
    alpha : ridge penalty on standardised features.

    Raises
    ------
    DataError
        If ``test`` and ``table`` differ in length.
    """
    if len(test) != len(table):
        raise DataError(f"metadata_only: {len(test)} test trials for {len(table)} predictions; expected one each")
    known = set(train["stimulus_id"].astype(str)) & set(test["stimulus_id"].astype(str))
    numbers = (_order_in_run,) if known else (_repetition, _order_in_run)
    train_NP, test_NP = _metadata_features(train, test, numbers)
    gram_PP = train_NP.T @ train_NP + alpha * np.eye(train_NP.shape[1])
    weights_PN = np.linalg.solve(gram_PP, train_NP.T)
    made = {}
    for name, own in embeddings.items():
        index = {stimulus_id: row for row, stimulus_id in enumerate(own.ids)}
        rows = np.array([index[i] for i in train["stimulus_id"].astype(str)])
        mean_KD = mean_of_rows(own.values, rows)
        weights_PF = np.zeros((train_NP.shape[1], mean_KD.size))
        step = max(1, _VALUES_AT_ONCE // max(1, mean_KD.size))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            weights_PF += weights_PN[:, part] @ (own.values[rows[part]] - mean_KD).reshape(len(rows[part]), -1)
        predicted = (test_NP @ weights_PF).reshape(-1, *mean_KD.shape) + mean_KD
        made[name] = predicted.astype(np.float32)
    return Predictions(table, made, "metadata_only")


def noise_input_signal(trials: Trials, seed: int, training: Trials | None = None) -> Trials:
    """Gaussian noise in place of the signal: the same shape, with the training mean and SD of every position.

    Parameters
    ----------
    trials : test trials; only their shape and table are used.
    seed : of the noise.
    training : training trials after the same transforms; may be left out when the signal is standardised (unit
        ``z``): then mean 0 and SD 1.

    Raises
    ------
    DataError
        If the unit is not ``z`` and no training trials are given.
    """
    shape = trials.signal.shape
    if training is not None:
        mean = training.signal.mean(axis=0, dtype=np.float64)
        spread = training.signal.std(axis=0, dtype=np.float64)
    elif trials.unit == "z":
        mean, spread = np.zeros(shape[1:]), np.ones(shape[1:])
    else:
        raise DataError(
            f"noise_input: the signal of subject {trials.subject!r} is in unit {trials.unit!r}; give the training "
            "trials, whose mean and SD the noise must have, or standardise the signal"
        )
    noise = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    noise *= spread.astype(np.float32)
    noise += mean.astype(np.float32)
    return replace(trials, signal=noise)


def _metadata_features(
    train: pd.DataFrame, test: pd.DataFrame, numbers: Sequence[Callable[[pd.DataFrame], np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Standardised features (N, P) of training and test trials, fitted on the training trials.

    Sessions and runs are one column a value, ``numbers`` one column each. Values that training never saw have no
    column, and columns that are constant in training are left out.
    """
    columns_train, columns_test = [], []
    for name in ("session", "run"):
        for value in sorted(train[name].astype(str).unique()):
            columns_train.append((train[name].astype(str) == value).to_numpy(dtype=np.float64))
            columns_test.append((test[name].astype(str) == value).to_numpy(dtype=np.float64))
    for number in numbers:
        columns_train.append(number(train))
        columns_test.append(number(test))
    train_NP, test_NP = np.stack(columns_train, axis=1), np.stack(columns_test, axis=1)
    mean, spread = train_NP.mean(axis=0), train_NP.std(axis=0)
    varies = spread > 0
    return (train_NP[:, varies] - mean[varies]) / spread[varies], (test_NP[:, varies] - mean[varies]) / spread[varies]


def _repetition(table: pd.DataFrame) -> np.ndarray:
    return pd.to_numeric(table["repetition"]).fillna(0).to_numpy(dtype=np.float64)


def _order_in_run(table: pd.DataFrame) -> np.ndarray:
    """Place of each trial among the trials of its session and run, 0 ... 1."""
    groups = table.groupby([table["session"].astype(str), table["run"].astype(str)], sort=False)["stimulus_id"]
    last = np.maximum(groups.transform("size").to_numpy(dtype=np.float64) - 1, 1)
    return groups.cumcount().to_numpy(dtype=np.float64) / last
