"""THINGS-MEG: synthetic split FIF files, the real events of one participant, and damaged files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from braindec.datasets.things_meg import ThingsMEG, concept_of, read_events, trial_table, write_fake
from braindec.types import DataError

mne = pytest.importorskip("mne")
REAL = Path(os.environ.get("BRAINDEC_DATA", "../shared/data")) / "things_meg"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"needs the real THINGS-MEG events in {REAL}")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("things_meg")
    write_fake(root, n_concepts=4, split_size="12MB")
    return root


@pytest.fixture
def damaged(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "data"))


def fif(root: Path) -> Path:
    return root / "derivatives/preprocessed/preprocessed_P1-epo.fif"


def test_split_files_give_all_trials_but_the_catch_trials(original: Path) -> None:
    assert fif(original).with_name("preprocessed_P1-epo-1.fif").is_file()
    dataset = ThingsMEG(str(original), zero_shot=False)
    trials, stimuli = dataset.trials("P1"), dataset.stimuli()
    assert trials.signal.shape == (4 * 12 + 2 * 12, 271, 281)
    assert trials.unit == "T"
    assert trials.table["split"].value_counts().to_dict() == {"train": 48, "test": 24}
    colour = stimuli.images[stimuli.rows(trials.table["stimulus_id"].tolist())].mean(axis=(1, 2))
    design = np.column_stack([colour, np.ones(len(colour))])
    assert trials.times_s is not None
    peak = trials.signal[:, :, np.argmin(np.abs(trials.times_s - 0.1))] * 1e13
    residual = peak - design @ np.linalg.lstsq(design, peak, rcond=None)[0]
    assert 1 - residual.var() / peak.var() > 0.3


def test_zero_shot_and_the_two_test_sets(original: Path) -> None:
    def counts(**options: Any) -> dict[str, int]:
        return ThingsMEG(str(original), **options).trials("P1").table["split"].value_counts().to_dict()

    assert counts(zero_shot=True) == {"train": 24, "unused": 24, "test": 24}
    assert counts(test_set="large") == {"train": 24, "test": 24, "unused": 24}
    table = ThingsMEG(str(original), test_set="large").trials("P1").table
    assert table["stimulus_id"][table["split"] == "test"].nunique() == 24
    assert not set(table["concept"][table["split"] == "train"]) & set(table["concept"][table["split"] == "test"])


def test_cache_equals_direct_read(original: Path, tmp_path: Path) -> None:
    cached = ThingsMEG(str(original), cache_dir=str(tmp_path)).trials("P1")
    assert isinstance(cached.signal, np.memmap)
    np.testing.assert_array_equal(cached.signal, ThingsMEG(str(original)).trials("P1").signal)


@needs_real
def test_real_events_have_the_published_counts() -> None:
    events = read_events(REAL, "sub-BIGMEG1")
    assert events["trial_type"].value_counts().to_dict() == {"exp": 22_248, "test": 2_400, "catch": 2_400}
    assert events.groupby("session")["run"].nunique().tolist()[1:] == [10] * 11
    table = trial_table(events, zero_shot=False, test_set="small")
    train, test = table[table["split"] == "train"], table[table["split"] == "test"]
    assert (train["stimulus_id"].nunique(), test["stimulus_id"].nunique()) == (22_248, 200)
    assert (test.groupby("stimulus_id")["repetition"].max() == 11).all()
    assert set(test["concept"]) <= set(train["concept"])
    strict = trial_table(events, zero_shot=True, test_set="small")
    assert strict["split"].value_counts().to_dict() == {"train": 22_248 - 2_400, "test": 2_400, "unused": 2_400}
    large = trial_table(events, zero_shot=True, test_set="large")
    assert large[large["split"] == "test"]["stimulus_id"].nunique() == 2_400


@needs_real
def test_real_folder_without_trials_says_what_to_download() -> None:
    with pytest.raises(DataError, match="ds004212"):
        ThingsMEG(str(REAL)).subjects()


def test_missing_run_of_the_raw_events_is_named(tmp_path: Path) -> None:
    for run in (1, 3):
        path = tmp_path / f"sub-X/ses-01/meg/sub-X_ses-01_task-main_run-{run:02d}_events.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("onset\ttrial_type\tthings_category_nr\tvalue\n1.0\texp\t1\t2\n")
    with pytest.raises(DataError, match=r"runs \[1, 3\] are there"):
        read_events(tmp_path, "sub-X")


@pytest.mark.parametrize("part", ["-epo.fif", "-epo-1.fif"])
@pytest.mark.parametrize("missing", [False, True])
def test_truncated_or_missing_part_is_named(damaged: Path, part: str, missing: bool) -> None:
    path = fif(damaged).with_name(f"preprocessed_P1{part}")
    content = path.read_bytes()
    path.unlink()
    if not missing:
        path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"preprocessed_P1-epo\.fif"):
        ThingsMEG(str(damaged)).trials("P1")


def rewrite(root: Path, change: Any) -> None:
    epochs = mne.read_epochs(fif(root), verbose="error")
    change(epochs)
    for path in fif(root).parent.glob("*.fif"):
        path.unlink()
    epochs.save(fif(root), overwrite=True, verbose="error")


def test_shuffled_attributes_are_refused(damaged: Path) -> None:
    def shuffle(epochs: Any) -> None:
        epochs.metadata = epochs.metadata.sample(frac=1, random_state=1).reset_index(drop=True)

    rewrite(damaged, shuffle)
    with pytest.raises(DataError, match="shuffled"):
        ThingsMEG(str(damaged)).trials("P1")


def test_missing_session_and_doubled_trials_are_refused(damaged: Path) -> None:
    def double(epochs: Any) -> None:
        epochs.metadata = epochs.metadata.assign(things_image_nr=epochs.metadata["things_image_nr"].iloc[0])

    rewrite(damaged, double)
    with pytest.raises(DataError, match="shuffled"):
        ThingsMEG(str(damaged)).trials("P1")

    def drop(epochs: Any) -> None:
        epochs.metadata = epochs.metadata.assign(session_nr=epochs.metadata["session_nr"].replace(3, 4))

    rewrite(damaged, drop)
    with pytest.raises(DataError, match=r"sessions \[1, 2, 4, .*one is missing"):
        ThingsMEG(str(damaged)).trials("P1")


@pytest.mark.parametrize("value", [0.0, np.nan])
@pytest.mark.parametrize("cached", [False, True])
def test_dead_sensor_is_named(damaged: Path, tmp_path: Path, value: float, cached: bool) -> None:
    def kill(epochs: Any) -> None:
        epochs._data[:, 3] = value

    rewrite(damaged, kill)
    cache = str(tmp_path / "cache") if cached else None
    for _ in range(2):
        with pytest.raises(DataError, match=r"1 of 271 sensors.*ML003-1609"):
            ThingsMEG(str(damaged), cache_dir=cache).trials("P1")
    assert ThingsMEG(str(damaged), cache_dir=cache, bad_positions="drop").trials("P1").space.size == 270


def test_names() -> None:
    assert concept_of("bow_tie_01b") == "bow_tie"
    assert concept_of("candelabra_14s") == "candelabra"
    with pytest.raises(DataError, match="test_set"):
        ThingsMEG("x", test_set="medium")  # type: ignore[arg-type]
