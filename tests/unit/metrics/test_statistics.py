from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braindec.metrics.bootstrap import resample, stimulus_groups
from braindec.metrics.statistics import aggregate, ceiling_normalised, holm, paired_difference, per_stimulus
from braindec.types import DataError


def rows_of(values: np.ndarray, subject: str = "s1") -> pd.DataFrame:
    return pd.DataFrame(
        {"subject": subject, "stimulus_id": [f"stim{i:04d}" for i in range(len(values))], "value": values}
    )


def test_value_is_mean_over_subjects_of_mean_over_stimuli() -> None:
    rows = pd.DataFrame(
        {
            "subject": ["a", "a", "a", "b"],
            "stimulus_id": ["x", "x", "y", "x"],
            "value": [1.0, 3.0, 5.0, 10.0],
        }
    )
    found = aggregate(rows, n_resamples=200)
    assert found.value == pytest.approx(((2.0 + 5.0) / 2 + 10.0) / 2)
    assert (found.n, found.n_subjects, found.n_undefined) == (2, 2, 0)


def test_undefined_rows_are_left_out_and_counted() -> None:
    found = aggregate(rows_of(np.array([1.0, np.nan, 3.0, np.nan])), n_resamples=500)
    assert found.value == pytest.approx(2.0)
    assert (found.n, found.n_undefined) == (2, 2)
    nothing = aggregate(rows_of(np.full(3, np.nan)), n_resamples=100)
    assert np.isnan([nothing.value, *nothing.ci95]).all()
    assert (nothing.n, nothing.n_undefined) == (0, 3)


def test_no_rows_is_an_error() -> None:
    with pytest.raises(DataError, match="0 rows"):
        aggregate(rows_of(np.empty(0)))


@pytest.mark.parametrize("method", ["percentile", "bca"])
@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e6])
def test_equal_values_have_a_point_interval(method: str, value: float) -> None:
    found = aggregate(rows_of(np.full(7, value)), n_resamples=300, method=method)
    assert found.ci95[0] == found.ci95[1] == pytest.approx(value)
    assert found.method == "percentile"


def test_one_stimulus() -> None:
    assert aggregate(rows_of(np.array([0.4])), n_resamples=50).ci95 == (0.4, 0.4)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=20), st.randoms(use_true_random=False))
def test_interval_holds_within_the_range_and_row_order_does_not_matter(values: list[float], random: object) -> None:
    rows = rows_of(np.array(values))
    found = aggregate(rows, n_resamples=200)
    assert min(values) - 1e-9 <= found.ci95[0] <= found.ci95[1] <= max(values) + 1e-9
    order = list(range(len(values)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert aggregate(rows.iloc[order], n_resamples=200) == found


def test_same_seed_same_interval() -> None:
    rows = rows_of(np.random.default_rng(0).normal(size=30))
    assert aggregate(rows, 500, seed=1) == aggregate(rows, 500, seed=1)
    assert aggregate(rows, 500, seed=1).ci95 != aggregate(rows, 500, seed=2).ci95


def test_shared_stimuli_are_drawn_jointly_and_own_stimuli_apart() -> None:
    shared = np.ones((3, 4), dtype=bool)
    assert [group.tolist() for group in stimulus_groups(shared)] == [[0, 1, 2, 3]]
    own = np.array([[1, 1, 0, 0], [0, 0, 1, 1]], dtype=bool)
    assert [group.tolist() for group in stimulus_groups(own)] == [[0, 1], [2, 3]]
    chain = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]], dtype=bool)
    assert [group.tolist() for group in stimulus_groups(chain)] == [[0, 1, 2], [3]]
    values = np.where(own, 1.0, np.nan)[:, :, None]
    assert not np.isnan(resample(values, 500, 0).subject_draws).any()


def test_joint_resampling_keeps_subjects_in_step() -> None:
    """Two subjects with identical values move together: the second adds no certainty."""
    values = np.random.default_rng(0).normal(size=40)
    rows = pd.concat([rows_of(values, "a"), rows_of(values, "b")])
    both, one = aggregate(rows, 4000), aggregate(rows_of(values, "a"), 4000)
    assert both.ci95 == pytest.approx(one.ci95, abs=0.03)


