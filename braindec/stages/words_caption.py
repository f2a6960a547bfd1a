"""Predicted bags of words -> captions that list the strongest words."""

from __future__ import annotations

from braindec.contracts import StageContext
from braindec.stages.inputs import extended, predicted, target_with
from braindec.types import DataError, Predictions, Reconstructions


class WordsCaption:
    """A caption of the most strongly predicted words, strongest first, without grammar.

    Parameters
    ----------
    target : name of the target; it must have ``top_words(values, n_words)`` (see `CaptionWords`).
    n_words : number of words in a caption.
    """

    def __init__(self, target: str, n_words: int) -> None:
        if n_words < 1:
            raise DataError(f"stage words_caption: expected n_words >= 1, found {n_words}")
        self.target = target
        self.n_words = n_words

    def run(self, predictions: Predictions, previous: Reconstructions | None, context: StageContext) -> Reconstructions:
        """Add captions; pictures and labels of earlier stages are kept.

        Raises
        ------
        DataError
            If the target was not predicted, is not finite, or has no words.
        """
        stage = f"words_caption({self.target})"
        values = predicted(predictions, self.target, stage)
        words = target_with(context, self.target, "top_words", stage).top_words(values, self.n_words)
        return extended(previous, predictions, stage, captions=tuple(" ".join(row) for row in words))
