"""Does a decoded caption name what was shown?"""

from __future__ import annotations

import numpy as np

from braindec.metrics.captions import tokens
from braindec.types import Evidence, Scores


class CaptionConcept:
    """Whether the concept's name, or each of its words, is in the decoded caption.

    Concepts are names such as ``dog`` or ``fire_truck``; plurals and synonyms do not count.

    Parameters
    ----------
    name : name in the results.
    """

    pairwise = True

    def __init__(self, name: str = "caption_concept") -> None:
        self.name = name

    def scores(self, evidence: Evidence) -> tuple[Scores, ...]:
        """1.0 or 0.0 a prediction; no closed-form chance; empty without captions or concepts."""
        concepts = evidence.gallery.concepts
        if evidence.captions is None or concepts is None:
            return ()
        wanted = [set(tokens(concept.replace("_", " "))) for concept in concepts]
        values = np.array(
            [
                wanted[shown] <= set(tokens(caption)) if wanted[shown] else np.nan
                for caption, shown in zip(evidence.captions, evidence.truth, strict=True)
            ],
            dtype=np.float64,
        )
        return (Scores(self.name, values),)
