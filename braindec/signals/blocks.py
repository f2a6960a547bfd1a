"""Block designs, in which the time of a trial tells what was shown.

Source: Li et al. 2021, "The perils and pitfalls of block design for EEG classification experiments", IEEE TPAMI 43.
"""

from __future__ import annotations

import numpy as np
import pandas as pd


def concepts_told_by_block(table: pd.DataFrame, train: np.ndarray, test: np.ndarray) -> tuple[str, ...]:
    """The blocks that give away the concept of test trials: runs of one concept with training trials of their own.

    A block is a run of a session. Only where every block of the used trials shows a single concept, and blocks differ
    in it, does a block tell anything; then those with trials in both ``train`` and ``test`` (rows of ``table``) are
    returned, sorted, as ``"session 1 run 2"``. Trials without a concept count for nothing.
    """
    used = np.concatenate([train, test])
    block = "session " + table["session"].astype(str) + " run " + table["run"].astype(str)
    own = pd.DataFrame({"block": block.to_numpy()[used], "concept": table["concept"].astype(str).to_numpy()[used]})
    own["is_test"] = np.repeat([False, True], [len(train), len(test)])
    own = own[own["concept"] != ""]
    by_block = own.groupby("block")
    if own["concept"].nunique() < 2 or (by_block["concept"].nunique() > 1).any():
        return ()
    divided = by_block["is_test"].nunique() == 2
    return tuple(sorted(str(name) for name in divided.index[divided]))
