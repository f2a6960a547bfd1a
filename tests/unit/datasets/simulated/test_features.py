"""Features that simulated brains react to, against closed forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from braindec.datasets.simulated import features
from braindec.datasets.simulated.scenes import render_scenes
from braindec.types import DataError


def test_colour_maps_are_luminance_and_opponent_differences() -> None:
    images = np.zeros((1, 64, 64, 3), dtype=np.uint8)
    images[0, :32] = (255, 0, 0)
    images[0, 32:] = (0, 0, 255)
    maps = features.colour_maps(images)
    assert maps.shape == (1, 3, 32, 32)
    np.testing.assert_allclose(maps[0, :, 0, 0], [-1 / 3, 1, -0.5], atol=1e-6)
    np.testing.assert_allclose(maps[0, :, -1, -1], [-1 / 3, 0, 1], atol=1e-6)


@pytest.mark.parametrize(("scale", "cycles"), list(enumerate(features.CYCLES_PER_IMAGE)))
@pytest.mark.parametrize("orientation", range(features.ORIENTATIONS))
def test_energy_prefers_the_grating_of_its_scale_and_orientation(scale: int, cycles: float, orientation: int) -> None:
    axis = np.arange(64) / 64
    angle = np.pi * orientation / features.ORIENTATIONS
    # Whole cycles along both axes keep the grating periodic, as the Fourier plane assumes.
    wave = np.round(cycles * np.cos(angle)) * axis[None, :] + np.round(cycles * np.sin(angle)) * axis[:, None]
    amplitude = []
    for phase in (0.0, 1.3):
        grey = 127.5 + 100 * np.cos(2 * np.pi * wave + phase)
        images = np.repeat(np.round(grey).astype(np.uint8)[None, :, :, None], 3, axis=3)
        amplitude.append(features.energy_maps(images)[0])
    assert amplitude[0].mean(axis=(1, 2)).argmax() == scale * features.ORIENTATIONS + orientation
    np.testing.assert_allclose(amplitude[0], amplitude[1], atol=0.01)


def test_energy_of_a_blank_image_is_zero() -> None:
    assert np.abs(features.energy_maps(np.full((1, 64, 64, 3), 200, dtype=np.uint8))).max() < 1e-5


def test_features_do_not_depend_on_resolution_by_much() -> None:
    small = features.scene_features(render_scenes(12, 4, size=64))
    large = features.scene_features(render_scenes(12, 4, size=128))
    for name in ("colour", "energy", "category", "scene", "language"):
        a, b = getattr(small, name).ravel(), getattr(large, name).ravel()
        assert np.corrcoef(a, b)[0, 1] > 0.97, name


def test_language_features_follow_words_and_ignore_empty_ones() -> None:
    first = features.language_features((("a red dog in a field",), ("the red dog on a field",), ("a blue cat",)))
    np.testing.assert_allclose(first[0], first[1])
    assert not np.allclose(first[0], first[2])


def test_features_see_what_they_should() -> None:
    batch = render_scenes(6, 9)
    whole = features.scene_features(batch)
    reworded = features.scene_features(replace(batch, captions=(("nothing",),) * 6))
    np.testing.assert_array_equal(whole.colour, reworded.colour)
    np.testing.assert_array_equal(whole.category, reworded.category)
    assert not np.allclose(whole.language, reworded.language)
    row = features.CATEGORY_NAMES.index(batch.concepts[0])
    assert whole.category[0, row] > 0.5


def test_images_of_an_odd_size_are_refused() -> None:
    with pytest.raises(DataError, match="multiple of 64"):
        features.colour_maps(np.zeros((1, 96, 96, 3), dtype=np.uint8))
