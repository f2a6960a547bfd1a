"""Predicted concept embeddings -> concept names."""

from __future__ import annotations

from braindec.contracts import StageContext
from braindec.stages.inputs import extended, predicted, target_with
from braindec.types import Predictions, Reconstructions


class NameConcept:
    """The name of the most strongly predicted concept.

    Parameters
    ----------
    target : name of the target; it must have ``labels(values) -> names`` (see `ConceptOneHot`).
    """

    def __init__(self, target: str) -> None:
        self.target = target

    def run(self, predictions: Predictions, previous: Reconstructions | None, context: StageContext) -> Reconstructions:
        """Add labels; pictures and captions of earlier stages are kept.

        Raises
        ------
        DataError
            If the target was not predicted, is not finite, or names nothing.
        """
        stage = f"name_concept({self.target})"
        values = predicted(predictions, self.target, stage)
        names = target_with(context, self.target, "labels", stage).labels(values)
        return extended(previous, predictions, stage, labels=tuple(names))
