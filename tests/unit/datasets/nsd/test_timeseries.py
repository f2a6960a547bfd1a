"""NSD time series: volumes of a trial, runs of rest, and damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from braindec.datasets.nsd import layout
from braindec.datasets.nsd.timeseries import TR_S, NSDTimeSeries, write_fake
from braindec.types import DataError

nibabel = pytest.importorskip("nibabel")


@pytest.mark.parametrize("rest_runs", [False, True])
def test_trials_hold_the_volumes_after_their_picture(tmp_path: Path, rest_runs: bool) -> None:
    write_fake(tmp_path, rest_runs=rest_runs)
    trials = NSDTimeSeries(str(tmp_path), sessions=1).trials("subj01")
    assert trials.signal.shape == (750, 40, 6)
    np.testing.assert_allclose(trials.times_s, np.arange(2, 8) * TR_S)
    # The fake raises the fourth volume after onset by 2 percent for pictures of odd 1-based number.
    odd = trials.table["stimulus_id"].str[-1].astype(int).to_numpy() % 2 == 0
    course = trials.signal[odd].mean(axis=(0, 1)) - trials.signal[~odd].mean(axis=(0, 1))
    assert course[2] == pytest.approx(2.0, abs=0.1)
    assert np.abs(np.delete(course, [2, 5])).max() < 0.3
    cached = NSDTimeSeries(str(tmp_path), sessions=1, cache_dir=str(tmp_path / "cache")).trials("subj01")
    np.testing.assert_array_equal(cached.signal, trials.signal)


def test_damaged_runs_are_refused(tmp_path: Path) -> None:
    write_fake(tmp_path)
    dataset = NSDTimeSeries(str(tmp_path), sessions=1)
    with pytest.raises(DataError, match="at most 36"):
        NSDTimeSeries(str(tmp_path), sessions=1, n_volumes=40).trials("subj01")
    design = layout.timeseries_design_file(tmp_path, "subj01", 1, 5)
    lines = design.read_text().split("\n")
    design.write_text("\n".join([*lines[:3], lines[6], *lines[4:6], lines[3], *lines[7:]]))
    with pytest.raises(DataError, match=r"design_session01_run05\.tsv: expected"):
        dataset.trials("subj01")
    design.write_text("\n".join(lines))
    path = layout.timeseries_file(tmp_path, "subj01", 1, 4)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=path.name):
        dataset.trials("subj01")
    path.write_bytes(content)
    image = nibabel.load(path)
    data = np.asarray(image.dataobj).copy()
    data[nibabel.load(layout.roi_files(tmp_path, "subj01", "nsdgeneral", "nifti")[0]).get_fdata() > 0] = 0
    nibabel.save(nibabel.Nifti1Image(data, image.affine), path)
    with pytest.raises(DataError, match="40 of 40 voxels are dead"):
        dataset.trials("subj01")
    path.unlink()
    with pytest.raises(DataError, match="missing"):
        dataset.trials("subj01")
