from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from braindec.contracts import Dataset
from braindec.datasets.miyawaki2008 import FILE_NAME, Miyawaki2008, write_fake
from braindec.types import DataError

PROJECT = Path(__file__).parents[3]
REAL = Path(os.environ.get("BRAINDEC_DATA", PROJECT / "../shared/data")) / "miyawaki2008_figures"
needs_real = pytest.mark.skipif(not (REAL / FILE_NAME).exists(), reason=f"{REAL / FILE_NAME} is missing")


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    write_fake(str(tmp_path), n_voxels=30)
    return tmp_path


def rewrite(root: Path, **changes: np.ndarray) -> None:
    content = {k: v for k, v in loadmat(root / FILE_NAME).items() if not k.startswith("__")}
    savemat(root / FILE_NAME, {**content, **changes})


def test_fake_has_the_described_table(fake: Path) -> None:
    dataset = Miyawaki2008(str(fake))
    assert isinstance(dataset, Dataset)
    trials = dataset.trials("S1")
    assert trials.signal.shape == (80, 30, 1)
    table = trials.table
    assert (table.groupby("stimulus_id").size() == 8).all()
    assert table["stimulus_id"].nunique() == 10
    assert (table.groupby("stimulus_id")["repetition"].apply(sorted).map(tuple) == tuple(range(8))).all()
    figures = table["stimulus_id"].str.startswith("figure-")
    assert (table.loc[figures, "session"] == 1).all()
    assert (table.loc[~figures, "session"] == 2).all()
    assert (table.groupby(["session", "run"])["stimulus_id"].nunique() == 5).all()
    assert set(table["split"]) == {"train"}


def test_letters_are_upright() -> None:
    stimuli = Miyawaki2008("nowhere").stimuli()
    assert stimuli.images is not None
    assert stimuli.images.dtype == np.uint8
    lit = {i: stimuli.images[r, :, :, 0] for r, i in enumerate(stimuli.ids)}
    assert set(np.unique(stimuli.images)) == {0, 255}
    assert (stimuli.images[..., 0] == stimuli.images[..., 2]).all()
    n, u, r = (lit[f"letter-{c}"][2:7, 3:7] // 255 for c in "nur")
    np.testing.assert_array_equal(n, [[1, 1, 1, 1], [1, 0, 0, 1], [1, 0, 0, 1], [1, 0, 0, 1], [1, 0, 0, 1]])
    np.testing.assert_array_equal(u, n[::-1])
    np.testing.assert_array_equal(r, [[1, 1, 1, 1], [1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]])


@needs_real
def test_real_file() -> None:
    dataset = Miyawaki2008(str(REAL))
    trials, stimuli = dataset.trials("S1"), dataset.stimuli()
    raw = loadmat(REAL / FILE_NAME)
    assert trials.signal.shape == (80, 797, 1)
    np.testing.assert_allclose(trials.signal[:, :, 0], raw["R2"].T, rtol=1e-6)
    assert stimuli.images is not None
    shown = stimuli.images[stimuli.rows(list(trials.table["stimulus_id"]))][..., 0] // 255
    np.testing.assert_array_equal(shown.transpose(0, 2, 1).reshape(80, 100), raw["I2"].T)
    assert list(trials.table["stimulus_id"][40:45].str[-1]) == list("neuro")
    assert re.fullmatch("[0-9a-f]{12}", dataset.version())


def test_version_follows_the_content(fake: Path) -> None:
    before = Miyawaki2008(str(fake)).version()
    rewrite(fake, R2=np.ones((30, 80)))
    assert Miyawaki2008(str(fake)).version() != before


def test_unknown_subject(fake: Path) -> None:
    with pytest.raises(DataError, match="unknown subject 'S2'"):
        Miyawaki2008(str(fake)).trials("S2")


def test_missing_file(tmp_path: Path) -> None:
    for call in (lambda d: d.trials("S1"), lambda d: d.version()):
        with pytest.raises(DataError, match=r"cannot read .*V1_mean_figure\.mat"):
            call(Miyawaki2008(str(tmp_path / "none")))
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(DataError, match="cannot read"):
        Miyawaki2008(str(tmp_path)).trials("S1")


def test_not_a_matlab_file(tmp_path: Path) -> None:
    for content in (b"", b"hello", b"x" * 5000, np.random.default_rng(0).bytes(3000)):
        (tmp_path / FILE_NAME).write_bytes(content)
        with pytest.raises(DataError, match="not a readable MATLAB 5 file"):
            Miyawaki2008(str(tmp_path)).trials("S1")


def test_truncated_at_any_length(fake: Path) -> None:
    whole = (fake / FILE_NAME).read_bytes()
    for length in np.linspace(1, len(whole) - 1, 60).astype(int):
        (fake / FILE_NAME).write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"truncated|found no"):
            Miyawaki2008(str(fake)).trials("S1")


def test_other_variable_names(fake: Path) -> None:
    savemat(fake / FILE_NAME, {"I": np.zeros((100, 80)), "R2": np.zeros((30, 80))})
    with pytest.raises(DataError, match="expected the variables I2 and R2, found no I2"):
        Miyawaki2008(str(fake)).trials("S1")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"R2": np.where(np.arange(2400).reshape(30, 80) == 85, np.nan, 1.0)}, "1 values .* voxel 1, trial 5"),
        ({"R2": np.ones((30, 79))}, r"R2 must be \(voxels, 80\).*found \(30, 79\)"),
        ({"R2": np.ones((0, 80))}, "R2 must be"),
        ({"I2": np.ones((100, 79))}, r"I2 must be \(100, 80\).*found \(100, 79\)"),
        ({"I2": np.ones((80, 100))}, r"I2 must be \(100, 80\)"),
        ({"I2": np.full((100, 80), 255)}, "only 0 and 1, found e.g. 255"),
        ({"I2": np.full((100, 80), np.nan)}, "only 0 and 1, found e.g. nan"),
        ({"I2": np.zeros((100, 80))}, "picture of trial 0 .* none of the ten"),
        ({"R2": np.ones((30, 80)) * 1j}, "R2 must be a real-valued matrix"),
        ({"R2": np.array([["text"]], dtype=object)}, "R2 must be a real-valued matrix"),
    ],
)
def test_bad_content(fake: Path, changes: dict[str, np.ndarray], message: str) -> None:
    rewrite(fake, **changes)
    with pytest.raises(DataError, match=message):
        Miyawaki2008(str(fake)).trials("S1")


def test_transposed_and_shuffled_pictures(fake: Path) -> None:
    pixels = loadmat(fake / FILE_NAME)["I2"]
    rewrite(fake, I2=pixels.reshape(10, 10, 80).transpose(1, 0, 2).reshape(100, 80))
    with pytest.raises(DataError, match="transposed"):
        Miyawaki2008(str(fake)).trials("S1")
    rewrite(fake, I2=np.roll(pixels, 2, axis=1))
    with pytest.raises(DataError, match="must show each of"):
        Miyawaki2008(str(fake)).trials("S1")
