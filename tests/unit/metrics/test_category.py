from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evidence import make_evidence

from braindec.metrics.category import ConceptAUC, ConceptNWay, LabelAccuracy


def test_label_accuracy_and_its_chance() -> None:
    evidence = make_evidence(4, truth=np.array([0, 1, 2, 3, 3]))
    (scores,) = LabelAccuracy().scores(replace(evidence, labels=("concept0", "concept0", "x", "concept0", "concept0")))
    np.testing.assert_array_equal(scores.values, [1, 0, 0, 1, 1])
    assert scores.chance == pytest.approx(3 / 5)
    assert scores.gallery_size == 3
    (uniform,) = LabelAccuracy(chance="uniform").scores(evidence)
    assert uniform.chance == pytest.approx(1 / 3)
    np.testing.assert_array_equal(uniform.values, 1)


def test_without_labels_or_concepts_there_is_no_score() -> None:
    evidence = make_evidence(4)
    assert LabelAccuracy().scores(replace(evidence, labels=None)) == ()
    no_concepts = replace(evidence, gallery=replace(evidence.gallery, concepts=None))
    assert LabelAccuracy().scores(no_concepts) == ()
    assert ConceptNWay().scores(no_concepts) == ()


def test_concept_centres() -> None:
    evidence = make_evidence(9)
    centres = np.stack([evidence.gallery_embeddings["e"][c::3].mean(axis=0) for c in range(3)])
    aimed = replace(evidence, embeddings={"e": centres[evidence.truth % 3].astype(np.float32)})
    (top1,) = ConceptNWay("e").scores(aimed)
    assert top1.name == "e_concept_top1"
    np.testing.assert_array_equal(top1.values, 1)
    assert top1.chance == pytest.approx(1 / 3)
    assert "gallery: concept centres" in top1.flags
    missed = replace(evidence, embeddings={"e": centres[(evidence.truth + 1) % 3].astype(np.float32)})
    np.testing.assert_array_equal(ConceptNWay("e").scores(missed)[0].values, 0)


def test_fewer_candidates_are_easier() -> None:
    evidence = make_evidence(90, noise=3.0, dim=4)
    concepts = tuple(f"c{g % 30}" for g in range(90))
    evidence = replace(evidence, gallery=replace(evidence.gallery, concepts=concepts))
    (all_of_them,) = ConceptNWay("e", k=(1,)).scores(evidence)
    (two,) = ConceptNWay("e", k=(1,), n=2).scores(evidence)
    assert two.values.mean() > all_of_them.values.mean()
    assert (two.chance, two.gallery_size, two.name) == (0.5, 2, "e_concept_2way_top1")


def test_area_under_the_curve_is_the_mean_over_rows() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    evidence = make_evidence(3, truth=rng.integers(0, 3, 60))
    predicted = (rng.normal(size=(60, 3)) + np.eye(3)[evidence.truth]).round(1).astype(np.float32)
    evidence = replace(
        evidence,
        embeddings={"concepts": predicted[:, None]},
        gallery_embeddings={"concepts": np.eye(3, dtype=np.float32)[:, None]},
    )
    (scores,) = ConceptAUC().scores(evidence)
    for c in range(3):
        own = evidence.truth == c
        assert scores.values[own].mean() == pytest.approx(roc_auc_score(own, predicted[:, c]))
    assert scores.chance == 0.5
    assert ConceptAUC("other").scores(evidence) == ()
