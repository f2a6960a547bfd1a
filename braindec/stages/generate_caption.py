"""Captions written by a frozen captioner's language decoder from predicted image features.

Legend: N predictions, K tokens, D dimensions.
"""

from __future__ import annotations

import numpy as np

from braindec.contracts import StageContext
from braindec.frozen.beams import Search
from braindec.frozen.captioners import Captioner
from braindec.stages.batches import in_batches
from braindec.stages.caption_features import CaptionFeatures
from braindec.stages.inputs import extended, predicted
from braindec.stages.rescoring import nearest_text
from braindec.types import DataError, Predictions, Reconstructions


class GenerateCaption:
    """A caption for each prediction, by greedy, beam or diverse beam search.

    Parameters
    ----------
    network : GIT or BLIP, with its own batch size; halved when memory runs out.
    target : name of the target that holds the predicted features of its image tower.
    search : see `braindec.frozen.beams.Search`.
    features : makes the captioner's features of the predicted embeddings; None where those were predicted themselves.
    rank_by : target of texts by which one of the captions found is chosen: the one whose own embedding is nearest to
        the predicted one, best score first among equals; None keeps the caption of the best score.

    Source: Ferrante et al. 2023 (Brain Captioning) for GIT; Takagi and Nishimoto 2023 (arXiv:2306.11536) for BLIP.
    """

    def __init__(
        self,
        network: Captioner,
        target: str,
        search: Search,
        rank_by: str | None = None,
        features: CaptionFeatures | None = None,
    ) -> None:
        if search.lookup:
            raise DataError("stage generate_caption: search.lookup is of language models (prefix_llm); leave it at 0")
        self.network = network
        self.features = features
        self.target = target
        self.search = search
        self.rank_by = rank_by

    def run(self, predictions: Predictions, previous: Reconstructions | None, context: StageContext) -> Reconstructions:
        """Add captions; pictures and labels of earlier stages are kept.

        Raises
        ------
        DataError
            If the features were not predicted, are not finite or of another shape, or weights are missing.
        """
        stage = f"generate_caption({self.target})"
        values = predicted(predictions, self.target, stage)
        network = self.network.to(context.device)
        if self.features is not None:
            values = self.features.of(values, self.target, network, context, stage)

        def work(rows: np.ndarray, size: int) -> list[list[tuple[str, float]]]:
            return [list(ranked) for ranked in network.candidates(values[rows], self.search)]

        parts = in_batches(len(values), max(1, network.batch_size // self.search.beams), work, stage)
        made = [ranked for part in parts for ranked in part]
        captions = [ranked[0][0] for ranked in made]
        if self.rank_by is not None:
            captions = nearest_text([[t for t, _ in own] for own in made], predictions, self.rank_by, context, stage)
        notes = {"n_best": [[[text, round(score, 4)] for text, score in ranked] for ranked in made]}
        kept = notes if self.search.beams > 1 else {}
        return extended(previous, predictions, stage, captions=tuple(captions), notes=kept)
