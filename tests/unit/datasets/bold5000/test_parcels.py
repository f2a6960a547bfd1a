"""BOLD5000's parcel time series on a synthetic copy of ds001499."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from braindec.datasets.bold5000.layout import events_file
from braindec.datasets.bold5000.parcels import BOLD5000Parcels, write_fake
from braindec.types import DataError

pytest.importorskip("nibabel")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bold5000")
    write_fake(root)
    return root


def test_each_picture_gives_five_volumes_of_each_parcel(root: Path) -> None:
    dataset = BOLD5000Parcels(str(root), str(root / "atlas.nii.gz"), "T1w")
    trials, stimuli = dataset.trials("sub-CSI4"), dataset.stimuli()
    assert trials.signal.shape == (3108, 4, 5)
    np.testing.assert_allclose(trials.times_s, [0, 2, 4, 6, 8])
    table = trials.table
    assert set(table["split"]) == {"train", "test"}
    assert not set(table["stimulus_id"][table["split"] == "train"]) & set(
        table["stimulus_id"][table["split"] == "test"]
    )
    assert table.groupby("session")["run"].nunique().tolist() == [10, 9, 9, 10, 9, 9, 9, 9, 10]
    few = np.arange(0, 3108, 31)
    bright = stimuli.images[stimuli.rows(table["stimulus_id"].iloc[few].tolist())].mean(axis=(1, 2, 3))
    course = [np.corrcoef(bright, trials.signal[few, :, t].mean(axis=1))[0, 1] for t in range(5)]
    assert min(course[2:4]) > 0.8
    assert max(np.abs(course)[[0, 1, 4]]) < 0.4


def test_missing_run_is_named(root: Path) -> None:
    path = events_file(root, "CSI4", 3, 9)
    moved = path.rename(path.with_suffix(".away"))
    try:
        with pytest.raises(DataError, match=r"ses-03.*run-09_events\.tsv: 1 of 84 runs"):
            BOLD5000Parcels(str(root), str(root / "atlas.nii.gz"), "T1w").trials("sub-CSI4")
    finally:
        moved.rename(path)
