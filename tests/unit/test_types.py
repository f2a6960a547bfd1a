"""Counts that do not agree: signals and tables, embeddings and stimuli."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from braindec.types import DataError, TargetEmbeddings
from tests.golden.recipes import toy_data


def test_as_many_signals_as_rows_of_the_table() -> None:
    trials = toy_data(False).train["sub1"]
    with pytest.raises(DataError, match=r"subject 'sub1': 39 trials in signal but 40 rows in table"):
        replace(trials, signal=trials.signal[:-1])
    with pytest.raises(DataError, match=r"29 positions in signal but space.size is 30"):
        replace(trials, signal=trials.signal[:, :-1])


def test_as_many_embeddings_as_stimuli() -> None:
    image = toy_data(False).targets["image"]
    with pytest.raises(DataError, match=r"TargetEmbeddings 'image': expected \(60, token, dim\), found \(59, 4, 6\)"):
        TargetEmbeddings("image", image.ids, image.values[:-1])
    with pytest.raises(DataError, match=r"expected \(60, token, dim\), found \(60, 24\)"):
        TargetEmbeddings("image", image.ids, image.values.reshape(60, 24))
    with pytest.raises(DataError, match=r"'image': no embedding for 2 ids, e.g. \['x1', 'x2'\]"):
        image.of(["s000", "x1", "x2"])


def test_embeddings_come_in_the_order_asked_for() -> None:
    image = toy_data(False).targets["image"]
    np.testing.assert_array_equal(image.of(["s002", "s000"]), image.values[[2, 0]])
