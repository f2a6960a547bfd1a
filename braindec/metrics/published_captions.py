"""Caption scores as published captioning tables compute them.

Legend: G gallery entries, N predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from braindec.metrics.captions import corpus_bleu, sentence_bleu
from braindec.metrics.memo import Memo
from braindec.metrics.meteor import VARIANT, meteor
from braindec.metrics.ngram_scores import Cider, rouge_l
from braindec.metrics.ptb import ptb_tokens
from braindec.types import Evidence, Scores, Stimuli

Convention = Literal["brainhub", "mindeye2"]


class PublishedCaptions:
    """BLEU-1 to BLEU-4, ROUGE-L, CIDEr and METEOR: ``<convention>_bleu1`` and so on.

    BLEU is a figure of a whole corpus: what is published is not the mean of the captions' values, which is what the
    interval is about, and is given as a flag, one a subject and fold.

    Parameters
    ----------
    convention : ``brainhub`` compares with all captions of a stimulus (COCO gives five), ``mindeye2`` with the first.

    A stimulus without a caption is undefined; an empty decoded caption scores 0.

    Source: weihaox/BrainHub metrics/__init__.py (the COCO evaluation); MedARC-AI/MindEyeV2
    src/final_evaluations.ipynb for the single reference.
    """

    pairwise = True

    def __init__(self, convention: Convention) -> None:
        self.convention: Convention = convention
        self._galleries = Memo()

    def scores(self, evidence: Evidence) -> tuple[Scores, ...]:
        """Seven values a prediction, in [0, 1] but for CIDEr, which reaches 10; none has a closed-form chance."""
        gallery = evidence.gallery
        if evidence.captions is None or gallery.captions is None or len(evidence.table) == 0:
            return ()
        references, cider = self._galleries.of(gallery, lambda: self._prepared(gallery))
        decoded = [ptb_tokens(caption) for caption in evidence.captions]
        known_N = np.array([bool(references[g]) for g in evidence.truth])
        pairs = [(references[g], words) for g, words in zip(evidence.truth, decoded, strict=True)]

        def filled(values: Sequence[float]) -> np.ndarray:
            full = np.full(len(decoded), np.nan)
            full[known_N] = values
            return full

        kept = [pair for pair, known in zip(pairs, known_N, strict=True) if known]
        flags = (
            f"convention: {self.convention}",
            "Penn Treebank words",
            "all references" if self.convention == "brainhub" else "first reference only",
        )
        found = []
        for n in range(1, 5):
            values = [sentence_bleu(own, words, n) for own, words in kept]
            corpus, told = _corpus(evidence, kept, n)
            own_flags = (*flags, f"mean of sentence BLEU-{n}, n-grams above 1 smoothed by one", *told)
            name = f"{self.convention}_bleu{n}"
            found.append(Scores(name, filled(values), flags=own_flags, corpus_value=corpus))
        rouge = filled([rouge_l(own, words) for own, words in kept])
        found.append(Scores(f"{self.convention}_rouge_l", rouge, flags=flags))
        rows = np.flatnonzero(known_N)
        consensus = filled([cider.score(int(evidence.truth[row]), decoded[row]) for row in rows])
        idf = f"document frequencies of {len(gallery)} test stimuli"
        found.append(Scores(f"{self.convention}_cider", consensus, flags=(*flags, "CIDEr-D", idf)))
        stems = filled([meteor(own, words) for own, words in kept])
        found.append(Scores(f"{self.convention}_meteor_exact_stem", stems, flags=(*flags, VARIANT)))
        return tuple(found)

    def _prepared(self, gallery: Stimuli) -> tuple[list[list[list[str]]], Cider]:
        limit = None if self.convention == "brainhub" else 1
        cut = [[ptb_tokens(caption) for caption in captions[:limit]] for captions in gallery.captions or ()]
        references = [[words for words in captions if words] for captions in cut]
        return references, Cider(references)


def _corpus(
    evidence: Evidence, pairs: Sequence[tuple[list[list[str]], list[str]]], n: int
) -> tuple[float | None, tuple[str, ...]]:
    """The corpus figure, and the flag that says it."""
    if not pairs or evidence.permuted_from is not None:
        return None, ()
    value = corpus_bleu([own for own, _ in pairs], [words for _, words in pairs], n)
    where = " ".join(str(evidence.table[column].iloc[0]) for column in ("subject", "fold"))
    return value, (f"corpus BLEU-{n} of {where}: {value:.4f}",)
