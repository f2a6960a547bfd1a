"""SSIM against scikit-image, the reference of the published tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity as reference

from braindec.metrics.image import structural_similarity
from braindec.metrics.pixels import grey

OPTIONS: dict[str, Any] = {
    "gaussian_weights": True,
    "sigma": 1.5,
    "use_sample_covariance": False,
    "data_range": 1.0,
}


def images(height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A smooth image and a noisy version of it, with flat regions where the constants of SSIM matter."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    first = 0.5 + 0.4 * np.sin(x / 9.0 + seed) * np.cos(y / 7.0)
    first[: height // 3] = 0.25
    return first, np.clip(first + 0.15 * rng.normal(size=first.shape) * (x > width // 2), 0, 1)


@pytest.mark.parametrize(("height", "width"), [(425, 425), (64, 48), (11, 11)])
@pytest.mark.parametrize("seed", [0, 1])
def test_two_dimensional(height: int, width: int, seed: int) -> None:
    a, b = images(height, width, seed)
    assert structural_similarity(a, b) == pytest.approx(reference(a, b, **OPTIONS), abs=1e-9)


@pytest.mark.parametrize(("side", "window"), [(10, 9), (7, 7), (5, 5)])
def test_images_smaller_than_the_window(side: int, window: int) -> None:
    rng = np.random.default_rng(side)
    a, b = rng.random((2, side, side))
    assert structural_similarity(a, b) == pytest.approx(reference(a, b, win_size=window, **OPTIONS), abs=1e-9)


def test_one_dimensional_by_columns() -> None:
    a, b = images(90, 70, 3)
    expected = reference(a, b, channel_axis=-1, **OPTIONS)
    assert structural_similarity(a, b, columns=True) == pytest.approx(expected, abs=1e-9)
    assert abs(expected - reference(a, b, **OPTIONS)) > 0.01


def test_grey() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    np.testing.assert_allclose(grey(rgb), rgb2gray(rgb / 255.0), atol=1e-12)
