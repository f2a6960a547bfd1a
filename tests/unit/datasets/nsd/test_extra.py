"""NSD-Imagery and NSD-Synthetic: which betas belong to which run, and damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from braindec.datasets.nsd.extra import IMAGERY_RUNS, IMAGERY_TARGETS, NSDImagery, NSDSynthetic
from braindec.datasets.nsd.fake_extra import write_fake
from braindec.types import DataError

pytest.importorskip("nibabel")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_fake(tmp_path)
    return tmp_path


def test_the_runs_fill_the_session() -> None:
    assert sum(IMAGERY_RUNS.values()) == 720


@pytest.mark.parametrize(
    ("task", "sets", "expected"),
    [
        ("vision", ("B",), [*range(192, 240)]),
        ("imagery", ("B",), [*range(336, 384), *range(624, 672)]),
        ("imagery", ("A",), [*range(144, 192), *range(576, 624)]),
    ],
)
@pytest.mark.parametrize("storage", ["hdf5", "nifti"])
def test_betas_of_a_task_are_those_of_its_runs(
    root: Path, task: str, sets: tuple[str, ...], expected: list[int], storage: str
) -> None:
    trials = NSDImagery(str(root), task=task, sets=sets, storage=storage).trials("subj01")  # type: ignore[arg-type]
    np.testing.assert_allclose(trials.signal[:, 0, 0] * 300, expected, rtol=1e-5)  # the fake's first voxel counts betas
    run = "visB" if task == "vision" else f"img{sets[0]}_1"
    behaviour = pd.read_csv(root / f"nsddata/bdata/nsdimagery/nsdimagery_subj01_{run}.tsv", sep="\t")
    assert trials.table["stimulus_id"].tolist()[:48] == [IMAGERY_TARGETS[c] for c in behaviour["CONDITION"]]
    assert set(trials.table["split"]) == {"test"}


def test_imagery_run_with_other_letters_or_length_is_refused(root: Path) -> None:
    path = root / "nsddata/bdata/nsdimagery/nsdimagery_subj01_imgA_2.tsv"
    table = pd.read_csv(path, sep="\t")
    table.iloc[:40].to_csv(path, sep="\t", index=False)
    with pytest.raises(DataError, match="found 40"):
        NSDImagery(str(root)).trials("subj01")
    table.assign(CONDITION="S").to_csv(path, sep="\t", index=False)
    with pytest.raises(DataError, match=r"\['S'\]"):
        NSDImagery(str(root)).trials("subj01")
    path.unlink()
    with pytest.raises(DataError, match="imgA_2"):
        NSDImagery(str(root)).trials("subj01")


def test_missing_target_picture_is_named(root: Path) -> None:
    next(root.rglob("crs_045*.png")).unlink()
    with pytest.raises(DataError, match=r"1 target pictures are missing, e\.g\. crs_045"):
        NSDImagery(str(root)).stimuli()


def test_synthetic_colour_pictures_belong_to_their_subject(root: Path) -> None:
    import h5py
    from scipy.io import loadmat

    dataset = NSDSynthetic(str(root))
    trials, stimuli = dataset.trials("subj01"), dataset.stimuli()
    assert len(stimuli) == 284
    assert trials.table["run"].value_counts().to_dict() == dict.fromkeys(range(1, 9), 93)
    order = loadmat(root / "nsddata/experiments/nsdsynthetic/nsdsynthetic_expdesign.mat")["masterordering"].ravel()
    row = int(np.flatnonzero(order == 250)[0])
    assert trials.table["stimulus_id"][row] == "synthetic249-subj01"
    folder = root / "nsddata_stimuli/stimuli/nsdsynthetic"
    with h5py.File(folder / "nsdsynthetic_colorstimuli_subj01.hdf5") as file:
        image = stimuli.images[stimuli.rows(["synthetic249-subj01", "synthetic003"])][0]
        np.testing.assert_array_equal(image, file["imgBrick"][29])


def test_zero_based_or_cut_synthetic_files_are_refused(root: Path) -> None:
    from scipy.io import loadmat, savemat

    path = root / "nsddata/experiments/nsdsynthetic/nsdsynthetic_expdesign.mat"
    savemat(path, {"masterordering": loadmat(path)["masterordering"] - 1})
    with pytest.raises(DataError, match="1-based"):
        NSDSynthetic(str(root)).trials("subj01")
    betas = NSDImagery(str(root))._file("subj01")
    betas.write_bytes(betas.read_bytes()[:3000])
    with pytest.raises(DataError, match="betas_nsdimagery"):
        NSDImagery(str(root)).trials("subj01")
