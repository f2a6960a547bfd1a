"""Trials from arrays, mne.Epochs and nibabel images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from braindec.datasets.from_python import from_arrays, from_epochs, from_images
from braindec.types import TRIAL_COLUMNS, DataError

nibabel = pytest.importorskip("nibabel")
mne = pytest.importorskip("mne")


def test_arrays_with_and_without_a_table() -> None:
    signal = np.arange(12.0).reshape(4, 3)
    trials = from_arrays(signal, ["a", "b", "a", "c"])
    np.testing.assert_array_equal(trials.signal[:, :, 0], signal)
    assert trials.table["repetition"].tolist() == [0, 0, 1, 0]
    table = pd.DataFrame({"run": [1, 1, 2, 2], "weight": range(4)}, index=[9, 8, 7, 6])
    trials = from_arrays(signal, ["a", "b", "a", "c"], table=table)
    assert tuple(trials.table.columns[: len(TRIAL_COLUMNS)]) == TRIAL_COLUMNS
    assert trials.table["run"].tolist() == [1, 1, 2, 2]
    assert trials.table["weight"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("signal", "ids", "message"),
    [
        (np.zeros((2, 3)), ["a"], "2 trials in signal but 1 in stimulus_ids"),
        (np.array([[1.0, np.nan]]), ["a"], "not finite at 1 of 2"),
        (np.zeros(3), ["a"], "must be a real"),
        (np.zeros((2, 3), dtype=complex), ["a", "b"], "must be a real"),
    ],
)
def test_bad_arrays_are_refused(signal: np.ndarray, ids: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_arrays(signal, ids)


def epochs(kinds: str | list[str] = "eeg") -> Any:
    data = np.random.default_rng(0).normal(size=(6, 3, 20)) * 1e-6
    info = mne.create_info(["O1", "Oz", "O2"], 100.0, kinds)
    events = np.column_stack([np.arange(6) * 50, np.zeros(6, int), [1, 2, 1, 2, 1, 2]])
    metadata = pd.DataFrame({"picture": list("xyzxyz"), "session": [1, 1, 1, 2, 2, 2]})
    return mne.EpochsArray(data, info, events, -0.05, {"cat": 1, "dog": 2}, metadata=metadata, verbose="error")


def test_epochs_keep_names_times_unit_and_metadata() -> None:
    source = epochs()
    trials = from_epochs(source, "picture")
    np.testing.assert_allclose(trials.signal, source.get_data(), rtol=1e-6)
    assert (trials.unit, trials.space.names) == ("V", ("O1", "Oz", "O2"))
    np.testing.assert_allclose(trials.times_s, source.times)
    assert trials.table["stimulus_id"].tolist() == list("xyzxyz")
    assert trials.table["session"].tolist() == [1, 1, 1, 2, 2, 2]
    assert from_epochs(source).table["stimulus_id"].tolist() == ["cat", "dog"] * 3
    assert from_epochs(epochs("mag")).unit == "T"


def test_bad_epochs_are_refused() -> None:
    with pytest.raises(DataError, match="one kind of channel"):
        from_epochs(epochs(["eeg", "eeg", "mag"]))
    with pytest.raises(DataError, match="'image'"):
        from_epochs(epochs(), "image")


def runs() -> tuple[list[Any], list[pd.DataFrame], Any]:
    mask = np.zeros((3, 2, 2), dtype=np.uint8)
    mask[1] = 1
    images = []
    for _ in range(2):
        volumes = np.random.default_rng(1).normal(100, 0.01, size=(3, 2, 2, 40))
        volumes[1, 0, 0, 7:9] += 10  # 4 to 8 s after the onset at 10 s, at 2 s a volume
        images.append(nibabel.Nifti1Image(volumes, np.eye(4)))
    events = pd.DataFrame({"onset": [10.0, 40.0], "trial_type": ["a", "b"]})
    return images, [events, events], nibabel.Nifti1Image(mask, np.eye(4))


def test_images_give_percent_of_the_run_mean_in_the_window() -> None:
    images, events, mask = runs()
    trials = from_images(images, events, mask, repetition_time_s=2.0)
    assert trials.signal.shape == (4, 4, 1)
    assert trials.table["run"].tolist() == [1, 1, 2, 2]
    assert trials.signal[0, 0, 0] == pytest.approx(9.4, abs=0.5)
    assert np.abs(trials.signal[1]).max() < 1.5
    assert trials.space.grid_index is not None
    assert trials.space.grid_index[0].tolist() == [1, 0, 0]


def test_bad_images_are_refused() -> None:
    images, events, mask = runs()
    with pytest.raises(DataError, match="2 runs but 1"):
        from_images(images, events[:1], mask, repetition_time_s=2.0)
    with pytest.raises(DataError, match="or leaves"):
        from_images(images, events, mask, repetition_time_s=1.0)
    with pytest.raises(DataError, match="for a mask"):
        from_images(images, events, nibabel.Nifti1Image(np.ones((2, 2, 2)), np.eye(4)), repetition_time_s=2.0)
    everything = nibabel.Nifti1Image(np.ones((3, 2, 2)), np.eye(4))
    dead = np.asarray(images[0].dataobj).copy()
    dead[0, 0, 0] = 0
    with pytest.raises(DataError, match="1 voxels of the mask are dead"):
        from_images([nibabel.Nifti1Image(dead, np.eye(4)), images[1]], events, everything, repetition_time_s=2.0)
    with pytest.raises(DataError, match="not a readable NIfTI"):
        from_images(["nowhere.nii"], events[:1], mask, repetition_time_s=2.0)
