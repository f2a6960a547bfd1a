"""Captions by a frozen captioner that reads predicted image features, steered by separately predicted words.

Legend: N predictions, W words of the target's vocabulary, V tokens of the captioner's, L tokens so far.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from braindec.contracts import StageContext
from braindec.frozen.captioners import Captioner
from braindec.stages.batches import in_batches
from braindec.stages.inputs import extended, predicted, target_with
from braindec.types import DataError, Predictions, Reconstructions

_SUREST = 0.98


class WordedCaption:
    """A caption for each prediction, by greedy search over the captioner's next-token scores plus a word's evidence.

    A word's evidence is ``weight`` times the log odds of its predicted presence, less the log odds of its share among
    the training stimuli (the captioner knows how common words are). It counts until the word was said. Regression
    predicts what an object is better than what it looks like where: features alone often give a caption of the right
    place and the wrong object.

    Parameters
    ----------
    network : GIT or BLIP, with its own batch size; halved when memory runs out.
    target : name of the target that holds the predicted features of its image tower.
    words : name of a `braindec.targets.words.CaptionWords` target with binary weighting.
    weight : of the words' evidence; 0 leaves the captioner alone.
    reach : evidence chooses among the words within so many nats of the one that the captioner finds likeliest, so that
        a noun never takes an adjective's place.
    max_length : tokens of a caption at most, special tokens counted.

    Source: added log scores as in shallow fusion (Gulcehre et al. 2015, arXiv:1503.03535).
    """

    def __init__(
        self,
        network: Captioner,
        target: str,
        words: str = "words",
        weight: float = 1.0,
        reach: float = 8.0,
        max_length: int = 25,
    ) -> None:
        self.network = network
        self.target = target
        self.words = words
        self.weight = weight
        self.reach = reach
        self.max_length = max_length

    def run(self, predictions: Predictions, previous: Reconstructions | None, context: StageContext) -> Reconstructions:
        """Add captions; pictures and labels of earlier stages are kept.

        Raises
        ------
        DataError
            If features or words were not predicted, or the words' target is not binary.
        """
        stage = f"worded_caption({self.target}, {self.words})"
        values = predicted(predictions, self.target, stage)
        network = self.network.to(context.device)
        evidence_NW = self._evidence(predictions, context, stage)
        vocabulary = target_with(context, self.words, "top_words", stage).words_
        bias_NV = spread(evidence_NW, network.first_tokens(vocabulary), network.n_tokens())

        def work(rows: np.ndarray, size: int) -> list[str]:
            bias = torch.as_tensor(bias_NV[rows], device=context.device)
            return list(
                network.captions(values[rows], self.max_length, adjust=lambda t, s: steered(t, s, bias, self.reach))
            )

        parts = in_batches(len(values), network.batch_size, work, stage)
        return extended(previous, predictions, stage, captions=tuple(text for part in parts for text in part))

    def _evidence(self, predictions: Predictions, context: StageContext, stage: str) -> np.ndarray:
        present_NW = predicted(predictions, self.words, stage)[:, 0]
        training = context.training_embeddings[self.words].values[:, 0]
        if not np.isin(training, (0, 1)).all():
            raise DataError(
                f"stage {stage}: needs the presence of words, 0 or 1; set targets.{self.words}.weighting=binary"
            )
        return np.float32(self.weight) * (log_odds(present_NW) - log_odds(training.mean(axis=0)))


def log_odds(share: np.ndarray) -> np.ndarray:
    """Log of p / (1 - p), with p kept from 0 and 1, which regression can overshoot."""
    kept = np.clip(share, 1 - _SUREST, _SUREST)
    return np.log(kept / (1 - kept)).astype(np.float32)


def spread(evidence_NW: np.ndarray, tokens: list[int], n_tokens: int) -> np.ndarray:
    """Evidence of words at the tokens that begin them: float32 (N, V), 0 elsewhere; words of one token share it."""
    bias_NV = np.zeros((len(evidence_NW), n_tokens), np.float32)
    for column, token in enumerate(tokens):
        own = evidence_NW[:, column]
        stronger = np.abs(own) > np.abs(bias_NV[:, token])
        bias_NV[stronger, token] = own[stronger]
    return bias_NV


def steered(tokens_NL: Tensor, scores_NV: Tensor, bias_NV: Tensor, reach: float) -> Tensor:
    """Scores after the evidence of tokens that do not stand in the caption yet.

    Tokens with evidence keep their common probability, so that evidence says which word comes, not when.
    """
    open_NV = (bias_NV != 0).scatter(1, tokens_NL, False)
    best_N1 = scores_NV.masked_fill(~open_NV, -torch.inf).amax(1, keepdim=True)
    open_NV &= scores_NV >= best_N1 - reach
    nowhere = scores_NV.new_full((), -torch.inf)
    before = torch.where(open_NV, scores_NV, nowhere)
    after = torch.where(open_NV, scores_NV + bias_NV.to(scores_NV.dtype), nowhere)
    gain_N1 = before.logsumexp(1, keepdim=True) - after.logsumexp(1, keepdim=True)
    return torch.where(open_NV, after + gain_N1, scores_NV)
