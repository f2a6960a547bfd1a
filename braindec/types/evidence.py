"""What a metric looks at, and what it says.

Legend: N predictions, G gallery entries, K tokens, D embedding dimensions, H W image height and width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd

from braindec.types.errors import DataError
from braindec.types.stimuli import Stimuli

Direction = Literal["higher", "lower"]
CeilingRule = Literal["correlation", "squared_error", "repeatability"]


@dataclass(frozen=True)
class Evidence:
    """All that a metric may look at, for one subject and fold.

    Attributes
    ----------
    table : one row a prediction (`PREDICTION_COLUMNS`).
    gallery : the distinct test stimuli (G of them), truth and distractors alike.
    truth : int (N,), row of ``gallery`` that was really presented in each row of ``table``.
    images, captions, labels, answers : what was decoded, or None (see `Reconstructions`).
    embeddings : target name -> predicted float32 (N, K, D).
    gallery_embeddings : target name -> true float32 (G, K, D).
    permuted_from : where `permuted` made this: the evidence it came from and the order, so that a metric may reorder
        what it already knows; None otherwise.
    """

    table: pd.DataFrame
    gallery: Stimuli
    truth: np.ndarray
    images: np.ndarray | None = None
    captions: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None
    answers: tuple[Mapping[str, str], ...] | None = None
    embeddings: Mapping[str, np.ndarray] = field(default_factory=dict)
    gallery_embeddings: Mapping[str, np.ndarray] = field(default_factory=dict)
    permuted_from: tuple[Evidence, np.ndarray] | None = field(default=None, repr=False, compare=False)

    def permuted(self, order: np.ndarray) -> Evidence:
        """The same decoded material credited to other trials: row i receives what was decoded for row order[i]."""
        return replace(
            self,
            permuted_from=(self, order)
            if self.permuted_from is None
            else (
                self.permuted_from[0],
                self.permuted_from[1][order],
            ),
            images=None if self.images is None else self.images[order],
            captions=None if self.captions is None else tuple(self.captions[i] for i in order),
            labels=None if self.labels is None else tuple(self.labels[i] for i in order),
            answers=None if self.answers is None else tuple(self.answers[i] for i in order),
            embeddings={name: values[order] for name, values in self.embeddings.items()},
        )


@dataclass(frozen=True)
class Scores:
    """One metric's values, one a prediction.

    Attributes
    ----------
    name : metric name, unique in a result file.
    values : float64 (N,), NaN where the metric is undefined for that row.
    direction : whether higher or lower is better.
    chance : value of an uninformed decoder, or None where the metric has none in closed form.
    gallery_size : number of candidates G, or None.
    flags : ``transductive``, ``oracle``, ``allow_leak: reason``, a convention's name, ...
    ceiling_rule : how trial noise limits the metric (see `braindec.metrics.ceilings`).
    corpus_value : value over all predictions together, for metrics whose published figure is no mean (BLEU); or None.
    """

    name: str
    values: np.ndarray
    direction: Direction = "higher"
    chance: float | None = None
    gallery_size: int | None = None
    flags: tuple[str, ...] = ()
    ceiling_rule: CeilingRule = "repeatability"
    corpus_value: float | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 1:
            raise DataError(f"Scores {self.name!r}: values must be one a prediction, found shape {self.values.shape}")
