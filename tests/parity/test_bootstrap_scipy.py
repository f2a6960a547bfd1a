"""Intervals and the sign-flip test against scipy.stats."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from braindec.metrics.statistics import aggregate, paired_difference

VALUES = np.random.default_rng(0).gamma(1.5, size=40)


def rows_of(values: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"subject": "s", "stimulus_id": [f"{i:03d}" for i in range(len(values))], "value": values})


@pytest.mark.parametrize(("method", "name"), [("percentile", "percentile"), ("bca", "BCa")])
def test_interval(method: str, name: str) -> None:
    found = aggregate(rows_of(VALUES), 20_000, seed=1, method=method)
    reference = stats.bootstrap((VALUES,), np.mean, n_resamples=20_000, method=name, random_state=2)
    expected = reference.confidence_interval
    assert found.method == method
    assert found.ci95 == pytest.approx((expected.low, expected.high), abs=0.02 * reference.standard_error * 5)


@pytest.mark.parametrize("n", [9, 40])
def test_sign_flip(n: int) -> None:
    first, second = VALUES[:n], VALUES[:n][::-1] * 0.7
    found = paired_difference(rows_of(first), rows_of(second), 20_000)
    expected = stats.permutation_test(
        (first, second), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=20_000, random_state=0
    )
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.01)
