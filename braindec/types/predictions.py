"""What is to be decoded and what was: embeddings, pictures and words.

Legend: N predictions, K tokens, D embedding dimensions, H W image height and width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from braindec.types.errors import DataError
from braindec.types.rows import row_numbers

PREDICTION_COLUMNS = ("item_id", "subject", "fold", "stimulus_id", "n_repetitions")


@dataclass(frozen=True)
class TargetEmbeddings:
    """Target embeddings of stimuli: ``values`` float (n, K, D), row i for ``ids[i]``; ``source`` says how made."""

    name: str
    ids: tuple[str, ...]
    values: np.ndarray
    source: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or len(self.values) != len(self.ids):
            raise DataError(
                f"TargetEmbeddings {self.name!r}: expected ({len(self.ids)}, token, dim), found {self.values.shape}"
            )

    def of(self, ids: Sequence[str]) -> np.ndarray:
        """Values (len(ids), K, D) of the given stimulus ids."""
        index = {stimulus_id: row for row, stimulus_id in enumerate(self.ids)}
        unknown = [i for i in ids if i not in index]
        if unknown:
            raise DataError(f"TargetEmbeddings {self.name!r}: no embedding for {len(unknown)} ids, e.g. {unknown[:3]}")
        return self.values[[index[i] for i in ids]]


@dataclass(frozen=True)
class Predictions:
    """Decoded embeddings.

    Attributes
    ----------
    table : one row a prediction, columns ``PREDICTION_COLUMNS``; ``item_id`` is unique.
    embeddings : target name -> float32 (N, K, D), in the order of ``table``.
    source : ``"decoded"``, or the name of the control that produced them.
    """

    table: pd.DataFrame
    embeddings: Mapping[str, np.ndarray]
    source: str = "decoded"

    def __post_init__(self) -> None:
        missing = [c for c in PREDICTION_COLUMNS if c not in self.table.columns]
        if missing:
            raise DataError(f"Predictions {self.source!r}: table lacks the columns {missing}")
        if self.table["item_id"].duplicated().any():
            raise DataError(f"Predictions {self.source!r}: item_id is not unique")
        for name, values in self.embeddings.items():
            if values.ndim != 3 or len(values) != len(self.table):
                raise DataError(
                    f"Predictions {self.source!r}: {name!r} must be ({len(self.table)}, token, dim), "
                    f"found {values.shape}"
                )

    def __len__(self) -> int:
        return len(self.table)

    def select(self, rows: np.ndarray) -> Predictions:
        """Keep the given predictions (int indices, or a boolean mask over N)."""
        kept = row_numbers(rows)
        return replace(
            self,
            table=self.table.iloc[kept].reset_index(drop=True),
            embeddings={name: values[kept] for name, values in self.embeddings.items()},
        )


@dataclass(frozen=True)
class Reconstructions:
    """Decoded pictures and words: row i of each field belongs to row i of ``table`` (as in `Predictions`).

    ``images`` is uint8 (N, H, W, 3) or None, ``captions`` N strings or None, ``labels`` N concept names or None,
    ``answers`` N mappings of question to answer or None;
    ``chain`` names the stages that made them, in order; ``flags`` (``transductive``, ...) are stamped on
    every score of them. ``notes`` are further columns of the table that is written, N plain values each (captions
    that were not kept with their scores, which sample was kept, ...).
    """

    table: pd.DataFrame
    images: np.ndarray | None = None
    captions: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None
    answers: tuple[Mapping[str, str], ...] | None = None
    chain: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    notes: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.table)
        for name, values in self.notes.items():
            if len(values) != n:
                raise DataError(f"Reconstructions.notes[{name!r}]: expected {n} entries, found {len(values)}")
        if self.images is not None and (self.images.dtype != np.uint8 or self.images.ndim != 4):
            raise DataError(f"Reconstructions.images: expected uint8 (n, H, W, 3), found {self.images.dtype}")
        for name in ("images", "captions", "labels", "answers"):
            value = getattr(self, name)
            if value is not None and len(value) != n:
                raise DataError(f"Reconstructions.{name}: expected {n} entries, found {len(value)}")
