from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from braindec.metrics.control_mask import mask_only, valid_lengths
from braindec.signals.normalise import RobustScale
from braindec.signals.padding import FillPadding, pad
from braindec.types import DataError, Space, TargetEmbeddings, Trials


def padded(n: int = 60, seed: int = 0) -> Trials:
    rng = np.random.default_rng(seed)
    pieces = [rng.standard_normal((3, int(k))).astype(np.float32) + 2 for k in rng.integers(20, 60, n)]
    signal, lengths = pad(pieces, 64, "test")
    table = pd.DataFrame(
        {"stimulus_id": [f"s{i}" for i in range(n)], "concept": "", "session": 1, "run": 1, "repetition": 0,
         "split": "train", "n_valid": lengths}
    )  # fmt: skip
    return Trials("a", signal, "z", Space("channels", 3), table)


def test_lengths_are_found_whatever_the_padding_s_value() -> None:
    trials = padded()
    expected = trials.table["n_valid"].to_numpy()
    np.testing.assert_array_equal(valid_lengths(trials.signal), expected)
    scaled = RobustScale()
    scaled.fit(trials)
    np.testing.assert_array_equal(valid_lengths(scaled.apply(trials).signal), expected)


def test_filling_leaves_the_trial_and_hides_its_end() -> None:
    trials = padded()
    fill = FillPadding(fade=4)
    fill.fit(trials)
    filled = fill.apply(trials)
    assert (valid_lengths(filled.signal) == 64).all()
    for row, length in enumerate(trials.table["n_valid"]):
        np.testing.assert_array_equal(filled.signal[row, :, : length - 4], trials.signal[row, :, : length - 4])
    again = FillPadding(fade=4)
    again.load_state(fill.state())
    rows = np.array([5, 2])
    np.testing.assert_array_equal(again.apply(trials.select(rows)).signal, filled.signal[rows])


def test_a_trial_is_never_filled_from_itself() -> None:
    trials = padded(2)
    fill = FillPadding(pool=1, fade=1)
    fill.fit(trials)
    own = trials.table["stimulus_id"].tolist().index(str(fill.pool_ids_[0]))
    with pytest.raises(DataError, match="no other training trial"):
        fill.apply(trials.select(np.array([own])))


def test_mask_only_reads_zeros_and_nothing_else() -> None:
    train, test = padded(200), padded(40, 1)
    lengths = {f"s{i}": n for i, n in enumerate(train.table["n_valid"])}
    values = np.array([[[n, 1.0]] for n in lengths.values()], np.float32)
    targets = {"length": TargetEmbeddings("length", tuple(lengths), values)}
    table = pd.DataFrame({c: "x" for c in ("subject", "fold", "stimulus_id")}, index=range(40)).assign(
        item_id=[f"i{i}" for i in range(40)], n_repetitions=1
    )
    seen = mask_only(train, test, table, targets).embeddings["length"][:, 0, 0]
    assert np.corrcoef(seen, test.table["n_valid"])[0, 1] > 0.95
    fill = FillPadding()
    fill.fit(train)
    blind = mask_only(fill.apply(train), fill.apply(test), table, targets).embeddings["length"][:, 0, 0]
    np.testing.assert_allclose(blind, values[:, 0, 0].mean(), rtol=1e-6)


def test_padding_needs_lengths() -> None:
    trials = padded()
    bare = Trials("a", trials.signal, "z", trials.space, trials.table.drop(columns="n_valid"))
    with pytest.raises(DataError, match="n_valid"):
        FillPadding().fit(bare)
    with pytest.raises(DataError, match="no time point"):
        pad([np.zeros((3, 0), np.float32)], 4, "test")
