from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evidence import make_evidence

from braindec.compose import compose
from braindec.datasets.simulated.vocabulary import GROUPS
from braindec.metrics.category import ZeroShotConcept
from braindec.metrics.hierarchy import Hierarchy, SemanticSimilarity, Superordinate
from braindec.types import DataError

TREE = {"living": ["animal", "tree"], "animal": ["dog", "cat"], "thing": ["mug"]}


def test_similarity_by_hand() -> None:
    tree = Hierarchy(TREE)
    # Depths from a root of 1: living 2, animal 3, dog and cat 4, tree 3; thing 2, mug 3.
    assert tree.similarity("dog", "dog") == 1
    assert tree.similarity("dog", "cat") == pytest.approx(2 * 3 / 8)
    assert tree.similarity("dog", "tree") == pytest.approx(2 * 2 / 7)
    assert tree.similarity("dog", "mug") == pytest.approx(2 * 1 / 7)
    assert tree.group("dog") == "animal"


def test_bad_hierarchies_are_named() -> None:
    with pytest.raises(DataError, match="'dog' is in the groups 'a' and 'b'"):
        Hierarchy({"a": ["dog"], "b": ["dog"]})
    with pytest.raises(DataError, match="its own ancestor"):
        Hierarchy({"a": ["b"], "b": ["a"]})
    with pytest.raises(DataError, match="'whale' is in no group"):
        Hierarchy(TREE).group("whale")


def evidence(labels: tuple[str, ...]):
    made = make_evidence(4)
    return replace(made, gallery=replace(made.gallery, concepts=("dog", "cat", "tree", "mug")), labels=labels)


def test_near_misses_count_one_level_up() -> None:
    accuracy, nearest = Superordinate(TREE, "e").scores(evidence(("cat", "cat", "mug", "mug")))
    assert accuracy.name == "superordinate_accuracy"
    assert accuracy.values.tolist() == [1, 1, 0, 1]
    assert accuracy.chance == pytest.approx(2 / 4)
    assert nearest.name == "e_superordinate_top1"
    assert nearest.values.tolist() == [1, 1, 1, 1]
    (similarity,) = SemanticSimilarity(TREE).scores(evidence(("cat", "cat", "mug", "mug")))
    np.testing.assert_allclose(similarity.values, [6 / 8, 1, 2 / 6, 1])
    pairs = [
        Hierarchy(TREE).similarity(a, b) for a in ("dog", "cat", "tree", "mug") for b in ("dog", "cat", "tree", "mug")
    ]
    assert similarity.chance == pytest.approx(np.mean(pairs))
    assert SemanticSimilarity(TREE).scores(replace(evidence(("a",) * 4), labels=None)) == ()


def test_the_configured_groups_are_those_of_the_simulated_data() -> None:
    config = compose("train", ["metric=[superordinate,semantic]"])
    assert {k: tuple(v) for k, v in config.metrics.superordinate.groups.items()} == dict(GROUPS)
    assert {k: tuple(v) for k, v in config.metrics.semantic.groups.items() if k in GROUPS} == dict(GROUPS)


class Names:
    """One direction a name, in the order of the alphabet."""

    def encode(self, texts: list[str]) -> np.ndarray:
        self.seen = texts
        return np.eye(4, dtype=np.float32)[: len(texts), None]

    def describe(self) -> dict[str, str]:
        return {"weights": "names"}


def test_zero_shot_names() -> None:
    text = Names()
    predicted = np.eye(4, dtype=np.float32)[[1, 0, 3, 3], None]  # cat, dog, mug, tree in alphabetical order
    given = replace(evidence(("",) * 4), embeddings={"clip_image": predicted})
    (top1,) = ZeroShotConcept(text, "clip_image", k=(1, 5)).scores(given)
    assert text.seen == ["a photo of a cat.", "a photo of a dog.", "a photo of a mug.", "a photo of a tree."]
    assert top1.values.tolist() == [1, 1, 1, 0]
    assert (top1.chance, top1.gallery_size) == (0.25, 4)
