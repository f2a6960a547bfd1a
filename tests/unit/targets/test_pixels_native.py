"""Pixels without a size keep the picture as it is."""

from __future__ import annotations

import numpy as np
import pytest

from braindec.targets.pixels import Pixels
from braindec.types import DataError, Stimuli


@pytest.mark.parametrize("grey", [False, True])
def test_native_size_round_trip_is_exact(grey: bool) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 10, 10, 1), dtype=np.uint8).repeat(3, axis=3)
    target = Pixels(None, grey)
    values = target.embed(Stimuli(("a", "b", "c"), images))
    assert values.shape == (3, 1, 100 if grey else 300)
    np.testing.assert_array_equal(target.decode(values), images)


def test_native_size_needs_square_pictures_and_square_values() -> None:
    with pytest.raises(DataError, match="square pictures"):
        Pixels(None).embed(Stimuli(("a",), np.zeros((1, 4, 6, 3), np.uint8)))
    with pytest.raises(DataError, match="expected values of shape"):
        Pixels(None).decode(np.zeros((1, 1, 301), np.float32))
