"""Sign-flip tests: exact against enumeration by hand, and the family-wise error of many cells at once."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from braindec.metrics.sign_flip import sign_flip_p
from braindec.metrics.statistics import corrected_p, paired_difference


def test_few_stimuli_are_enumerated() -> None:
    rng = np.random.default_rng(0)
    values_IM = rng.normal(0.4, 1, (7, 3))
    scaled_IM = values_IM / np.sqrt((values_IM**2).sum(axis=0))
    largest = [np.abs(np.array(signs) @ scaled_IM).max() for signs in itertools.product((-1, 1), repeat=7)]
    expected = [np.mean(np.array(largest) >= abs(own.sum()) - 1e-12) for own in scaled_IM.T]
    np.testing.assert_allclose(sign_flip_p(values_IM[None], n_resamples=10, seed=0), expected)


@pytest.mark.parametrize("n", [8, 40])
def test_a_corrected_p_value_is_never_below_that_of_one_cell(n: int) -> None:
    values_SIM = np.random.default_rng(1).normal(0.2, 1, (2, n, 5))
    together = sign_flip_p(values_SIM, n_resamples=2000, seed=0)
    alone = [sign_flip_p(values_SIM[:, :, [m]], n_resamples=2000, seed=0)[0] for m in range(5)]
    assert (together >= alone).all()
    assert together.max() > max(alone)


def test_any_of_twenty_empty_cells_is_called_as_seldom_as_asked() -> None:
    rng = np.random.default_rng(2)
    n_worlds, found, naive = 400, 0, 0
    for world in range(n_worlds):
        # Cells share much of their noise, as overlapping regions and neighbouring windows do.
        values_IM = rng.normal(size=(15, 20)) + rng.normal(size=(15, 1))
        found += sign_flip_p(values_IM[None], n_resamples=400, seed=world).min() <= 0.05
        naive += min(sign_flip_p(values_IM[None, :, [m]], n_resamples=400, seed=world)[0] for m in range(20)) <= 0.05
    assert found / n_worlds == pytest.approx(0.05, abs=0.035)
    assert naive / n_worlds > 0.2


def test_a_true_effect_among_empty_cells_is_found_and_they_are_not() -> None:
    values_IM = np.random.default_rng(3).normal(size=(30, 12))
    values_IM[:, 4] += 1.5
    p = sign_flip_p(values_IM[None], n_resamples=2000, seed=0)
    assert p[4] < 0.005
    assert np.delete(p, 4).min() > 0.05


def test_undefined_and_constant_cells_say_nothing() -> None:
    values_IM = np.random.default_rng(4).normal(2, 1, (9, 3))
    values_IM[:, 1], values_IM[:, 2] = 0.0, np.nan
    p = sign_flip_p(values_IM[None], n_resamples=100, seed=0)
    assert p[0] == pytest.approx(2 / 2**9)
    assert p[1] == p[2] == 1.0


def test_one_cell_of_a_table_is_the_paired_test() -> None:
    rng = np.random.default_rng(5)
    rows = pd.DataFrame({"subject": "s", "stimulus_id": [f"{i:02d}" for i in range(20)], "value": rng.normal(size=20)})
    other = rows.assign(value=rows["value"] - 0.4 + rng.normal(size=20) / 2)
    expected = paired_difference(rows, other, n_resamples=500, seed=3).p_value
    difference = rows.assign(value=rows["value"] - other["value"])
    assert corrected_p([difference], n_resamples=500, seed=3)[0] == expected
    two = corrected_p([difference, rows], n_resamples=500, seed=3)
    assert two[0] >= expected
