from __future__ import annotations

import numpy as np
import pandas as pd

from braindec.signals.blocks import concepts_told_by_block


def table(runs: list[int], concepts: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"session": 1, "run": runs, "concept": concepts})


TRAIN, TEST = np.array([0, 1, 3, 4]), np.array([2, 5])


def test_runs_of_one_concept_on_both_sides_are_named() -> None:
    blocked = table([1, 1, 1, 2, 2, 2], list("aaabbb"))
    assert concepts_told_by_block(blocked, TRAIN, TEST) == ("session 1 run 1", "session 1 run 2")
    assert concepts_told_by_block(blocked, np.array([0, 1, 3, 4, 5]), np.array([2])) == ("session 1 run 1",)


def test_mixed_runs_whole_runs_and_missing_concepts_are_quiet() -> None:
    assert concepts_told_by_block(table([1, 1, 1, 2, 2, 2], list("ababab")), TRAIN, TEST) == ()
    assert concepts_told_by_block(table([1, 1, 2, 3, 3, 4], list("aaabbb")), TRAIN, TEST) == ()
    assert concepts_told_by_block(table([1] * 6, ["a"] * 6), TRAIN, TEST) == ()
    assert concepts_told_by_block(table([1, 1, 1, 2, 2, 2], [""] * 6), TRAIN, TEST) == ()
