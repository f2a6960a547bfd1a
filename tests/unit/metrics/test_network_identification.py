"""Identification by a network's features, and captions that name the concept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from braindec.metrics.caption_concept import CaptionConcept
from braindec.metrics.identification import TwoWay
from braindec.metrics.network_identification import NetworkTwoWay
from braindec.types import Stimuli
from tests.unit.metrics.evidence import make_evidence


class Raw:
    """A network whose features are the pixels; counts how many pictures it saw."""

    seen = 0

    def encode(self, images: np.ndarray) -> np.ndarray:
        self.seen += len(images)
        return np.asarray(images, np.float32).reshape(len(images), 1, -1)

    def describe(self) -> dict[str, str]:
        return {"weights": "raw", "sha256": "0" * 64}


def test_on_pixels_it_is_two_way_identification_of_pixels() -> None:
    evidence = make_evidence(noise=3.0, truth=np.array([3, 1, 1, 7]))
    (found,) = NetworkTwoWay(Raw(), "raw").scores(evidence)
    (expected,) = TwoWay(size=None).scores(evidence)
    np.testing.assert_allclose(found.values, expected.values)
    assert (found.name, found.chance, found.gallery_size) == ("raw", 0.5, 12)


def test_a_picture_without_variance_scores_chance_and_is_flagged() -> None:
    evidence = make_evidence()
    assert evidence.images is not None
    evidence.images[2] = 7
    (found,) = NetworkTwoWay(Raw(), "raw").scores(evidence)
    assert found.values[2] == 0.5
    assert any("constant" in flag for flag in found.flags)


def test_no_picture_is_looked_at_twice() -> None:
    evidence, network = make_evidence(), Raw()
    metric = NetworkTwoWay(network, "raw")
    order = np.arange(12)[::-1]
    permuted = replace(evidence, images=evidence.images[order], permuted_from=(evidence, order))
    metric.scores(evidence)
    metric.scores(permuted)
    assert network.seen == 24


def test_without_pictures_there_is_no_score() -> None:
    assert NetworkTwoWay(Raw(), "raw").scores(replace(make_evidence(), images=None)) == ()


@pytest.mark.parametrize(
    ("caption", "value"), [("A red Fire truck.", 1.0), ("a truck on fire", 1.0), ("a firetruck", 0.0), ("", 0.0)]
)
def test_a_caption_must_hold_every_word_of_the_concept(caption: str, value: float) -> None:
    evidence = make_evidence(2, truth=np.array([1]))
    gallery = Stimuli(ids=evidence.gallery.ids, images=evidence.gallery.images, concepts=("dog", "fire_truck"))
    (found,) = CaptionConcept().scores(replace(evidence, gallery=gallery, captions=(caption,)))
    assert found.values.tolist() == [value]


def test_without_captions_or_concepts_nothing_is_scored() -> None:
    assert CaptionConcept().scores(replace(make_evidence(), captions=None)) == ()
