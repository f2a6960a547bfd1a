from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from braindec.frozen.images import ImagePreprocessing, resize, to_channels_first, to_uint8
from braindec.types import DataError


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@settings(max_examples=15, deadline=None)
@given(
    height=st.integers(8, 90),
    width=st.integers(8, 90),
    to=st.tuples(st.integers(5, 60), st.integers(5, 60)),
    seed=st.integers(0, 99),
)
def test_resizing_equals_pil(interpolation: str, height: int, width: int, to: tuple[int, int], seed: int) -> None:
    image = np.random.default_rng(seed).choice([0, 255], (height, width, 3)).astype(np.uint8)
    how = getattr(Image.Resampling, interpolation.upper())
    expected = np.asarray(Image.fromarray(image).resize((to[1], to[0]), how)).astype(int)
    found = resize(to_channels_first(image[None]), to, interpolation)[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shape", [(60, 45), (45, 60), (51, 38), (40, 40)])
def test_shortest_edge_and_crop_equal_torchvision(shape: tuple[int, int]) -> None:
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    published = Compose([Resize(32, InterpolationMode.BICUBIC), CenterCrop(28)])
    expected = np.asarray(published(Image.fromarray(image))).astype(int)
    found = ImagePreprocessing(resize=32, crop=28, scale=1.0)(image[None])[0].permute(1, 2, 0).numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1


def test_standardising_uses_scaled_pixels() -> None:
    image = np.full((1, 4, 4, 3), 255, np.uint8)
    found = ImagePreprocessing(resize=None, mean=(0.5, 0.25, 0.0), sd=(0.5, 0.5, 2.0))(image)
    torch.testing.assert_close(found[0, :, 0, 0], torch.tensor([1.0, 1.5, 0.5]))


def test_pixels_round_to_the_nearest_level() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    pixels = to_channels_first(levels) / 127.5 - 1
    np.testing.assert_array_equal(to_uint8(pixels), levels)
    np.testing.assert_array_equal(to_uint8(pixels * 3)[0, 0, 0], [0, 0, 0])


@pytest.mark.parametrize(
    "images", [np.zeros((2, 4, 4), np.uint8), np.zeros((1, 4, 4, 3), np.float32), np.zeros((1, 4, 4, 1), np.uint8)]
)
def test_other_arrays_are_refused(images: np.ndarray) -> None:
    with pytest.raises(DataError, match="expected uint8"):
        ImagePreprocessing(resize=8)(images)


def test_a_crop_larger_than_the_image_is_refused() -> None:
    with pytest.raises(DataError, match="at least 8 px"):
        ImagePreprocessing(resize=4, crop=8)(np.zeros((1, 4, 4, 3), np.uint8))
