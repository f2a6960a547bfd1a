"""Zero-shot classification of what was read: which label's description is nearest to the predicted embedding.

Legend: N predictions, C labels, F features.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from braindec.contracts import Target
from braindec.metrics.similarity import Similarity, flattened, similarity_matrix
from braindec.types import DataError, Evidence, Scores, Stimuli


class ZeroShot:
    """Share of predictions whose label's description is nearest, beside what always naming the commonest label scores.

    Predictions of stimuli without a label (an empty one) are undefined. Gives ``<field>_zero_shot``: its chance is the
    share of the commonest label among the rows, the number that a classifier has to beat.

    Parameters
    ----------
    target : name of the predicted text embedding.
    field : name of the labels in the stimuli's ``extras``: sentiment, relation, corpus.
    descriptions : label -> a text about it.
    embedding : the same text embedding as the target's; it must need no fitting. None: there is no such target.
    similarity : ``cosine`` or ``correlation``.

    Source: Radford et al. 2021, section 3.1 (classification by descriptions).
    """

    def __init__(
        self,
        target: str,
        field: str,
        descriptions: Mapping[str, str],
        embedding: Target | None,
        similarity: Similarity = "cosine",
    ) -> None:
        if len(descriptions) < 2:
            raise DataError(f"ZeroShot of {field!r}: expected two labels or more, found {sorted(descriptions)}")
        self.target = target
        self.field = field
        self.descriptions = descriptions
        self.embedding = embedding
        self.similarity: Similarity = similarity
        self._described: np.ndarray | None = None

    def scores(self, evidence: Evidence) -> tuple[Scores, ...]:
        """One `Scores`; empty when the target was not predicted or no stimulus has a label.

        Raises
        ------
        DataError
            If a stimulus has a label without a description, or the two embeddings differ in shape.
        """
        if self.target not in evidence.embeddings or self.field not in evidence.gallery.extras:
            return ()
        if self.embedding is None:
            raise DataError(
                f"ZeroShot of {self.field!r}: no text embedding; set its embedding to ${{targets.{self.target}}}"
            )
        labels = [str(label) for label in evidence.gallery.extras[self.field]]
        unknown = sorted({label for label in labels if label} - set(self.descriptions))
        if unknown:
            raise DataError(f"ZeroShot of {self.field!r}: no description of {unknown}; add them to its descriptions")
        shown = np.array([labels[g] for g in evidence.truth])
        if not (shown != "").any():
            return ()
        names = sorted(self.descriptions)
        if self._described is None:
            texts = tuple(self.descriptions[name] for name in names)
            stimuli = Stimuli(tuple(names), captions=tuple((text,) for text in texts), texts=texts)
            self._described = flattened(self.embedding.embed(stimuli), f"descriptions of {self.field!r}")
        predicted_NF = flattened(evidence.embeddings[self.target], f"predicted embedding {self.target!r}")
        similarity_CN = np.nan_to_num(similarity_matrix(self._described, predicted_NF, self.similarity))
        best_N = similarity_CN.max(axis=0)
        tied_CN = similarity_CN == best_N
        own_CN = np.array(names)[:, None] == shown[None]
        # Labels that tie are worth what drawing one of them gives.
        values = np.where(shown != "", (tied_CN & own_CN).sum(axis=0) / tied_CN.sum(axis=0), np.nan)
        majority = max(Counter(shown[shown != ""].tolist()).values()) / int((shown != "").sum())
        flags = ("chance: majority", f"labels: {', '.join(names)}")
        return (Scores(f"{self.field}_zero_shot", values, "higher", majority, len(names), flags),)
