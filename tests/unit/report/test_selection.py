from __future__ import annotations

import numpy as np
import pytest

from braindec.report.selection import choose, random_ranks
from braindec.types import DataError

VALUES = np.array([0.1, 0.9, 0.5, 0.5, np.nan, 0.7])
IDS = ["f", "e", "d", "c", "b", "a"]


def test_best_and_worst_follow_direction_and_break_ties_by_id():
    assert choose(VALUES, IDS, "best", 2, "higher", 0).tolist() == [1, 5]
    assert choose(VALUES, IDS, "worst", 3, "higher", 0).tolist() == [0, 3, 2]
    assert choose(VALUES, IDS, "best", 3, "lower", 0).tolist() == [0, 3, 2]
    assert choose(VALUES, IDS, "worst", 2, "lower", 0).tolist() == [1, 5]


def test_median_takes_the_items_nearest_to_it():
    assert choose(VALUES, IDS, "median", 3, "higher", 0).tolist() == [3, 2, 5]


def test_undefined_items_are_only_drawn_at_random():
    for rule in ("best", "median", "worst"):
        assert 4 not in choose(VALUES, IDS, rule, 6, "higher", 0)
    assert sorted(choose(VALUES, IDS, "random", 6, "higher", 0)) == list(range(6))
    assert len(choose(np.full(3, np.nan), IDS[:3], "best", 2, "higher", 0)) == 0


def test_random_depends_on_the_seed_only():
    again = choose(VALUES * 2, IDS, "random", 4, "lower", 5)
    assert choose(VALUES, IDS, "random", 4, "higher", 5).tolist() == again.tolist()
    assert random_ranks(100, 1).tolist() != random_ranks(100, 2).tolist()


def test_bad_input_is_named():
    with pytest.raises(DataError, match="6 values for 2 items"):
        choose(VALUES, IDS[:2], "best", 1, "higher", 0)
    with pytest.raises(DataError, match="'pretty'"):
        choose(VALUES, IDS, "pretty", 1, "higher", 0)  # type: ignore[arg-type]