def test_differing_subjects_widen_the_interval() -> None:
    values = np.random.default_rng(0).normal(size=40) * 0.01
    rows = pd.concat([rows_of(values + offset, f"s{offset}") for offset in (0.0, 1.0, 2.0, 3.0)])
    low, high = aggregate(rows, 4000).ci95
    assert high - low > 1.0


def test_median_is_the_median_and_has_an_interval_of_its_own() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, 1000.0])
    found = aggregate(rows_of(values), 2000, statistic="median")
    assert found.value == 3.0
    assert found.ci95[0] in (1.0, 2.0)
    assert np.isnan(aggregate(rows_of(np.full(3, np.nan)), 50, statistic="median").value)


def test_columns_with_different_gaps_use_their_own_stimuli() -> None:
    values = np.random.default_rng(0).normal(size=(1, 30, 2))
    values[0, :10, 1] = np.nan
    joint = resample(values, 3000, 0)
    assert joint.value[1] == pytest.approx(values[0, 10:, 1].mean())
    assert joint.draws[:, 1].std() == pytest.approx(values[0, 10:, 1].std() / np.sqrt(20), rel=0.1)


def test_per_stimulus_averages_repetitions() -> None:
    rows = pd.DataFrame(
        {
            "subject": ["a", "a", "a", "b", "a"],
            "stimulus_id": ["x", "x", "y", "y", "x"],
            "value": [1.0, 2.0, 4.0, 5.0, np.nan],
        }
    )
    np.testing.assert_array_equal(per_stimulus(rows)[:, :, 0], [[1.5, 4], [np.nan, 5]])
    columns = per_stimulus(rows, np.array([0, 1, 1, 0, 0]))
    np.testing.assert_array_equal(columns[:, :, 0], [[1, np.nan], [np.nan, 5]])
    np.testing.assert_array_equal(columns[:, :, 1], [[2, 4], [np.nan, np.nan]])


def test_paired_difference_finds_a_small_shift_that_unpaired_intervals_miss() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 1, 50)
    first, second = rows_of(hard + 0.1 + 0.05 * rng.normal(size=50)), rows_of(hard)
    found = paired_difference(first, second, n_resamples=2000)
    assert found.ci95[0] > 0
    assert found.p_value < 0.01
    assert aggregate(first, 500).ci95[0] < aggregate(second, 500).value


def test_paired_difference_of_equal_runs_and_of_few_stimuli() -> None:
    rows = rows_of(np.arange(20.0))
    same = paired_difference(rows, rows, n_resamples=500)
    assert (same.value, same.ci95, same.p_value) == (0.0, (0.0, 0.0), 1.0)
    first, second = rows_of(np.array([1.0, 2.0, 3.0])), rows_of(np.zeros(3))
    assert paired_difference(first, second, 100).p_value == pytest.approx(2 / 8)


def test_paired_difference_uses_common_stimuli_only() -> None:
    first, second = rows_of(np.array([1.0, 2.0, np.nan, 9.0])), rows_of(np.array([0.0, 0.0, 0.0]))
    found = paired_difference(first, second, 100)
    assert found.n == 2
    assert found.value == pytest.approx(1.5)
    with pytest.raises(DataError, match="in common"):
        paired_difference(first, rows_of(np.ones(3), "other"))


def test_permutation_p_values_are_uniform_under_the_null() -> None:
    rng = np.random.default_rng(0)
    p = [paired_difference(rows_of(rng.normal(size=15)), rows_of(np.zeros(15)), 200, s).p_value for s in range(200)]
    assert 0.02 <= np.mean(np.array(p) <= 0.05) <= 0.09


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert len(holm([])) == 0


def test_ceiling_normalised() -> None:
    assert ceiling_normalised(0.7, 0.9, chance=0.5) == pytest.approx(0.5)
    with pytest.raises(DataError, match="ceiling"):
        ceiling_normalised(0.5, 0.5, 0.5)
