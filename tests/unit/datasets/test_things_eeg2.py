"""THINGS-EEG2 in all five dialects, and damaged files of each."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from braindec.datasets.things_eeg2 import files
from braindec.datasets.things_eeg2.fake import write_fake
from braindec.datasets.things_eeg2.reader import ThingsEEG2, concept_of, picture_id
from braindec.types import DataError

pytest.importorskip("mne")
DIALECTS = ("A", "B", "C", "D", "raw")
SHAPES = {"A": (17, 100), "B": (63, 250), "C": (63, 301), "D": (63, 250), "raw": (63, 250)}


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    roots = {dialect: tmp_path_factory.mktemp(dialect) for dialect in DIALECTS}
    for dialect, root in roots.items():
        write_fake(root, dialect, n_concepts=2, n_test=3)  # type: ignore[arg-type]
    return roots


@pytest.fixture
def damaged(originals: dict[str, Path], tmp_path: Path) -> Any:
    return lambda dialect: Path(shutil.copytree(originals[dialect], tmp_path / dialect))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_is_recognised_and_carries_the_pictures_colour(originals: dict[str, Path], dialect: str) -> None:
    dataset = ThingsEEG2(str(originals[dialect]))
    trials, stimuli = dataset.trials("sub-01"), dataset.stimuli()
    assert dataset.version().startswith(dialect)
    assert trials.signal.shape == (2 * 10 * 4 + 3 * 8, *SHAPES[dialect])
    assert trials.times_s is not None
    assert trials.times_s[-1] == pytest.approx({"A": 0.79, "C": 1.0, "raw": 0.796}.get(dialect, 0.996))
    counts = trials.table.groupby(["split", "stimulus_id"]).size()
    assert (counts["train"] == 4).all()
    assert (counts["test"] == 8).all()
    assert not trials.table.duplicated(["stimulus_id", "repetition"]).any()
    assert not set(trials.table["concept"][trials.table["split"] == "train"]) & {"othera", "otherb", "otherc"}
    colour = stimuli.images[stimuli.rows(trials.table["stimulus_id"].tolist())].mean(axis=(1, 2))
    peak = trials.signal[:, :, np.argmin(np.abs(trials.times_s - 0.1))]
    before = trials.signal[:, :, 0]
    design = np.column_stack([colour, np.ones(len(colour))])

    def explained(signal: np.ndarray) -> float:
        residual = signal - design @ np.linalg.lstsq(design, signal, rcond=None)[0]
        return float(1 - residual.var() / signal.var())

    assert explained(peak) > 0.25
    assert explained(before) < 0.15


def test_session_of_a_trial_where_the_dialect_keeps_it(originals: dict[str, Path]) -> None:
    raw = ThingsEEG2(str(originals["raw"])).trials("sub-01").table
    train = raw[raw["split"] == "train"]
    assert (train.groupby("stimulus_id")["session"].nunique() == 2).all()
    a = ThingsEEG2(str(originals["A"])).trials("sub-01").table
    assert set(a["session"][a["split"] == "train"]) == {0}
    assert a["session"][a["split"] == "test"].tolist() == [1, 1, 2, 2, 3, 3, 4, 4] * 3


def test_posterior_channels_are_the_seventeen(originals: dict[str, Path]) -> None:
    trials = ThingsEEG2(str(originals["B"]), channels="posterior").trials("sub-01")
    assert trials.space.size == 17
    assert all(name[0] in "OP" for name in trials.space.names or ())
    np.testing.assert_array_equal(trials.signal, ThingsEEG2(str(originals["B"])).trials("sub-01").signal[:, :17])


@pytest.mark.parametrize("dialect", DIALECTS)
def test_cache_equals_direct_read_and_spares_the_files(
    originals: dict[str, Path], tmp_path: Path, dialect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = ThingsEEG2(str(originals[dialect])).trials("sub-01")
    dataset = ThingsEEG2(str(originals[dialect]), cache_dir=str(tmp_path))
    dataset.trials("sub-01")
    monkeypatch.setattr(files, "read", lambda *_: pytest.fail("a finished cache must not read the recording"))
    cached = dataset.trials("sub-01")
    assert isinstance(cached.signal, np.memmap)
    np.testing.assert_array_equal(cached.signal, direct.signal)
    pd.testing.assert_frame_equal(cached.table, direct.table, check_dtype=False)
    np.testing.assert_allclose(cached.times_s, direct.times_s)
    assert (cached.unit, cached.space.names) == (direct.unit, direct.space.names)


def test_cache_is_rebuilt_when_the_files_change(damaged: Any, tmp_path: Path) -> None:
    root = damaged("B")
    dataset = ThingsEEG2(str(root), cache_dir=str(tmp_path / "cache"))
    before = np.array(dataset.trials("sub-01").signal)
    data = pickle.loads(signal_file(root).read_bytes())["preprocessed_eeg_data"]
    replace_field(signal_file(root), preprocessed_eeg_data=-data)
    np.testing.assert_array_equal(dataset.trials("sub-01").signal[: len(data) * 4], -before[: len(data) * 4])


def test_pictures_can_be_named_from_the_metadata_alone(damaged: Any) -> None:
    root = damaged("A")
    named = ThingsEEG2(str(root)).trials("sub-01").table
    shutil.rmtree(root / "training_images")
    dataset = ThingsEEG2(str(root))
    assert dataset.trials("sub-01").table.equals(named)
    assert dataset.stimuli().images is None
    (root / "image_metadata.npy").unlink()
    with pytest.raises(DataError, match="osf"):
        dataset.trials("sub-01")


def test_names_of_pictures() -> None:
    assert concept_of("00012_bird_house") == "bird_house"
    assert picture_id("Image_set\\training_images\\00001_aardvark\\aardvark_01b.jpg") == "00001_aardvark/aardvark_01b"


def signal_file(root: Path, test: bool = False) -> Path:
    return files.signal_files(root, "sub-01")[int(test)]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_truncated_file_is_named(damaged: Any, dialect: str) -> None:
    path = signal_file(damaged(dialect), test=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    root = next(p for p in path.parents if p.name == dialect)
    with pytest.raises(DataError, match=path.name):
        ThingsEEG2(str(root)).trials("sub-01")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_missing_test_file_or_session_is_named(damaged: Any, dialect: str) -> None:
    root = damaged(dialect)
    if dialect == "raw":
        shutil.rmtree(root / "raw_data/sub-01/ses-03")
    else:
        signal_file(root, test=True).unlink()
    with pytest.raises(DataError, match="missing"):
        ThingsEEG2(str(root)).trials("sub-01")


def replace_field(path: Path, **changes: Any) -> None:
    content = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps({**content, **changes}, protocol=4))


def test_malicious_pickle_is_never_run(damaged: Any, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    root = damaged("B")
    replace_field(signal_file(root), extra=Evil())
    with pytest.raises(DataError, match="nothing was executed"):
        ThingsEEG2(str(root)).trials("sub-01")
    assert not (tmp_path / "ran").exists()


def test_malicious_torch_file_is_never_run(damaged: Any, tmp_path: Path) -> None:
    import torch

    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    root = damaged("D")
    torch.save({"eeg": Evil()}, signal_file(root))
    with pytest.raises(DataError, match=r"train\.pt"):
        ThingsEEG2(str(root)).trials("sub-01")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_dead_channels_are_refused_or_dropped_by_name(damaged: Any, value: float) -> None:
    root = damaged("B")
    content = pickle.loads(signal_file(root).read_bytes())
    content["preprocessed_eeg_data"][:, :, 4] = value
    replace_field(signal_file(root), **content)
    with pytest.raises(DataError, match=r"1 of 63 channels.*'Oz'"):
        ThingsEEG2(str(root)).trials("sub-01")
    kept = ThingsEEG2(str(root), bad_positions="drop").trials("sub-01")
    assert kept.space.size == 62
    assert "Oz" not in (kept.space.names or ())


def test_mixed_sampling_rates_are_refused(damaged: Any) -> None:
    root = damaged("B")
    replace_field(signal_file(root), times=np.arange(-50, 250) / 200)
    with pytest.raises(DataError, match="sampling rates"):
        ThingsEEG2(str(root)).trials("sub-01")


def test_duplicate_channel_names_are_refused(damaged: Any) -> None:
    root = damaged("B")
    for test in (False, True):
        names = pickle.loads(signal_file(root).read_bytes())["ch_names"]
        replace_field(signal_file(root, test), ch_names=[*names[:-1], names[0]])
    with pytest.raises(DataError, match="more than once"):
        ThingsEEG2(str(root)).trials("sub-01")


def test_incomplete_image_tree_is_refused(damaged: Any) -> None:
    root = damaged("A")
    next((root / "training_images").glob("*/*.jpg")).unlink()
    with pytest.raises(DataError, match=r"1\.\.20 .*there are 19"):
        ThingsEEG2(str(root)).trials("sub-01")
    root_d = damaged("D")
    next((root_d / "training_images").glob("*/*.jpg")).unlink()
    with pytest.raises(DataError, match="name pictures that are not there"):
        ThingsEEG2(str(root_d)).trials("sub-01")


def test_repeated_condition_of_one_session_is_refused(damaged: Any) -> None:
    root = damaged("C")
    path = root / "sub-01" / files.CONDITIONS["train"]
    conditions = np.load(path)
    conditions[0, 1] = conditions[0, 0]
    np.save(path, conditions)
    with pytest.raises(DataError, match="twice"):
        ThingsEEG2(str(root)).trials("sub-01")


def test_unknown_subject_and_empty_root(originals: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown subject 'sub-09'"):
        ThingsEEG2(str(originals["A"])).trials("sub-09")
    with pytest.raises(DataError, match="osf"):
        ThingsEEG2(str(tmp_path)).subjects()
