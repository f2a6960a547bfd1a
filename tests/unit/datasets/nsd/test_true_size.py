"""NSD at true size: every person's grid and ROI counts, compared with the published masks where they are at hand."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from braindec.datasets.nsd import layout
from braindec.datasets.nsd.fake import write_fake
from braindec.datasets.nsd.reader import NSD
from braindec.datasets.nsd.rois import read_mask, read_rois
from braindec.types import DataError

h5py = pytest.importorskip("h5py")
nibabel = pytest.importorskip("nibabel")
MASKS = Path(os.environ.get("BRAINDEC_DATA", "../shared/data")) / "nsd" / "masks" / "brain_region_masks.hdf5"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("nsd")
    write_fake(root, subjects=layout.SUBJECTS, storage=(), true_size=True)
    write_fake(root, subjects=("subj07",), true_size=True)
    return root


@pytest.mark.skipif(not MASKS.is_file(), reason=f"needs the published masks {MASKS}")
def test_constants_and_fake_have_every_count_of_the_published_masks(root: Path) -> None:
    with h5py.File(MASKS, "r") as file:
        assert sorted(file) == list(layout.SUBJECTS)
        for subject in layout.SUBJECTS:
            real = {name: int(values[:].sum()) for name, values in file[subject].items()}
            assert layout.NSDGENERAL_VOXELS[subject] == real["nsd_general"] == file[subject]["V1"].size
            areas = layout.VISUAL_ROI_VOXELS[subject]
            assert areas == {"V1": real["V1"], "V2": real["V2"], "V3": real["V3"], "hV4": real["V4"]}
            mask = read_mask(root, subject, "nsdgeneral", "hdf5")
            assert mask.parts[0].shape == layout.GRID_SHAPES[subject]
            rois = read_rois(root, subject, mask, "hdf5")
            found = {
                "V1": rois["V1"].sum(), "V2": rois["V2"].sum(), "V3": rois["V3"].sum(), "V4": rois["hV4"].sum(),
                "early_vis": rois["prf-visualrois"].sum(), "higher_vis": (~rois["prf-visualrois"]).sum(),
                "nsd_general": mask.size,
            }  # fmt: skip
            assert found == real


def test_a_session_of_true_size_is_read(root: Path) -> None:
    trials = NSD(str(root), subject_names=["subj07"], sessions=1).trials("subj07")
    assert trials.signal.shape == (750, 12_682, 1)
    assert trials.space.grid_shape == (78, 95, 81)
    assert trials.rois["V1"].sum() == 1142


def test_masks_of_other_people_or_other_sizes_are_refused(root: Path, tmp_path: Path) -> None:
    own = layout.roi_files(tmp_path, "subj07", "nsdgeneral", "hdf5")[0]
    own.parent.mkdir(parents=True)
    shutil.copy(layout.roi_files(root, "subj05", "nsdgeneral", "hdf5")[0], own)
    with pytest.raises(DataError, match=r"its grid \(79, 97, 78\) is that of subj05; subj07's is \(78, 95, 81\)"):
        read_mask(tmp_path, "subj07", "nsdgeneral", "hdf5")
    image = nibabel.load(layout.roi_files(root, "subj07", "nsdgeneral", "hdf5")[0])
    volume = np.asarray(image.dataobj).copy()
    volume[tuple(np.argwhere(volume == 1)[0])] = 0
    nibabel.save(nibabel.Nifti1Image(volume, image.affine), own)
    with pytest.raises(DataError, match="expected 12682 voxels above 0, the published number of subj07, found 12681"):
        read_mask(tmp_path, "subj07", "nsdgeneral", "hdf5")
