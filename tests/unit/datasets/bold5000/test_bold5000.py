"""BOLD5000 on a synthetic copy in the true layout: counts, parts, names, cache, and every kind of damaged input."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from braindec.datasets.bold5000 import layout
from braindec.datasets.bold5000.design import read_repeated, stimulus_id, trial_table
from braindec.datasets.bold5000.fake import write_fake
from braindec.datasets.bold5000.reader import BOLD5000
from braindec.types import DataError

nibabel = pytest.importorskip("nibabel")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bold5000")
    write_fake(root, subjects=("CSI2", "CSI4"), n_sessions=2)
    return root


@pytest.fixture
def damaged(original: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage; the pictures, which are many, are left out."""
    leave = shutil.ignore_patterns("Presented_Stimuli", "sub-CSI4")
    return Path(shutil.copytree(original, tmp_path / "data", ignore=leave))


def two(root: Path, **options: object) -> BOLD5000:
    return BOLD5000(str(root), **{"sessions": 2, **options})  # type: ignore[arg-type]


def test_sessions_hold_the_published_numbers_of_trials() -> None:
    n_runs = {s: sum(layout.runs_of(s, i) for i in range(1, n + 1)) for s, n in layout.SESSIONS.items()}
    assert {s: n * layout.TRIALS_PER_RUN for s, n in n_runs.items()} == {
        "CSI1": 5254, "CSI2": 5254, "CSI3": 5254, "CSI4": 3108,
    }  # fmt: skip


def test_published_partition(original: Path) -> None:
    table = trial_table(original, "CSI2")
    counts = table.groupby("split")["stimulus_id"].agg(["nunique", "size"])
    assert tuple(counts.loc["train"]) == (4803, 4803)
    assert tuple(counts.loc["test"]) == (113, 451)
    assert table["repetition"].max() == 3
    assert not table["stimulus_id"].str.startswith("rep_").any()


def test_pictures_shown_once_to_the_fourth_person_stay_in_the_test_part(original: Path) -> None:
    table = trial_table(original, "CSI4")
    assert len(table) == 3108
    repeated = read_repeated(original)
    assert set(table["stimulus_id"][table["split"] == "test"]) == set(table["stimulus_id"]) & repeated
    assert not set(table["stimulus_id"][table["split"] == "train"]) & repeated


def test_volumes_give_the_masks_voxels(original: Path) -> None:
    trials = two(original).trials("CSI2")
    assert trials.signal.shape == (37 * (10 + 9), 30, 1)
    assert trials.unit == "psc"
    x, y, z = trials.space.grid_index.T
    for session, rows in ((1, slice(0, 370)), (2, slice(370, 703))):
        stored = nibabel.load(layout.betas_file(original, "CSI2", layout.BETAS, session)).get_fdata()
        np.testing.assert_allclose(trials.signal[rows, :, 0], stored[x, y, z].T, rtol=1e-6)
    mask = nibabel.load(layout.roi_mask_file(original, "CSI2", "RHRSC")).get_fdata() > 0
    assert layout.roi_mask_file(original, "CSI2", "RHRSC").name == "sub-CSI2_mask-RHRRSC.nii.gz"
    np.testing.assert_array_equal(trials.rois["RHRSC"], mask[x, y, z])
    np.testing.assert_array_equal(trials.rois["RSC"], trials.rois["RHRSC"] | trials.rois["LHRSC"])
    assert two(original, roi="brain").trials("CSI2").space.size == 40


def test_published_arrays_give_the_same_signal_of_each_roi(original: Path) -> None:
    volumes, arrays = two(original).trials("CSI2"), two(original, storage="rois").trials("CSI2")
    for roi in layout.ROI_NAMES:
        one, other = (np.sort(t.signal[:, t.rois[roi], 0], axis=1) for t in (volumes, arrays))
        np.testing.assert_allclose(one, other, rtol=1e-6)
    assert len(BOLD5000(str(original), storage="rois").trials("CSI4")) == 3108


def test_signal_follows_the_picture_of_its_source(original: Path) -> None:
    dataset = two(original)
    trials, stimuli = dataset.trials("CSI2"), dataset.stimuli()
    assert set(trials.table["source"]) == {"COCO", "ImageNet", "Scene"}
    colour = stimuli.images[stimuli.rows(trials.table["stimulus_id"].tolist())].mean(axis=(1, 2))
    design = np.column_stack([colour, np.ones(len(colour))])
    fit, *_ = np.linalg.lstsq(design[::2], trials.signal[::2, :, 0], rcond=None)
    residual = trials.signal[1::2, :, 0] - design[1::2] @ fit
    assert 1 - residual.var() / trials.signal[1::2].var() > 0.2
    labels = dict(zip(stimuli.extras["source"], stimuli.extras["label"]))
    assert labels["COCO"] == ""
    assert labels["Scene"] == "kitchen"
    assert labels["ImageNet"].endswith("object")


