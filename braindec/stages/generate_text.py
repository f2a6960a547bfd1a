"""Sentences written by a frozen sequence-to-sequence language model from predicted states."""

from __future__ import annotations

import numpy as np

from braindec.contracts import StageContext
from braindec.frozen.seq2seq import Seq2Seq
from braindec.stages.batches import in_batches
from braindec.stages.inputs import extended, predicted
from braindec.types import Predictions, Reconstructions


class GenerateText:
    """A text for each prediction, generated from its states alone (no true token is ever given).

    Parameters
    ----------
    network : the language model.
    target : name of the target that holds the predicted encoder states.
    max_length, beams : tokens of a text at most, and width of the search; 1 is greedy.
    """

    def __init__(self, network: Seq2Seq, target: str, max_length: int = 48, beams: int = 1) -> None:
        self.network = network
        self.target = target
        self.max_length = max_length
        self.beams = beams

    def run(self, predictions: Predictions, previous: Reconstructions | None, context: StageContext) -> Reconstructions:
        """Add captions; pictures and labels of earlier stages are kept.

        Raises
        ------
        DataError
            If the states were not predicted, are not finite or of another width, or weights are missing.
        """
        stage = f"generate_text({self.target})"
        values = predicted(predictions, self.target, stage)
        network = self.network.to(context.device)

        def work(rows: np.ndarray, size: int) -> list[str]:
            return list(network.texts(values[rows], self.max_length, self.beams))

        parts = in_batches(len(values), max(1, network.batch_size // self.beams), work, stage)
        return extended(previous, predictions, stage, captions=tuple(text for part in parts for text in part))
