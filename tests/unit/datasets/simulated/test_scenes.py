"""Drawn scenes: reproducible, all different, and truthfully described."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braindec.datasets.simulated.captions import with_article
from braindec.datasets.simulated.objects import PAINTERS
from braindec.datasets.simulated.plan import plan_scene
from braindec.datasets.simulated.scenes import SceneBatch, render_indices, render_scenes
from braindec.datasets.simulated.vocabulary import CATEGORIES, COLOURS, COLOURS_OF, LIGHTINGS, PLACES, PLACES_OF
from braindec.types import DataError


@pytest.fixture(scope="module")
def batch() -> SceneBatch:
    return render_scenes(400, seed=3)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=4, unique=True), st.integers(0, 2**31))
def test_a_scene_depends_on_seed_and_index_only(indices: list[int], seed: int) -> None:
    together = render_indices(indices, seed, size=32)
    for row, index in enumerate(indices):
        alone = render_scenes(1, seed, size=32, start=index)
        np.testing.assert_array_equal(alone.images[0], together.images[row])
        np.testing.assert_array_equal(alone.depth[0], together.depth[row])
        assert alone.captions[0] == together.captions[row]


def test_worlds_differ() -> None:
    assert not np.array_equal(render_scenes(3, 0).images, render_scenes(3, 1).images)


@pytest.mark.slow
def test_no_two_of_5000_scenes_are_equal() -> None:
    images = render_scenes(5000, seed=0, size=32).images
    assert len({hashlib.sha256(image.tobytes()).digest() for image in images}) == 5000


def test_another_size_samples_the_same_scene() -> None:
    small, large = render_scenes(20, 5, size=64), render_scenes(20, 5, size=128)
    assert large.images.shape == (20, 128, 128, 3)
    halved = large.images.reshape(20, 64, 2, 64, 2, 3).mean(axis=(2, 4))
    assert np.abs(halved - small.images).mean() < 4
    assert small.captions == large.captions
    for few, many in zip(small.boxes, large.boxes, strict=True):
        np.testing.assert_allclose([box[1:] for box in few], [box[1:] for box in many], atol=2 / 64)


def test_every_category_colour_place_and_lighting_occurs(batch: SceneBatch) -> None:
    assert set(PAINTERS) == set(CATEGORIES) == set(COLOURS_OF) == set(PLACES_OF)
    assert set(batch.concepts) == set(CATEGORIES)
    for name, values in (("colour", COLOURS), ("place", PLACES), ("lighting", LIGHTINGS)):
        assert {attributes[name] for attributes in batch.attributes} == set(values)


def test_captions_name_object_colour_and_place(batch: SceneBatch) -> None:
    place_words = {name: name for name in PLACES} | {"mountains": "mountain"}
    for captions, attributes, concept in zip(batch.captions, batch.attributes, batch.concepts, strict=True):
        assert concept == attributes["object"]
        assert len(set(captions)) == len(captions) >= 5
        for caption in captions:
            assert attributes["object"] in caption
            assert attributes["colour"] in caption
            assert place_words[attributes["place"]] in caption
        assert f"the {attributes['position']}" in captions[0]
        assert attributes["second_object"] == "none" or attributes["second_object"] in captions[2]


def test_articles() -> None:
    assert with_article("orange bus") == "an orange bus"
    assert with_article("red umbrella") == "a red umbrella"


def test_boxes_hold_the_object_pixels_tightly(batch: SceneBatch) -> None:
    size = batch.images.shape[1]
    for row, boxes in enumerate(batch.boxes):
        numbers = [k for k in (1, 2) if (batch.instances[row] == k).any()]
        assert len(boxes) == len(numbers) >= 1
        assert boxes[0][0] == batch.concepts[row]
        for number, (_, left, top, right, bottom) in zip(numbers, boxes, strict=True):
            mask = batch.instances[row] == number
            inside = np.zeros_like(mask)
            inside[round(top * size) : round(bottom * size), round(left * size) : round(right * size)] = True
            assert not (mask & ~inside).any()
            assert mask[inside].mean() > 0.08
            assert 0 <= left < right <= 1
            assert 0 <= top < bottom <= 1


def test_main_object_is_where_the_caption_says(batch: SceneBatch) -> None:
    middle = {"left": [], "centre": [], "right": []}
    for boxes, attributes in zip(batch.boxes, batch.attributes, strict=True):
        middle[attributes["position"]].append((boxes[0][1] + boxes[0][3]) / 2)
    assert max(middle["left"]) < min(middle["centre"])
    assert max(middle["centre"]) < min(middle["right"])


def test_main_object_has_the_colour_that_the_caption_says() -> None:
    balls = [index for index in range(900) if plan_scene(8, index).concept == "ball"]
    batch = render_indices([i for i in balls if plan_scene(8, i).lighting == "sunny"], 8)
    hues = {"red": 0, "green": 1, "blue": 2}
    checked = 0
    for row, attributes in enumerate(batch.attributes):
        if attributes["colour"] in hues:
            pixels = batch.images[row][batch.instances[row] == 1]
            assert np.median(pixels, axis=0).argmax() == hues[attributes["colour"]]
            checked += 1
    assert checked >= 3


def test_objects_are_nearer_than_what_is_behind_them(batch: SceneBatch) -> None:
    assert batch.depth.dtype == np.float32
    assert batch.depth.min() >= 0
    assert batch.depth.max() <= 1
    for row, boxes in enumerate(batch.boxes):
        if len(boxes) > 1:
            continue
        mask = batch.instances[row] == 1
        _, left, top, right, _ = boxes[0]
        columns = slice(int(left * 64), int(right * 64) + 1)
        above = batch.depth[row][: max(int(top * 64), 0), columns]
        if above.size:
            assert batch.depth[row][mask].min() > above.max()


def test_sky_is_at_infinity_and_ground_comes_nearer(batch: SceneBatch) -> None:
    outdoors = [k for k, attributes in enumerate(batch.attributes) if attributes["place"] != "room"]
    corner = batch.depth[outdoors][:, 0, 0] * (batch.instances[outdoors][:, 0, 0] == 0)
    assert (corner == 0).mean() > 0.95
    empty = (batch.instances == 0).all(axis=2)
    for row in range(len(batch)):
        profile = batch.depth[row][empty[row]].mean(axis=1)
        if len(profile) > 1:
            assert profile[-1] >= profile[0]


@pytest.mark.parametrize(
    ("arguments", "words"), [({"size": 8}, "size"), ({"seed": -1}, "seed"), ({"start": -2}, "indices")]
)
def test_bad_requests_are_refused(arguments: dict[str, int], words: str) -> None:
    with pytest.raises(DataError, match=words):
        render_scenes(1, **({"seed": 0} | arguments))
