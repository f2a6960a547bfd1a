"""Batches of several subjects."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from braindec.training.batches import MultiSubjectData, Rows, epoch_rows
from braindec.training.streaming import RowReader, copy_parts, prefetched
from braindec.training.target_scaling import TargetScaling
from braindec.types import DataError
from tests.golden.recipes import toy_data


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(6, 40), min_size=1, max_size=3), st.integers(1, 6), st.integers(0, 5), st.booleans())
def test_an_epoch_shows_every_subject_in_every_batch(sizes: list[int], share: int, epoch: int, once: bool) -> None:
    stimuli = {f"s{i}": np.arange(size) for i, size in enumerate(sizes)}
    batches = epoch_rows(stimuli, share, once, seed=1, epoch=epoch)
    assert len(batches) == max(sizes) // share
    for batch in batches:
        assert {len(rows) for rows in batch.values()} == {share}
    for subject, size in zip(stimuli, sizes):
        rows = np.concatenate([batch[subject] for batch in batches])
        counts = np.bincount(rows, minlength=size)
        assert counts.max() - counts.min() <= 1  # nobody comes twice before everybody came once
    again = epoch_rows(stimuli, share, once, seed=1, epoch=epoch)
    assert all(np.array_equal(a[s], b[s]) for a, b in zip(batches, again) for s in stimuli)


def test_an_epoch_shows_one_repetition_of_a_stimulus_another_one_each_time() -> None:
    stimuli = {"a": np.repeat(np.arange(10), 3)}
    shown = [np.concatenate([b["a"] for b in epoch_rows(stimuli, 5, True, 0, epoch)]) for epoch in range(4)]
    for rows in shown:
        assert sorted(stimuli["a"][rows]) == list(range(10))
    assert len({tuple(sorted(rows)) for rows in shown}) == 4


def test_rows_are_read_from_a_memory_map_in_the_order_asked_for(tmp_path: Path) -> None:
    values = np.arange(60, dtype=np.float32).reshape(20, 3)
    np.save(tmp_path / "x.npy", values)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    rows = np.array([7, 3, 19, 3])
    found = Rows(mapped, torch.device("cpu"), resident=False).take(rows)
    np.testing.assert_array_equal(found.numpy(), values[rows])


def test_rows_of_a_map_are_read_from_its_file_and_a_cut_file_is_named(tmp_path: Path) -> None:
    values = np.arange(2000, dtype=np.float32).reshape(100, 20)
    np.save(tmp_path / "x.npy", values)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    rows = np.random.default_rng(0).integers(0, 100, 37)
    out = np.empty((37, 20), dtype=np.float32)
    for array in (values, mapped, mapped[10:], np.asarray(mapped)[:, ::2]):
        reader = RowReader(array)
        wanted = rows % len(array)
        np.testing.assert_array_equal(reader.rows(wanted), array[wanted])
    with ThreadPoolExecutor(2) as pool:
        copy_parts(pool, RowReader(mapped), rows, out)
    np.testing.assert_array_equal(out, values[rows])
    reader = RowReader(mapped)
    with open(tmp_path / "x.npy", "r+b") as file:
        file.truncate(1000)
    with pytest.raises(DataError, match="row 99 should have 80 bytes, found 0"):
        reader.rows(np.array([99]))


def test_a_batch_pairs_each_trial_with_its_stimulus_s_target() -> None:
    data = toy_data(False)
    scalings = {n: TargetScaling.fit(t, t.ids, "zscore") for n, t in data.targets.items()}
    loaded = MultiSubjectData(data.train, data.targets, scalings, torch.device("cpu"), resident=False)
    batch = loaded.batch({"sub1": np.array([4, 2]), "sub2": np.array([4])})
    image = data.targets["image"].of(["s004", "s002", "s004"])
    scaling = scalings["image"]
    np.testing.assert_allclose(batch.targets["image"].numpy(), (image - scaling.mean) / scaling.scale, rtol=1e-5)
    assert batch.stimulus_B[0] == batch.stimulus_B[2] != batch.stimulus_B[1]
    np.testing.assert_array_equal(batch.signals["sub2"].numpy(), data.train["sub2"].signal[[4]])


def test_a_thread_s_error_reaches_the_loop_and_the_thread_ends() -> None:
    def broken():  # type: ignore[no-untyped-def]
        yield 1
        raise DataError("no such row")

    with pytest.raises(DataError, match="no such row"):
        list(prefetched(broken()))
    assert list(prefetched(iter([1, 2, 3]))) == [1, 2, 3]  # type: ignore[list-item]
    early = prefetched(iter(range(100)))  # type: ignore[arg-type]
    next(early)
    early.close()
