"""Did decoding find the right concept?

Legend: G gallery entries, N predictions, C concepts, F flattened embedding features.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np

from braindec.metrics import ranking
from braindec.metrics.caption_similarity import Encoder, directions, identity
from braindec.metrics.features import paired_features
from braindec.metrics.memo import Memo
from braindec.metrics.similarity import Similarity, flattened, similarity_matrix
from braindec.types import Evidence, Scores


class LabelAccuracy:
    """Share of predictions whose decoded label is the concept of the stimulus.

    Parameters
    ----------
    chance : ``majority``, the share of the commonest concept among the rows, which always naming it would score (with
        equally many rows a concept this is 1 / number of concepts); or ``uniform``, 1 / number of concepts in the
        gallery.
    name : name in the results.
    """

    def __init__(self, chance: Literal["majority", "uniform"] = "majority", name: str = "concept_accuracy") -> None:
        self.chance: Literal["majority", "uniform"] = chance
        self.name = name

    def scores(self, evidence: Evidence) -> tuple[Scores, ...]:
        """1.0 or 0.0 a prediction; empty without labels or concepts."""
        if evidence.labels is None or evidence.gallery.concepts is None or len(evidence.table) == 0:
            return ()
        shown = [evidence.gallery.concepts[g] for g in evidence.truth]
        values = np.array(
            [label == concept for label, concept in zip(evidence.labels, shown, strict=True)], dtype=float
        )
        n_concepts = len(set(evidence.gallery.concepts))
        majority = max(Counter(shown).values()) / len(shown)
        chance = majority if self.chance == "majority" else 1 / n_concepts
        return (Scores(self.name, values, "higher", chance, n_concepts, (f"chance: {self.chance}",)),)


class ConceptNWay:
    """Is the predicted embedding nearest to the centre of its own concept?

    The candidates are the concepts of the gallery, each the mean true embedding of its stimuli: a gallery of class
    centres, which is easier than one of the exact stimuli, and flagged so.

    Parameters
    ----------
    target : name of the embedding; None takes each that was predicted.
    k : lengths of the list that must hold the true concept.
    n : number of candidate concepts, the true one among them; None takes all.
    n_resamples, seed : how many random candidate sets are averaged per prediction.
    similarity : ``cosine`` or ``correlation``.
    """

    def __init__(
        self,
        target: str | None = None,
        k: Sequence[int] = (1, 5),
        n: int | None = None,
        n_resamples: int = 30,
        seed: int = 0,
        similarity: Similarity = "cosine",
    ) -> None:
        self.target = target
        self.k = k
        self.n = n
        self.n_resamples = n_resamples
        self.seed = seed
        self.similarity: Similarity = similarity

    def scores(self, evidence: Evidence) -> tuple[Scores, ...]:
        """One `Scores` named ``<target>_concept_top<k>`` for each k that is smaller than the number of candidates."""
        targets = tuple(evidence.embeddings) if self.target is None else (self.target,)
        return tuple(scores for target in targets for scores in self._scores(target, evidence))

    def _scores(self, target: str, evidence: Evidence) -> list[Scores]:
        pair = paired_features(evidence, target)
        if pair is None or evidence.gallery.concepts is None:
            return []
        true_GF, predicted_NF = pair
        concepts, concept_of_G = np.unique(np.array(evidence.gallery.concepts), return_inverse=True)
        centres_CF = np.stack([true_GF[concept_of_G == c].mean(axis=0, dtype=np.float64) for c in range(len(concepts))])
        similarity_NC = similarity_matrix(centres_CF, predicted_NF, self.similarity).T
        competition = ranking.compete(similarity_NC, concept_of_G[evidence.truth])
        n_candidates = len(concepts)
        flags: tuple[str, ...] = (self.similarity, "gallery: concept centres")
        if self.n is not None and self.n < n_candidates:
            rng = np.random.default_rng(self.seed)
            competition = ranking.subsampled(competition, self.n, self.n_resamples, rng)
            flags = (*flags, f"{self.n_resamples} random sets of {self.n} of {n_candidates} concepts")
            n_candidates = self.n
        found = []
        for k in self.k:
            if k < n_candidates:
                values = ranking.top_k(competition, k).reshape(-1, len(evidence.truth)).mean(axis=0)
                name = f"{target}_concept_top{k}" if self.n is None else f"{target}_concept_{self.n}way_top{k}"
                found.append(Scores(name, values, "higher", k / n_candidates, n_candidates, flags))
        return found


class ZeroShotConcept:
    """Is the predicted embedding nearest to the name of its own concept? No stimulus of the concept is needed.

    The candidates are the concepts of the gallery, each the text embedding of its name in a sentence; the target must
    live in the same space (a CLIP image or text embedding). Gives ``<target>_zero_shot_top<k>``.

    Parameters
    ----------
    text : text network of that space, such as `braindec.frozen.clip.ClipText`.
    target : name of the embedding.
    prompt : the sentence; ``{}`` stands for the name, whose underscores become spaces.
    k : lengths of the list that must hold the true concept.

    Source: Radford et al. 2021, section 3.1.
    """

    def __init__(self, text: Encoder, target: str, prompt: str = "a photo of a {}.", k: Sequence[int] = (1, 5)) -> None:
        self.text = text
        self.target = target
        self.prompt = prompt
        self.k = k
        self._names = Memo()

    def scores(self, evidence: Evidence) -> tuple[Scores, ...]:
        """One `Scores` for each k smaller than the number of concepts; empty without the target or concepts."""
        if self.target not in evidence.embeddings or evidence.gallery.concepts is None:
            return ()
        concepts, concept_of_G = np.unique(np.array(evidence.gallery.concepts), return_inverse=True)
        sentences = [self.prompt.format(str(concept).replace("_", " ")) for concept in concepts]
        names = self._names.of(evidence.gallery, lambda: directions(self.text.encode(sentences)))
        predicted_NF = flattened(evidence.embeddings[self.target], self.target)
        competition = ranking.compete(similarity_matrix(names, predicted_NF, "cosine").T, concept_of_G[evidence.truth])
        flags = ("gallery: concept names", f"prompt: {self.prompt!r}", identity(self.text))
        n = len(concepts)
        return tuple(
            Scores(f"{self.target}_zero_shot_top{k}", ranking.top_k(competition, k), "higher", k / n, n, flags)
            for k in self.k
            if k < n
        )


class ConceptAUC:
    """Area under the ROC curve of each concept against the others, from predicted one-hot values.

    A row's value is the share of rows of other concepts, of the same subject and fold, in which its concept was
    predicted less strongly; ties count half. The mean over the rows of a concept is that concept's area under the curve
    (the Mann-Whitney statistic), so that the mean over all rows is the average over concepts, weighted by their rows.

    Parameters
    ----------
    target : name of the one-hot embedding.
    name : name in the results.

    Source: Hanley & McNeil 1982, "The meaning and use of the area under a ROC curve".
    """

    def __init__(self, target: str = "concepts", name: str = "concept_auc") -> None:
        self.target = target
        self.name = name

    def scores(self, evidence: Evidence) -> tuple[Scores, ...]:
        """One value a prediction; empty without the target or concepts, NaN where a fold shows one concept only."""
        if self.target not in evidence.embeddings or evidence.gallery.concepts is None:
            return ()
        predicted_NC = evidence.embeddings[self.target][:, 0]
        own_N = evidence.gallery_embeddings[self.target][evidence.truth, 0].argmax(axis=1)
        values = np.full(len(own_N), np.nan)
        for concept in np.unique(own_N):
            inside = own_N == concept
            others = np.sort(predicted_NC[~inside, concept])
            if len(others):
                mine = predicted_NC[inside, concept]
                below = np.searchsorted(others, mine, "left") + np.searchsorted(others, mine, "right")
                values[inside] = below / (2 * len(others))
        n_concepts = len(set(evidence.gallery.concepts))
        return (Scores(self.name, values, "higher", 0.5, n_concepts, ("each concept against the others",)),)
