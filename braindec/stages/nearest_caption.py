"""Captioning by retrieval: the caption of the training stimulus nearest to the prediction.

Legend: N predictions, n candidates, D embedding dimensions of all tokens.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from braindec.contracts import StageContext
from braindec.stages.inputs import extended, predicted
from braindec.types import DataError, Predictions, Reconstructions

Similarity = Literal["cosine", "correlation"]

_CHUNK = 256


def nearest_rows(predicted_ND: np.ndarray, candidates_nD: np.ndarray, similarity: Similarity) -> np.ndarray:
    """Row of the most similar candidate for each prediction, int (N,); the first of equals.

    Correlation is the cosine of values from which each row's own mean is taken. A row of length 0 has similarity 0.
    """
    queries_ND = _unit_rows(predicted_ND, similarity)
    best_N = np.full(len(queries_ND), -np.inf)
    rows_N = np.zeros(len(queries_ND), dtype=np.int64)
    # A few candidates at a time: the training embeddings may be memory-mapped and larger than memory.
    for start in range(0, len(candidates_nD), _CHUNK):
        similarity_Nn = queries_ND @ _unit_rows(candidates_nD[start : start + _CHUNK], similarity).T
        nearest_N = similarity_Nn.argmax(axis=1)
        found_N = similarity_Nn[np.arange(len(queries_ND)), nearest_N]
        better_N = found_N > best_N
        rows_N[better_N] = start + nearest_N[better_N]
        best_N[better_N] = found_N[better_N]
    return rows_N


def _unit_rows(values: np.ndarray, similarity: Similarity) -> np.ndarray:
    values = np.asarray(values, dtype=np.float32)
    if similarity == "correlation":
        values = values - values.mean(axis=1, keepdims=True)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.divide(values, length, out=np.zeros_like(values), where=length > 0)


class NearestCaption:
    """The (first) caption of the training stimulus whose target embedding is most similar to the predicted one.

    Each prediction is captioned by itself (no use is made of the other test items), and only training stimuli are
    candidates: the baseline that a generated caption has to beat.

    Parameters
    ----------
    target : name of the target whose embeddings are compared; all tokens are laid end to end.
    similarity : ``"cosine"`` or ``"correlation"``.
    """

    def __init__(self, target: str, similarity: Similarity = "cosine") -> None:
        if similarity not in ("cosine", "correlation"):
            raise DataError(f"stage nearest_caption: similarity must be cosine or correlation, found {similarity!r}")
        self.target = target
        self.similarity = similarity

    def run(self, predictions: Predictions, previous: Reconstructions | None, context: StageContext) -> Reconstructions:
        """Add captions; pictures and labels of earlier stages are kept.

        Raises
        ------
        DataError
            If the target was not predicted, or the training stimuli have no captions or no embedding of it.
        """
        stage = f"nearest_caption({self.target})"
        values = predicted(predictions, self.target, stage)
        if self.target not in context.training_embeddings:
            raise DataError(
                f"stage {stage}: needs the training stimuli's embeddings of target {self.target!r}, "
                f"found {sorted(context.training_embeddings)}"
            )
        training = context.training_embeddings[self.target]
        captions = context.training_stimuli.captions
        if captions is None or not all(captions):
            raise DataError(f"stage {stage}: needs a caption for every training stimulus; this data set lacks some")
        if values.shape[1:] != training.values.shape[1:]:
            raise DataError(
                f"stage {stage}: predictions of shape (token, dim) {values.shape[1:]} cannot be compared with training "
                f"embeddings of shape {training.values.shape[1:]}"
            )
        flat = [array.reshape(len(array), -1) for array in (values, training.values)]
        nearest = nearest_rows(flat[0], flat[1], self.similarity)
        rows = context.training_stimuli.rows([training.ids[i] for i in nearest])
        return extended(previous, predictions, stage, captions=tuple(captions[row][0] for row in rows))
