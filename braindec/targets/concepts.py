"""The stimulus' concept (class) as a target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from braindec.targets.tokens import flat_values
from braindec.types import DataError, Stimuli


class ConceptOneHot:
    """One value a training concept: 1 for the stimulus' own, 0 elsewhere; one token, D = number of concepts.

    Fitted attribute: ``concepts_``, the concepts of the training stimuli in alphabetical order.

    Parameters
    ----------
    unknown : what becomes of a stimulus whose concept was not trained: ``"error"``, or ``"zero"`` for an all-zero row
        (zero-shot test stimuli have no class of their own).
    """

    def __init__(self, unknown: Literal["error", "zero"] = "error") -> None:
        if unknown not in ("error", "zero"):
            raise DataError(f"target ConceptOneHot: unknown must be 'error' or 'zero', found {unknown!r}")
        self.unknown = unknown

    def fit(self, stimuli: Stimuli) -> None:
        """Take the concepts of the training stimuli. Raises `DataError` if they have none."""
        self.concepts_ = tuple(sorted(set(_concepts(stimuli))))

    def embed(self, stimuli: Stimuli) -> np.ndarray:
        """Float32 (n, 1, D).

        Raises
        ------
        DataError
            If a concept was not among the training stimuli and ``unknown`` is ``"error"``.
        """
        column = {concept: index for index, concept in enumerate(self._fitted())}
        concepts = _concepts(stimuli)
        strange = sorted({concept for concept in concepts if concept not in column})
        if strange and self.unknown == "error":
            raise DataError(
                f"target ConceptOneHot: {len(strange)} concepts are not among the {len(column)} of training, e.g. "
                f"{strange[:3]}; set unknown=zero if the split keeps concepts apart"
            )
        values = np.zeros((len(stimuli), 1, len(column)), dtype=np.float32)
        for row, concept in enumerate(concepts):
            if concept in column:
                values[row, 0, column[concept]] = 1
        return values

    def labels(self, values: np.ndarray) -> tuple[str, ...]:
        """The concept of the largest value in each row of (n, 1, D); the first of equals."""
        concepts = self._fitted()
        return tuple(concepts[i] for i in flat_values(values, len(concepts), "ConceptOneHot").argmax(axis=1))

    def value_names(self) -> tuple[str, ...]:
        """What each value stands for: the training concepts."""
        return self._fitted()

    def state(self) -> dict[str, np.ndarray]:
        """The training concepts."""
        return {"concepts": np.array(self._fitted(), dtype=np.str_)}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what `state` gave."""
        self.concepts_ = tuple(str(concept) for concept in state["concepts"])

    def _fitted(self) -> tuple[str, ...]:
        if not hasattr(self, "concepts_"):
            raise DataError("target ConceptOneHot: not fitted; call fit with the training stimuli first")
        return self.concepts_


def _concepts(stimuli: Stimuli) -> tuple[str, ...]:
    if stimuli.concepts is None:
        raise DataError(f"target ConceptOneHot: needs Stimuli.concepts, but these {len(stimuli)} stimuli have none")
    return stimuli.concepts
