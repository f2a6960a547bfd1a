"""Embeddings averaged over altered copies of pictures."""

from __future__ import annotations

import numpy as np
import pytest

from braindec.targets.augmented import AugmentedAverage, blurred, moved
from braindec.targets.pixels import Pixels
from braindec.targets.standardised import Standardised
from braindec.types import DataError, Stimuli


def pictures(n: int = 3, size: int = 10) -> Stimuli:
    images = np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    return Stimuli(tuple(f"s{k}" for k in range(n)), images=images)


def test_the_average_is_over_the_picture_and_its_copies() -> None:
    stimuli = pictures()
    assert isinstance(stimuli.images, np.ndarray)
    found = AugmentedAverage(Pixels(), shift=0.1, blur=[0.1]).embed(stimuli).reshape(3, 10, 10, 3)
    image = stimuli.images
    left = np.concatenate((image[:, :, 1:], image[:, :, -1:]), axis=2)
    right = np.concatenate((image[:, :, :1], image[:, :, :-1]), axis=2)
    up = np.concatenate((image[:, 1:], image[:, -1:]), axis=1)
    down = np.concatenate((image[:, :1], image[:, :-1]), axis=1)
    copies = [image, left, right, up, down, blurred(image, 1.0)]
    np.testing.assert_allclose(found, np.mean([c / 255 for c in copies], axis=0), atol=1e-6)
    plain = AugmentedAverage(Pixels(), shift=0.0)
    np.testing.assert_allclose(plain.embed(stimuli), Pixels().embed(stimuli), atol=1e-7)


def test_moving_there_and_back_keeps_the_middle() -> None:
    images = np.random.default_rng(1).integers(0, 256, (2, 9, 8, 3), dtype=np.uint8)
    back = moved(moved(images, 2, 2), -2, 2)
    np.testing.assert_array_equal(back[:, :, :-2], images[:, :, :-2])


def test_bad_numbers_and_missing_pictures_are_refused() -> None:
    with pytest.raises(DataError, match=r"below 0\.5"):
        AugmentedAverage(Pixels(), shift=0.7)
    with pytest.raises(DataError, match="no images"):
        AugmentedAverage(Pixels()).embed(Stimuli(("a",)))


def test_standardised_values_have_training_statistics() -> None:
    stimuli = pictures(8)
    training = stimuli.select(stimuli.ids[:5])
    made = Standardised(Pixels())
    with pytest.raises(DataError, match="not fitted"):
        made.embed(stimuli)
    made.fit(training)
    seen = made.embed(training)
    np.testing.assert_allclose(seen.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(seen.std(axis=0), 1, atol=1e-4)
    again = Standardised(Pixels())
    again.load_state(made.state())
    np.testing.assert_array_equal(again.embed(stimuli), made.embed(stimuli))
    plain = Pixels().embed(training)
    np.testing.assert_allclose(
        made.embed(stimuli), (Pixels().embed(stimuli) - plain.mean(axis=0)) / plain.std(axis=0), rtol=1e-3, atol=1e-3
    )
