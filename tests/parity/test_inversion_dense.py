"""The inversion in low dimensions against the textbook posterior with every matrix written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from braindec.contracts import FitContext, TrainingData
from braindec.models.encoding_inversion import EncodingInversionDecoder
from braindec.types import Space, TargetEmbeddings, Trials


@pytest.mark.parametrize(("shrinkage", "length", "scale", "side"), [(0.3, 0.8, 5.0, 4), (1.0, 0.0, 50.0, 3)])
def test_dense_gaussian_posterior(shrinkage: float, length: float, scale: float, side: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    n_stimuli, n_repetitions, n_features, n_pixels = 6, 5, 9, side * side
    pictures = rng.random((n_stimuli, n_pixels))
    shown = np.tile(np.arange(n_stimuli), n_repetitions)
    x = pictures[shown] @ rng.normal(size=(n_pixels, n_features)) * 3 + rng.normal(size=(len(shown), n_features))
    x = x.astype(np.float32).astype(np.float64)
    ids = [f"s{i}" for i in range(n_stimuli)]
    table = pd.DataFrame(
        {"stimulus_id": [ids[i] for i in shown], "concept": "", "session": 1, "run": 1, "repetition": 0, "split": ""}
    )
    trials = Trials("S1", x.astype(np.float32)[..., None], "z", Space("voxels", n_features), table)
    target = TargetEmbeddings("pixels", tuple(ids), pictures[:, None])
    decoder = EncodingInversionDecoder([shrinkage], [length], [scale], encoding_ridge=0.02)
    decoder.fit(TrainingData({"S1": trials}, {}, {"pixels": target}), FitContext(0, "cpu", tmp_path))
    predicted = decoder.predict(trials, "cpu")["pixels"][:, 0]

    # Reference: pandas for the moments, dense encoding weights, dense covariances, eq. 2.116 of Bishop 2006.
    frame = pd.DataFrame(x)
    means = frame.groupby(shown).mean().to_numpy()
    residual = (frame - frame.groupby(shown).transform("mean")).to_numpy()
    sample = np.cov(residual.T, bias=True) * len(x) / (len(x) - n_stimuli)
    f_ratio = n_repetitions * means.var(0, ddof=1) / np.diag(sample)
    responses = (means - means.mean(0)) * np.clip(1 - 1 / f_ratio, 0, None)
    centred = pictures - pictures.mean(0)
    ridge = 0.02 * (centred**2).sum() / n_stimuli
    weights = np.linalg.inv(centred.T @ centred + ridge * np.eye(n_pixels)) @ centred.T @ responses
    sigma = (1 - shrinkage) * sample + shrinkage * np.diag(np.diag(sample))
    rows, columns = np.divmod(np.arange(n_pixels), side)
    distance2 = np.subtract.outer(rows, rows) ** 2 + np.subtract.outer(columns, columns) ** 2
    kernel = np.eye(n_pixels) if length == 0 else np.exp(-distance2 / 2 / length**2)
    prior = scale * centred.var() * kernel
    gain = prior @ weights @ np.linalg.inv(weights.T @ prior @ weights + sigma)
    expected = pictures.mean(0) + (x - means.mean(0)) @ gain.T
    np.testing.assert_allclose(predicted, expected, rtol=1e-4, atol=1e-5)
