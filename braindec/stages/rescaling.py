"""Predicted embeddings stretched again, since regression shrinks them towards the training mean.

Legend: N predictions, n training stimuli, K tokens, D dimensions.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from braindec.contracts import StageContext
from braindec.stages.inputs import WHOLE_FOLD, predicted
from braindec.types import DataError, Predictions, TargetEmbeddings

Rescale = Literal["item", "test_set", "none"]

_CHUNK = 256


class Rescaler:
    """Gives predictions the spread that the embeddings of training stimuli have.

    Parameters
    ----------
    rescale : ``item``: deviations from the training embeddings' mean, in units of their standard deviation, get a root
        mean square of 1 within each item, by itself; ``test_set``: each value's mean and standard deviation over a
        subject's reconstructed test items are replaced by those of training, as Brain-Diffuser does; this looks at all
        test predictions together and flags the result ``transductive``; ``none``: as predicted.

    Source: Ozcelik and VanRullen 2023 (Brain-Diffuser), scripts/vdvae_regression.py and clipvision_regression.py for
    ``test_set``.
    """

    def __init__(self, rescale: Rescale) -> None:
        self.rescale: Rescale = rescale
        self._known: dict[str, tuple[TargetEmbeddings, tuple[np.ndarray, np.ndarray]]] = {}

    @property
    def flags(self) -> tuple[str, ...]:
        """What a result that went through this must say of itself."""
        return ("transductive",) if self.rescale == "test_set" else ()

    def values(self, predictions: Predictions, target: str, context: StageContext, stage: str) -> np.ndarray:
        """The predictions of a target, float32 (N, K, D), stretched.

        Raises
        ------
        DataError
            If they were not predicted or are not finite, or the training stimuli's embeddings are missing.
        """
        values = predicted(predictions, target, stage)
        if self.rescale == "none":
            return values
        if target not in context.training_embeddings:
            raise DataError(
                f"stage {stage}: needs the training stimuli's embeddings of target {target!r}, found "
                f"{sorted(context.training_embeddings)}"
            )
        mean_KD, sd_KD = self._training_statistics(target, context.training_embeddings[target])
        if self.rescale == "item":
            return rescaled_by_item(values, mean_KD, sd_KD)
        whole: Predictions = context.options.get(WHOLE_FOLD, predictions)
        scaled = np.empty(values.shape, np.float32)
        for subject in predictions.table["subject"].unique():
            all_rows = np.flatnonzero((whole.table["subject"] == subject).to_numpy())
            rows = np.flatnonzero((predictions.table["subject"] == subject).to_numpy())
            own_mean_KD, own_sd_KD = mean_and_sd(whole.embeddings[target], all_rows)
            scaled[rows] = _standardised(values[rows], own_mean_KD, own_sd_KD) * sd_KD + mean_KD
        return scaled

    def _training_statistics(self, target: str, training: TargetEmbeddings) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, computed once for all chunks: at full size they are read from 3 GB."""
        if target not in self._known or self._known[target][0] is not training:
            self._known[target] = training, mean_and_sd(training.values)
        return self._known[target][1]


def mean_and_sd(values_nKD: np.ndarray, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (K, D) over the given rows (None: all), float32; the array may be memory-mapped."""
    rows = np.arange(len(values_nKD)) if rows is None else rows
    mean = np.zeros(values_nKD.shape[1:], np.float64)
    squares = np.zeros_like(mean)
    for start in range(0, len(rows), _CHUNK):
        part = np.asarray(values_nKD[rows[start : start + _CHUNK]], np.float32)
        own_mean = part.mean(axis=0)
        part = part - own_mean
        # Means and sums of squares of two parts joined (Chan et al. 1982): one reading of a large file is enough.
        step = own_mean - mean
        joined = start + len(part)
        squares += np.einsum("nkd,nkd->kd", part, part) + step**2 * (start * len(part) / joined)
        mean += step * (len(part) / joined)
    return mean.astype(np.float32), np.sqrt(squares / len(rows)).astype(np.float32)


def rescaled_by_item(values_NKD: np.ndarray, mean_KD: np.ndarray, sd_KD: np.ndarray) -> np.ndarray:
    """Standardised deviations from the mean, given a root mean square of 1 within each item; see `Rescaler`."""
    unit_NKD = _standardised(values_NKD, mean_KD, sd_KD)
    rms_N11 = np.sqrt((unit_NKD**2).mean(axis=(1, 2), keepdims=True))
    return _standardised(unit_NKD, np.float32(0), rms_N11) * sd_KD + mean_KD


def _standardised(values: np.ndarray, mean: np.ndarray | np.float32, sd: np.ndarray) -> np.ndarray:
    """Zero where the standard deviation is zero."""
    sd = np.broadcast_to(sd, values.shape)
    return np.divide(values - mean, sd, out=np.zeros(values.shape, np.float32), where=sd > 0)
