"""Semantic scores over a hierarchy of concepts: the right kind of thing, and how near a wrong name comes.

Legend: N predictions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from braindec.metrics.category import ConceptNWay, LabelAccuracy
from braindec.metrics.similarity import Similarity
from braindec.types import DataError, Evidence, Scores


class Hierarchy:
    """A tree of concepts, given as group -> members; a member may be a group itself. Groups of no group hang on a root.

    Raises
    ------
    DataError
        If a member is in two groups, or a group is its own ancestor.
    """

    def __init__(self, groups: Mapping[str, Sequence[str]]) -> None:
        self.parent: dict[str, str] = {}
        for group, members in groups.items():
            for member in members:
                # A concept may carry its group's name ("face" in "face"): it is then a leaf beneath it.
                own = member if member != group else f"{group} (concept)"
                if own in self.parent:
                    raise DataError(f"hierarchy: {member!r} is in the groups {self.parent[own]!r} and {group!r}")
                self.parent[own] = group
        for concept in self.parent:
            if len(self.path(concept)) > len(self.parent) + 1:
                raise DataError(f"hierarchy: {concept!r} is its own ancestor")

    def leaf(self, concept: str) -> str:
        """The node of a concept. Raises `DataError` when it is in no group."""
        own = f"{concept} (concept)" if f"{concept} (concept)" in self.parent else concept
        if own not in self.parent:
            raise DataError(f"hierarchy: concept {concept!r} is in no group; known e.g. {sorted(self.parent)[:4]}")
        return own

    def group(self, concept: str) -> str:
        """The superordinate group that a concept is directly in."""
        return self.parent[self.leaf(concept)]

    def path(self, node: str) -> list[str]:
        """A node and its ancestors, the nearest first, without the root; longer than the tree where it is a ring."""
        found = [node]
        while found[-1] in self.parent and len(found) <= len(self.parent) + 1:
            found.append(self.parent[found[-1]])
        return found

    def similarity(self, one: str, other: str) -> float:
        """Wu-Palmer similarity: twice the depth of the lowest common ancestor over the sum of depths, root 1.

        Source: Wu & Palmer 1994.
        """
        first, second = self.path(self.leaf(one)), self.path(self.leaf(other))
        shared = next((place for place, node in enumerate(first) if node in second), len(first))
        return 2 * (len(first) - shared + 1) / (len(first) + len(second) + 2)


class Superordinate:
    """Accuracy one level up: of the decoded label, and of the nearest group centre to a predicted embedding.

    Gives ``superordinate_accuracy`` (chance: the commonest group) and ``<target>_superordinate_top1`` (chance: one of
    the gallery's groups).

    Parameters
    ----------
    groups : see `Hierarchy`; every concept of the stimuli and every label must be in one.
    target : name of the embedding; None takes each that was predicted.
    similarity : ``cosine`` or ``correlation``.
    """

    def __init__(
        self, groups: dict[str, list[str]], target: str | None = None, similarity: Similarity = "cosine"
    ) -> None:
        self.groups = groups
        self.target = target
        self.similarity: Similarity = similarity

    def scores(self, evidence: Evidence) -> tuple[Scores, ...]:
        """Values of 0 or 1 a prediction; empty without concepts."""
        if evidence.gallery.concepts is None:
            return ()
        tree = Hierarchy(self.groups)
        concepts = tuple(tree.group(concept) for concept in evidence.gallery.concepts)
        labels = None if evidence.labels is None else tuple(tree.group(label) for label in evidence.labels)
        upper = replace(evidence, gallery=replace(evidence.gallery, concepts=concepts), labels=labels)
        named = LabelAccuracy(name="superordinate_accuracy").scores(upper)
        nearest = ConceptNWay(self.target, (1,), similarity=self.similarity).scores(upper)
        return (*named, *(replace(s, name=s.name.replace("_concept_", "_superordinate_")) for s in nearest))


class SemanticSimilarity:
    """Wu-Palmer similarity of the decoded label to the stimulus's concept: 1 for the right one, more for near misses.

    Chance is that of naming the concepts of the rows at random.

    Parameters
    ----------
    groups : see `Hierarchy`.
    name : name in the results.
    """

    def __init__(self, groups: dict[str, list[str]], name: str = "semantic_similarity") -> None:
        self.groups = groups
        self.name = name

    def scores(self, evidence: Evidence) -> tuple[Scores, ...]:
        """One value in (0, 1] a prediction; empty without labels or concepts."""
        if evidence.labels is None or evidence.gallery.concepts is None or len(evidence.table) == 0:
            return ()
        tree = Hierarchy(self.groups)
        shown = [evidence.gallery.concepts[g] for g in evidence.truth]
        names, counts = np.unique(shown, return_counts=True)
        weights = counts / counts.sum()
        table = np.array([[tree.similarity(str(a), str(b)) for b in names] for a in names])
        values = np.array([tree.similarity(a, b) for a, b in zip(evidence.labels, shown, strict=True)])
        return (Scores(self.name, values, "higher", float(weights @ table @ weights), len(names), ("Wu-Palmer",)),)
