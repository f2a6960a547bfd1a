from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from braindec.evaluation.scoring import ENOUGH_PAIRS, MIN_PERMUTATIONS, N_PERMUTATIONS, score_shuffled
from braindec.metrics.summary import item_rows
from braindec.types import Evidence, Scores
from tests.unit.metrics.evidence import make_evidence


class Counting:
    """Scores each row by whether it kept its own picture, and counts how often it was asked."""

    def __init__(self, name: str, pairwise: bool) -> None:
        self.name = name
        self.pairwise = pairwise
        self.calls = 0

    def scores(self, evidence: Evidence) -> tuple[Scores, ...]:
        self.calls += 1
        kept = [np.array_equal(image, evidence.gallery.images[g]) for image, g in zip(evidence.images, evidence.truth)]
        return (Scores(self.name, np.array(kept, dtype=float)),)


@pytest.mark.parametrize(
    ("n", "expected"),
    [(100, N_PERMUTATIONS), (ENOUGH_PAIRS // 5, 5), (ENOUGH_PAIRS * 2, MIN_PERMUTATIONS)],
)
def test_metrics_that_compare_pairs_take_fewer_permutations_of_many_stimuli(n: int, expected: int) -> None:
    evidence = make_evidence(n, side=2, dim=1)
    metrics = {"cheap": Counting("cheap", False), "dear": Counting("dear", True)}
    scored = score_shuffled(metrics, [evidence], seed=0)
    assert (metrics["cheap"].calls, metrics["dear"].calls) == (N_PERMUTATIONS, expected)
    assert Counter(s.name for _, found in scored for s in found) == {"cheap": N_PERMUTATIONS, "dear": expected}
    rows = item_rows(scored, "shuffled_brain")
    assert len(rows) == 2 * n
    # One stimulus in n keeps its own picture.
    assert rows["value"].mean() == pytest.approx(1 / n, abs=3 / n)
    assert all(evidence.images is None and not evidence.embeddings for evidence, _ in scored)
