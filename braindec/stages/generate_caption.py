"""Captions written by a frozen captioner's language decoder from predicted image features.

Legend: N predictions, K tokens, D dimensions.
"""

from __future__ import annotations

import numpy as np

from braindec.contracts import StageContext
from braindec.frozen.beams import Search
from braindec.frozen.captioners import Captioner
from braindec.stages.batches import in_batches
from braindec.stages.inputs import extended, predicted, target_with
from braindec.stages.ranking import best_samples
from braindec.types import DataError, Predictions, Reconstructions, Stimuli


class GenerateCaption:
    """A caption for each prediction, by greedy, beam or diverse beam search.

    Parameters
    ----------
    network : GIT or BLIP, with its own batch size; halved when memory runs out.
    target : name of the target that holds the predicted features of its image tower.
    search : see `braindec.frozen.beams.Search`.
    rank_by : target of texts by which one of the captions found is chosen: the one whose own embedding is nearest to
        the predicted one, best score first among equals; None keeps the caption of the best score.

    Source: Ferrante et al. 2023 (Brain Captioning) for GIT; Takagi and Nishimoto 2023 (arXiv:2306.11536) for BLIP.
    """

    def __init__(self, network: Captioner, target: str, search: Search, rank_by: str | None = None) -> None:
        self.network = network
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
        wanted = None if self.rank_by is None else predicted(predictions, self.rank_by, stage)

        def work(rows: np.ndarray, size: int) -> list[tuple[str, list[tuple[str, float]]]]:
            if wanted is None and self.search.beams == 1 and self.search.length_penalty == 1:
                # The library's own greedy search is faster, and there is one caption to find.
                limits = self.search.max_length, self.search.min_length
                return [(text, []) for text in network.captions(values[rows], *limits)]
            found = network.candidates(values[rows], self.search)
            if wanted is None:
                return [(ranked[0][0], list(ranked)) for ranked in found]
            texts = [[text for text, _ in ranked] for ranked in found]
            nearest = [self._nearest(own, wanted[row], context, stage) for own, row in zip(texts, rows, strict=True)]
            return [(text, list(ranked)) for text, ranked in zip(nearest, found, strict=True)]

        parts = in_batches(len(values), max(1, network.batch_size // self.search.beams), work, stage)
        made = [one for part in parts for one in part]
        notes = {"n_best": [[[text, round(score, 4)] for text, score in ranked] for _, ranked in made]}
        captions = tuple(text for text, _ in made)
        kept = notes if self.search.beams > 1 else {}
        return extended(previous, predictions, stage, captions=captions, notes=kept)

    def _nearest(self, texts: list[str], wanted_KD: np.ndarray, context: StageContext, stage: str) -> str:
        assert self.rank_by is not None
        target = target_with(context, self.rank_by, "embed", stage)
        ids = tuple(str(number) for number in range(len(texts)))
        found = target.embed(Stimuli(ids, captions=tuple((text,) for text in texts), texts=tuple(texts)))
        if found.shape[1:] != wanted_KD.shape:
            raise DataError(
                f"stage {stage}: captions have embeddings {found.shape[1:]} of target {self.rank_by!r}, predictions "
                f"{wanted_KD.shape}; train again with that target's configuration"
            )
        return texts[int(best_samples(wanted_KD[None], found[None])[0])]
