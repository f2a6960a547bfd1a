"""THINGS-EEG1: synthetic recordings with the published quirks, the real events, and damaged files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from braindec.datasets.things_eeg1 import ThingsEEG1, events_file, read_events, recording_file, trial_table, write_fake
from braindec.types import DataError

pytest.importorskip("mne")
pytest.importorskip("pybv")
REAL = Path(os.environ.get("BRAINDEC_DATA", "../shared/data")) / "things_eeg1"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("things_eeg1")
    write_fake(root)
    return root


@pytest.fixture
def damaged(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "data"))


def test_trials_are_cut_at_onsets_in_milliseconds(original: Path) -> None:
    dataset = ThingsEEG1(str(original))
    trials, stimuli = dataset.trials("sub-02"), dataset.stimuli()
    assert trials.signal.shape == (24 + 8, 63, 275)
    assert trials.times_s is not None
    assert trials.times_s[0] == pytest.approx(-0.1)
    colour = stimuli.images[stimuli.rows(trials.table["stimulus_id"].tolist())].mean(axis=(1, 2))
    design = np.column_stack([colour, np.ones(len(colour))])
    residual = trials.signal - np.tensordot(
        design, np.linalg.lstsq(design, trials.signal.reshape(32, -1), rcond=None)[0].reshape(4, 63, 275), 1
    )
    explained = 1 - residual.var(axis=(0, 1)) / trials.signal.var(axis=(0, 1))
    assert abs(trials.times_s[np.argmax(explained)] - 0.1) < 0.03
    assert 1e-7 < trials.signal.std() < 1e-4


def test_subject_without_a_test_part(original: Path) -> None:
    table = ThingsEEG1(str(original)).trials("sub-01").table
    assert set(table["split"]) == {"train"}


def test_zero_shot_drops_the_test_concepts_from_training(original: Path) -> None:
    plain = ThingsEEG1(str(original), zero_shot=False).trials("sub-02").table
    strict = ThingsEEG1(str(original), zero_shot=True).trials("sub-02").table
    test = set(plain["concept"][plain["split"] == "test"])
    assert test <= set(plain["concept"][plain["split"] == "train"])
    assert not test & set(strict["concept"][strict["split"] == "train"])
    assert (strict["split"] == "unused").sum() == 6


@pytest.mark.skipif(not REAL.is_dir(), reason=f"needs the real THINGS-EEG1 events in {REAL}")
@pytest.mark.parametrize(("subject", "n_test"), [("sub-01", 0), ("sub-02", 2400)])
def test_real_events_have_the_published_counts(subject: str, n_test: int) -> None:
    events = read_events(events_file(REAL, subject))
    table = trial_table(events, zero_shot=False)
    assert (table["split"] == "train").sum() == 22_248
    assert (table["split"] == "test").sum() == n_test
    assert table["concept"][table["split"] == "train"].nunique() == 1854
    assert table["stimulus_id"].nunique() == 22_248 + n_test // 12
    assert not table["stimulus_id"].str.contains(r"\\").any()
    assert np.median(np.diff(events["onset_s"])) == pytest.approx(0.1, abs=0.001)
    if n_test:
        assert (table[table["split"] == "test"].groupby("stimulus_id")["repetition"].max() == 11).all()
        strict = trial_table(events, zero_shot=True)
        train = strict[strict["split"] == "train"]
        assert not set(train["concept"]) & set(strict["concept"][strict["split"] == "test"])


@pytest.mark.skipif(not REAL.is_dir(), reason=f"needs the real THINGS-EEG1 events in {REAL}")
def test_real_folder_without_recordings_says_what_to_download() -> None:
    with pytest.raises(DataError, match=r"vhdr.*ds003825"):
        ThingsEEG1(str(REAL)).trials("sub-02")


def change_events(root: Path, **columns: object) -> None:
    path = events_file(root, "sub-02")
    pd.read_csv(path, sep="\t").assign(**columns).to_csv(path, sep="\t", index=False)


def test_shuffled_or_seconds_onsets_are_refused(damaged: Path) -> None:
    table = pd.read_csv(events_file(damaged, "sub-02"), sep="\t")
    change_events(damaged, onset=table["onset"].sample(frac=1, random_state=0).to_numpy())
    with pytest.raises(DataError, match="shuffled"):
        ThingsEEG1(str(damaged)).trials("sub-02")
    change_events(damaged, onset=table["onset"] / 1000)
    with pytest.raises(DataError, match="milliseconds"):
        ThingsEEG1(str(damaged)).trials("sub-02")


def test_duplicate_pictures_missing_column_and_disagreeing_test_flag(damaged: Path) -> None:
    table = pd.read_csv(events_file(damaged, "sub-02"), sep="\t")
    change_events(damaged, stim=table["stim"].replace(table["stim"][1], table["stim"][0]))
    with pytest.raises(DataError, match="more than once"):
        ThingsEEG1(str(damaged)).trials("sub-02")
    change_events(damaged, stim=table["stim"], isteststim=0)
    with pytest.raises(DataError, match="disagree"):
        ThingsEEG1(str(damaged)).trials("sub-02")
    table.drop(columns="stim").to_csv(events_file(damaged, "sub-02"), sep="\t", index=False)
    with pytest.raises(DataError, match=r"no \['stim'\]"):
        ThingsEEG1(str(damaged)).trials("sub-02")


def test_recording_cut_short_or_missing(damaged: Path) -> None:
    path = recording_file(damaged, "sub-02").with_suffix(".eeg")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"cut short|truncated"):
        ThingsEEG1(str(damaged)).trials("sub-02")
    path.unlink()
    with pytest.raises(DataError, match="vhdr"):
        ThingsEEG1(str(damaged)).trials("sub-02")


def test_dead_channel_is_named(damaged: Path) -> None:
    path = recording_file(damaged, "sub-02").with_suffix(".eeg")
    header = recording_file(damaged, "sub-02").read_text(encoding="utf-8")
    kind = "<f4" if "IEEE_FLOAT_32" in header else "<i2"
    samples = np.fromfile(path, dtype=kind).reshape(-1, 63)
    samples[:, 5] = 0
    samples.tofile(path)
    with pytest.raises(DataError, match=r"1 of 63 channels.*'E6'"):
        ThingsEEG1(str(damaged)).trials("sub-02")
    assert ThingsEEG1(str(damaged), bad_positions="drop").trials("sub-02").space.size == 62


def test_unknown_subject_and_empty_root(original: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown subject"):
        ThingsEEG1(str(original)).trials("sub-40")
    with pytest.raises(DataError, match="ds003825"):
        ThingsEEG1(str(tmp_path)).subjects()
