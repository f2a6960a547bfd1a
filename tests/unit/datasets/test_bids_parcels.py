"""Parcel time series of a BIDS folder: values, atlases of both kinds, grids that differ, and damaged input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from braindec.datasets.bids_parcels import BIDSParcels, write_fake
from braindec.datasets.parcels import read_parcels
from braindec.types import DataError

nibabel = pytest.importorskip("nibabel")
pytest.importorskip("pybv")
pytest.importorskip("mne")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_fake(tmp_path)
    return tmp_path


def reader(root: Path, **options: object) -> BIDSParcels:
    defaults = {"task": "scan", "atlas": str(root / "atlas.nii.gz"), "space": "T1w"}
    return BIDSParcels(str(root), **{**defaults, **options})  # type: ignore[arg-type]


def volumes(root: Path) -> Path:
    return root / "derivatives/fmriprep/sub-01/func/sub-01_task-scan_run-01_space-T1w_desc-preproc_bold.nii.gz"


def test_trials_are_the_parcels_volumes_after_each_event(root: Path) -> None:
    trials = reader(root).trials("sub-01")
    assert trials.signal.shape == (24, 3, 5)
    assert trials.space.kind == "parcels"
    assert trials.space.names == ("3", "7", "12")
    np.testing.assert_allclose(trials.times_s, [0, 2, 4, 6, 8])
    bold = nibabel.load(volumes(root)).get_fdata()
    parcel = bold[2].mean(axis=(0, 1))
    line = np.polyval(np.polyfit(np.arange(80), parcel, 1), np.arange(80))
    expected = 100 * (parcel - line) / parcel.mean()
    np.testing.assert_allclose(trials.signal[0, 0], expected[2:7], atol=1e-3)
    np.testing.assert_allclose(trials.space.positions_m[0], [0.002, 0.001, 0.0005])
    even = trials.table["stimulus_id"].isin(["s0.png", "s2.png"]).to_numpy()
    course = trials.signal[even].mean(axis=(0, 1)) - trials.signal[~even].mean(axis=(0, 1))
    assert course[2:4].min() > 1.5
    assert abs(course[[0, 1, 4]]).max() < 0.3


def test_overlapping_maps_are_unmixed(root: Path) -> None:
    brain = nibabel.load(volumes(root)).get_fdata()[..., 0] > 0
    brain[0] = False
    rng = np.random.default_rng(0)
    maps = rng.random((4, 3, 2, 5))
    nibabel.save(nibabel.Nifti1Image(maps, np.eye(4)), root / "maps.nii.gz")
    parcels = read_parcels(root / "maps.nii.gz", brain, np.eye(4))
    planted = rng.normal(size=(7, 5))
    np.testing.assert_allclose(parcels.values(planted @ maps[brain].T), planted, atol=1e-6)
    assert reader(root, atlas=str(root / "maps.nii.gz")).trials("sub-01").signal.shape == (24, 5, 5)


def test_atlas_on_another_grid_of_the_same_space_is_resampled(root: Path) -> None:
    labels = np.asarray(nibabel.load(root / "atlas.nii.gz").dataobj)
    fine = np.repeat(np.repeat(np.repeat(labels, 2, 0), 2, 1), 2, 2)
    affine = np.diag([0.5, 0.5, 0.5, 1.0])
    affine[:3, 3] = -0.25
    nibabel.save(nibabel.Nifti1Image(fine, affine), root / "fine.nii.gz")
    np.testing.assert_allclose(
        reader(root, atlas=str(root / "fine.nii.gz")).trials("sub-01").signal, reader(root).trials("sub-01").signal
    )


def test_atlas_of_another_space_names_the_empty_parcels(root: Path) -> None:
    affine = np.eye(4)
    affine[0, 3] = 2.0
    labels = np.asarray(nibabel.load(root / "atlas.nii.gz").dataobj)
    nibabel.save(nibabel.Nifti1Image(labels, affine), root / "moved.nii.gz")
    with pytest.raises(DataError, match=r"2 of 3 parcels.*'3', '12'.*same space"):
        reader(root, atlas=str(root / "moved.nii.gz")).trials("sub-01")
    with pytest.raises(DataError, match="atlas is missing"):
        reader(root, atlas="nowhere.nii.gz").trials("sub-01")


def test_names_of_older_fmriprep_are_found(root: Path) -> None:
    expected = reader(root).trials("sub-01").signal
    for path in sorted((root / "derivatives").rglob("*_space-T1w_desc-*")):
        stem, what = path.name.split("_space-T1w_desc-")
        old = what.replace("preproc_bold", "preproc").replace("brain_mask", "brainmask")
        path.rename(path.with_name(f"{stem}_bold_space-T1w_{old}"))
    np.testing.assert_array_equal(reader(root, repetition_time_s=2.0).trials("sub-01").signal, expected)


def test_cache_equals_direct_computation(root: Path, tmp_path: Path) -> None:
    cached = reader(root, cache_dir=str(tmp_path / "cache")).trials("sub-02")
    assert isinstance(cached.signal, np.memmap)
    np.testing.assert_array_equal(cached.signal, reader(root).trials("sub-02").signal)


def test_damaged_volumes_are_refused(root: Path) -> None:
    with pytest.raises(DataError, match="leave the run"):
        reader(root, n_volumes=30).trials("sub-01")
    content = volumes(root).read_bytes()
    volumes(root).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"run-01.*truncated"):
        reader(root).trials("sub-01")
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 3, 2, 80), np.float32), np.eye(4)), volumes(root))
    with pytest.raises(DataError, match="another subject or preparation"):
        reader(root).trials("sub-01")
    nibabel.save(nibabel.Nifti1Image(np.full((4, 3, 2, 80), np.nan, np.float32), np.eye(4)), volumes(root))
    with pytest.raises(DataError, match="not finite"):
        reader(root).trials("sub-01")
    volumes(root).unlink()
    with pytest.raises(DataError, match="missing"):
        reader(root).trials("sub-01")
