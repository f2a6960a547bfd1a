"""GLMsingle's outputs of a BIDS folder, in each of its file formats, and damaged ones."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from braindec.datasets.bids_glmsingle import OUTPUT, BIDSGLMsingle, write_fake
from braindec.types import DataError

h5py = pytest.importorskip("h5py")
nibabel = pytest.importorskip("nibabel")
pytest.importorskip("pybv")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_fake(tmp_path / "data")
    return tmp_path / "data"


def output(root: Path, subject: str = "sub-01", ending: str = ".hdf5") -> Path:
    return root / "derivatives/glmsingle" / subject / f"{OUTPUT}{ending}"


def stored(root: Path) -> np.ndarray:
    with h5py.File(output(root)) as file:
        return file["betasmd"][:]


def test_betas_are_those_of_the_mask_in_the_order_of_the_events(root: Path) -> None:
    dataset = BIDSGLMsingle(str(root), "scan")
    for subject in ("sub-01", "sub-02"):
        trials = dataset.trials(subject)
        assert trials.signal.shape == (24, 18, 1)
        shown = [i for path in dataset.runs(subject) for i in pd.read_csv(path, sep="\t")["stim_file"].dropna()]
        assert trials.table["stimulus_id"].tolist() == shown
        even = trials.table["stimulus_id"].isin(["s0.png", "s2.png"]).to_numpy()
        assert trials.signal[even].mean() - trials.signal[~even].mean() == pytest.approx(2.0, abs=0.15)
    trials = dataset.trials("sub-01")
    x, y, z = trials.space.grid_index.T
    np.testing.assert_array_equal(trials.signal[:, :, 0], stored(root)[x, y, z].T)


def test_matlab_and_pickled_files_give_the_same(root: Path) -> None:
    betas, expected = stored(root), BIDSGLMsingle(str(root), "scan").trials("sub-01").signal
    output(root).unlink()
    np.save(output(root, ending=".npy"), {"betasmd": betas}, allow_pickle=True)  # type: ignore[arg-type]
    np.testing.assert_array_equal(BIDSGLMsingle(str(root), "scan").trials("sub-01").signal, expected)
    output(root, ending=".npy").unlink()
    with h5py.File(output(root, ending=".mat"), "w") as file:
        file["modelmd"] = betas.T
    np.testing.assert_array_equal(BIDSGLMsingle(str(root), "scan").trials("sub-01").signal, expected)


def test_damaged_outputs_are_refused(root: Path) -> None:
    dataset, betas, path = BIDSGLMsingle(str(root), "scan"), stored(root), output(root)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=path.name):
        dataset.trials("sub-01")
    for wrong, message in ((betas[..., 1:], "another subject"), (betas[1:], "another subject")):
        with h5py.File(path, "w") as file:
            file["betasmd"] = wrong
        with pytest.raises(DataError, match=message):
            dataset.trials("sub-01")
    betas[2, 1, 1] = np.nan
    with h5py.File(path, "w") as file:
        file["betasmd"] = betas
    with pytest.raises(DataError, match="1 of 18 voxels are dead or not finite"):
        dataset.trials("sub-01")
    path.unlink()
    with pytest.raises(DataError, match="GLMsingle's betas are missing"):
        dataset.trials("sub-01")


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("executed",)


def test_malicious_pickle_is_not_executed(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save(output(root, "sub-02", ".npy"), {"betasmd": Bomb()}, allow_pickle=True)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="nothing was executed"):
        BIDSGLMsingle(str(root), "scan").trials("sub-02")
    assert not (tmp_path / "executed").exists()
