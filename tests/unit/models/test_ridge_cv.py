"""Choice of alpha: folds keep repetitions together, degenerate targets, bad input."""

from __future__ import annotations

import numpy as np
import pytest

from braindec.models.column_blocks import TargetColumns
from braindec.models.ridge import ridge_system
from braindec.models.ridge_cv import HeldOut, choose_alpha, group_width, leave_out_labels
from braindec.models.ridge_targets import ColumnStream
from braindec.types import DataError


@pytest.mark.parametrize("selection", ["loo", "kfold"])
def test_repetitions_are_left_out_together(selection):
    groups = np.random.default_rng(0).permutation(np.repeat([4, 9, 2, 7, 5, 1], 3))
    labels = leave_out_labels(groups, selection, n_folds=3)
    for group in np.unique(groups):
        assert len(np.unique(labels[groups == group])) == 1
    assert len(np.unique(labels)) == (6 if selection == "loo" else 3)


def test_k_folds_are_balanced_and_seeded():
    labels = leave_out_labels(np.arange(23), "kfold", 5, seed=1)
    assert sorted(np.bincount(labels)) == [4, 4, 5, 5, 5]
    np.testing.assert_array_equal(labels, leave_out_labels(np.arange(23), "kfold", 5, seed=1))
    assert (labels != leave_out_labels(np.arange(23), "kfold", 5, seed=2)).any()


def test_repetitions_do_not_make_memorising_look_good():
    """Noise targets with stimulus-specific signal: leaving out trials would reward a tiny alpha."""
    rng = np.random.default_rng(0)
    position = np.repeat(np.arange(30), 3)
    x = rng.normal(size=(30, 200))[position] + 0.1 * rng.normal(size=(90, 200))
    y = rng.normal(size=(30, 4))
    system = ridge_system(x, position)
    stream = ColumnStream(system, TargetColumns.whole("y", y))
    alphas = np.array([1.0, 1e5])
    grouped = choose_alpha(HeldOut(system, alphas, leave_out_labels(position, "loo")), stream)
    leaking = choose_alpha(HeldOut(system, alphas, np.arange(90)), stream)
    assert leaking.chosen[0] == 1.0
    assert leaking.scores[0, 0] > 0.5
    assert grouped.chosen[0] == 1e5
    assert grouped.scores.max() < 0.1


def test_constant_targets_neither_count_nor_break():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 40)), rng.normal(size=(20, 3)).astype(np.float32)
    with_constant = np.concatenate([y, np.full((20, 1), 7.1, np.float32)], axis=1)
    system = ridge_system(x)
    held_out = HeldOut(system, np.array([1.0, 100.0]), np.arange(20))
    for standardise in (False, True):
        alone, both = (
            choose_alpha(held_out, ColumnStream(system, TargetColumns.whole("y", v)), standardise=standardise)
            for v in (y, with_constant)
        )
        np.testing.assert_allclose(both.scores, alone.scores, atol=1e-5)
    by_value = choose_alpha(held_out, ColumnStream(system, TargetColumns.whole("y", with_constant)), 1)
    np.testing.assert_array_equal(by_value.scores[3], 0)


def test_float32_survives_alphas_far_below_the_gram_matrix():
    rng = np.random.default_rng(0)
    x = 100 * (rng.normal(size=(30, 60)) + 5)
    y = rng.normal(size=(30, 5))
    alphas = np.array([1e-3, 1.0])
    scores = []
    for precision in ("float32", "float64"):
        system = ridge_system(x, precision=precision)
        stream = ColumnStream(system, TargetColumns.whole("y", y))
        scores.append(choose_alpha(HeldOut(system, alphas, np.arange(30) % 5), stream).scores)
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-3)


def test_group_widths_of_a_token_target():
    assert [group_width(per, 3, 5) for per in ("target_array", "token", "value")] == [15, 5, 1]


def test_bad_input_is_named():
    with pytest.raises(DataError, match="at least 5 stimuli, found 3"):
        leave_out_labels(np.array([0, 0, 1, 2]), "kfold", 5)
    with pytest.raises(DataError, match="at least 2 stimuli, found 1"):
        leave_out_labels(np.zeros(4), "loo")
    system = ridge_system(np.eye(4))
    with pytest.raises(DataError, match="positive numbers"):
        HeldOut(system, np.array([0.0, 1.0]), np.arange(4))
    with pytest.raises(DataError, match="labels: expected 4"):
        HeldOut(system, np.array([1.0]), np.arange(3))
    stream = ColumnStream(system, TargetColumns.whole("y", np.eye(4)), group_width=4)
    with pytest.raises(DataError, match="cross groups of 2"):
        choose_alpha(HeldOut(system, np.array([1.0]), np.arange(4)), stream, 2)
