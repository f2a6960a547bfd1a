from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from braindec.datasets.atlas import atlas_rois
from braindec.types import DataError, Space, Trials
from tests.unit.signals.conftest import trial_table

GRID = np.argwhere(np.ones((4, 3, 2), dtype=bool))
AFFINE = np.diag([4.0, 4, 4, 1])
AFFINE[:3, 3] = (-6, -4, 0)
LABELS = np.repeat([1, 1, 2, 7], 6).reshape(4, 3, 2)


def _trials(space: Space) -> Trials:
    return Trials("subj01", np.zeros((2, space.size, 1), np.float32), "psc", space, trial_table(2, 1, 1))


@pytest.fixture
def volume() -> Trials:
    return _trials(Space("voxels", 24, grid_index=GRID, grid_shape=(4, 3, 2), affine=AFFINE))


def _save(path: Path, labels: np.ndarray, affine: np.ndarray) -> str:
    nibabel.save(nibabel.Nifti1Image(labels.astype(np.int16), affine), path)
    return str(path)


def test_labels_become_rois_whatever_the_grid(volume: Trials, tmp_path: Path) -> None:
    same = _save(tmp_path / "same.nii.gz", LABELS, AFFINE)
    rois = atlas_rois(volume, same).rois
    assert list(rois) == ["1", "2", "7"]
    np.testing.assert_array_equal(rois["2"], GRID[:, 0] == 2)
    # 1 mm voxels, an axis the other way round, and FreeSurfer's fourth axis.
    fine = np.repeat(np.repeat(np.repeat(LABELS, 4, 0), 4, 1), 4, 2)[::-1, ..., None]
    affine = np.diag([-1.0, 1, 1, 1])
    affine[:3, 3] = AFFINE[:3, 3] - 1.5 + np.array([len(fine) - 1, 0, 0])
    again = atlas_rois(volume, _save(tmp_path / "fine.nii.gz", fine, affine)).rois
    for name, mask in rois.items():
        np.testing.assert_array_equal(again[name], mask)


def test_names_from_a_mapping_or_a_table(volume: Trials, tmp_path: Path) -> None:
    path = _save(tmp_path / "atlas.nii.gz", LABELS, AFFINE)
    names = {1: "visual", 2: "limbic", 7: "default"}
    assert set(atlas_rois(volume, path, names).rois) == {"visual", "limbic", "default"}
    table = tmp_path / "atlas.tsv"
    table.write_text("index\tname\n0\tnothing\n" + "".join(f"{i}\t{name}\n" for i, name in names.items()))
    assert set(atlas_rois(volume, path, str(table)).rois) == {"visual", "limbic", "default"}
    assert list(atlas_rois(volume, path, names, only=["limbic"]).rois) == ["limbic"]
    for wrong, said in (
        ({1: "a", 2: "b"}, r"labels without a name \[7\]"),
        ({**names, 9: "far"}, r"names without a voxel \['far'\]"),
        ({1: "a", 2: "a", 7: "b"}, "1 names given twice"),
    ):
        with pytest.raises(DataError, match=said):
            atlas_rois(volume, path, wrong)
    with pytest.raises(DataError, match=r"has no region \['nowhere'\]; its regions are \['1', '2', '7'\]"):
        atlas_rois(volume, path, only=["nowhere"])


def test_hemispheres_and_parcels(volume: Trials, tmp_path: Path) -> None:
    rois = atlas_rois(volume, "hemispheres").rois
    np.testing.assert_array_equal(rois["left"], GRID[:, 0] < 2)
    np.testing.assert_array_equal(rois["right"], GRID[:, 0] >= 2)
    centres = np.array([[-6.0, 0, 0], [6, 0, 0], [2, 0, 0]]) / 1000
    parcels = _trials(Space("parcels", 3, positions_m=centres))
    rois = atlas_rois(parcels, _save(tmp_path / "a.nii.gz", LABELS, AFFINE)).rois
    assert {name: mask.tolist() for name, mask in rois.items()} == {
        "1": [True, False, False], "2": [False, False, True], "7": [False, True, False],
    }  # fmt: skip


def test_what_does_not_fit_is_named(volume: Trials, tmp_path: Path) -> None:
    far = AFFINE.copy()
    far[0, 3] += 500
    with pytest.raises(DataError, match=r"only 0% of the 24 voxels .* in the same space\?"):
        atlas_rois(volume, _save(tmp_path / "far.nii.gz", LABELS, far))
    wider = np.concatenate([LABELS, np.full((2, 3, 2), 5)])
    with pytest.raises(DataError, match=r"1 of 4 regions have no voxels .* \['5'\]; leave them out with regions="):
        atlas_rois(volume, _save(tmp_path / "wider.nii.gz", wider, AFFINE))
    assert set(atlas_rois(volume, str(tmp_path / "wider.nii.gz"), only=["1", "2", "7"]).rois) == {"1", "2", "7"}
    with pytest.raises(DataError, match="every voxel is 0"):
        atlas_rois(volume, _save(tmp_path / "empty.nii.gz", 0 * LABELS, AFFINE))
    with pytest.raises(DataError, match=r"expected whole-number labels \(x, y, z\)"):
        atlas_rois(volume, _save(tmp_path / "maps.nii.gz", np.ones((4, 3, 2, 5)), AFFINE))
    with pytest.raises(DataError, match=r"gone.nii.gz"):
        atlas_rois(volume, str(tmp_path / "gone.nii.gz"))
    with pytest.raises(DataError, match=r"channels without a place in a volume"):
        atlas_rois(_trials(Space("channels", 2, names=("O1", "O2"))), "hemispheres")