@pytest.mark.parametrize("storage", ["volumes", "rois"])
def test_cache_equals_direct_read(original: Path, tmp_path: Path, storage: str) -> None:
    cached = two(original, storage=storage, cache_dir=str(tmp_path))
    for _ in range(2):
        trials = cached.trials("CSI2")
        assert isinstance(trials.signal, np.memmap)
        np.testing.assert_array_equal(trials.signal, two(original, storage=storage).trials("CSI2").signal)


def test_missing_session_is_named(damaged: Path) -> None:
    layout.betas_file(damaged, "CSI2", layout.BETAS, 2).unlink()
    assert len(BOLD5000(str(damaged), sessions=1).trials("CSI2")) == 370
    with pytest.raises(DataError, match=r"ses-02.*sessions="):
        two(damaged).trials("CSI2")


@pytest.mark.parametrize("storage", ["volumes", "rois"])
@pytest.mark.parametrize("kept", [0.5, 0.0])
def test_truncated_file_is_named(damaged: Path, storage: str, kept: float) -> None:
    path = layout.betas_file(damaged, "CSI2", layout.BETAS, 1)
    path = path if storage == "volumes" else layout.roi_betas_file(damaged, "CSI2", layout.BETAS, "LHPPA")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(DataError, match=path.name):
        two(damaged, storage=storage).trials("CSI2")


def test_volumes_of_another_subject_or_session_are_refused(damaged: Path) -> None:
    write_fake(damaged / "other", subjects=("CSI3",), n_sessions=1, grid_shape=(7, 6, 5), storage=("volumes",))
    other = layout.betas_file(damaged / "other", "CSI3", layout.BETAS, 1)
    own = layout.betas_file(damaged, "CSI2", layout.BETAS, 1)
    shutil.copy(other, own)
    with pytest.raises(DataError, match="another subject"):
        two(damaged).trials("CSI2")
    shutil.copy(layout.betas_file(damaged, "CSI2", layout.BETAS, 2), own)
    with pytest.raises(DataError, match="expected 370 trials, found 333"):
        two(damaged).trials("CSI2")


def test_another_subjects_mask_is_refused(damaged: Path) -> None:
    write_fake(damaged / "other", subjects=("CSI3",), n_sessions=1, grid_shape=(7, 6, 5), storage=("volumes",))
    other = layout.roi_mask_file(damaged / "other", "CSI3", "LHPPA")
    shutil.copy(other, layout.roi_mask_file(damaged, "CSI2", "LHPPA"))
    with pytest.raises(DataError, match=r"LHPPA.*another subject"):
        two(damaged).trials("CSI2")


def test_shuffled_list_is_refused(damaged: Path) -> None:
    path = layout.names_file(damaged, "CSI2")
    lines = path.read_text().splitlines()
    lines[3], lines[40] = lines[40], lines[3]
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"run-01_events.*trial 4 shows"):
        two(damaged).trials("CSI2")


def test_duplicate_and_lost_pictures_are_refused(damaged: Path) -> None:
    path = layout.names_file(damaged, "CSI2")
    lines = path.read_text().splitlines()
    once = [i for i, line in enumerate(lines) if not line.startswith("rep_")]
    path.write_text("\n".join([*lines[:-1]]))
    with pytest.raises(DataError, match="expected 5254 pictures"):
        two(damaged).trials("CSI2")
    lines[once[5]] = lines[once[6]]
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match="1 pictures occur more than once"):
        two(damaged).trials("CSI2")


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_dead_voxel_is_refused_or_dropped(damaged: Path, value: float) -> None:
    trials = two(damaged).trials("CSI2")
    path = layout.betas_file(damaged, "CSI2", layout.BETAS, 1)
    image = nibabel.load(path)
    volumes = image.get_fdata(dtype=np.float32)
    x, y, z = trials.space.grid_index[4]
    volumes[x, y, z] = value
    nibabel.save(nibabel.Nifti1Image(volumes, image.affine), path)
    with pytest.raises(DataError, match=r"ses-01.*1 of 30 voxels"):
        two(damaged).trials("CSI2")
    assert two(damaged, bad_positions="drop").trials("CSI2").space.size == 29


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("executed",)


def test_pickled_array_is_refused_and_not_executed(
    damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = layout.roi_betas_file(damaged, "CSI2", layout.BETAS, "RHLOC")
    np.save(path, np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="RHLOC"):
        two(damaged, storage="rois").trials("CSI2")
    assert not (tmp_path / "executed").exists()


def test_wrong_options_are_refused(original: Path) -> None:
    for options, message in (
        ({"sessions": [2, 1]}, "increasing"),
        ({"sessions": 16}, r"within 1\.\.15"),
        ({"storage": "mat"}, "storage"),
    ):
        with pytest.raises(DataError, match=message):
            two(original, **options).trials("CSI2")


def test_names() -> None:
    assert stimulus_id("rep_COCO_train2014_000000000009.jpg") == "COCO_train2014_000000000009.jpg"
    assert stimulus_id("Presented/ImageNet/n01440764_1.JPEG") == "n01440764_1.JPEG"
