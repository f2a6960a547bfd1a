"""Every dataset adapter on a synthetic copy in its true layout, and on the real files where they are."""

from __future__ import annotations

import importlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from braindec.contracts import Dataset
from braindec.types import TRIAL_COLUMNS, DataError

CONFIGS = Path(__file__).parents[2] / "configs" / "dataset"
REAL = Path(os.environ.get("BRAINDEC_DATA", "../shared/data"))

# name of the config -> module of ``write_fake``, its arguments, and further options of the reader
FAKES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "nsd": ("nsd.fake", {}, {"sessions": 1}),
    "nsd_timeseries": ("nsd.timeseries", {}, {"sessions": 1}),
    "nsd_imagery": ("nsd.fake_extra", {}, {}),
    "nsd_synthetic": ("nsd.fake_extra", {}, {}),
    "things_eeg2": ("things_eeg2.fake", {"n_concepts": 2, "n_test": 3}, {}),
    "things_eeg1": ("things_eeg1", {}, {}),
    "things_meg": ("things_meg", {"n_concepts": 3}, {}),
    "bold5000": ("bold5000.fake", {"n_sessions": 1}, {"sessions": 1}),
    "bold5000_parcels": ("bold5000.parcels", {}, {"space": "T1w"}),
    "bids_parcels": ("bids_parcels", {}, {"task": "scan", "space": "T1w"}),
    "things_meg_raw": ("things_meg_raw", {"n_sensors": 8}, {}),
    "bids_meeg": ("bids", {}, {"task": "view"}),
    "bids_glmsingle": ("bids_glmsingle", {}, {"task": "scan"}),
    "bids_fmri": ("bids", {}, {"task": "scan"}),
    "haxby2001": ("haxby2001", {}, {"bold": "bold.nii.gz"}),
    "muse_n170": ("muse_n170", {}, {}),
    "things_eeg1_erps": ("things_eeg1_erps", {}, {}),
    "gwilliams2022": ("speech.gwilliams2022", {"n_channels": 4}, {"rate_hz": 40}),
    "brennan2019": ("speech.brennan2019", {"n_channels": 4}, {"rate_hz": 40}),
    "broderick2019": ("speech.broderick2019", {"n_channels": 4}, {"rate_hz": 40}),
    "schoffelen2019": ("speech.schoffelen2019", {"n_channels": 4}, {"rate_hz": 40}),
    "zuco1": ("zuco.fake", {"release": 1}, {}),
    "zuco2": ("zuco.fake", {"release": 2}, {}),
}
FAKES = {name: fake for name, fake in FAKES.items() if (CONFIGS / f"{name}.yaml").is_file()}
WITH_REAL_SIGNALS = ("haxby2001", "muse_n170", "things_eeg1_erps")


def reader(name: str, root: Path, **options: Any) -> Dataset:
    loaded = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    config = loaded.get("dataset", loaded)
    module, cls = config.pop("_target_").rsplit(".", 1)
    if "atlas" in config:
        config["atlas"] = str(root / "atlas.nii.gz")
    return getattr(importlib.import_module(module), cls)(**{**config, "root": str(root), **options})


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Dataset]:
    made: dict[str, Path] = {}

    def make(name: str) -> Dataset:
        module, arguments, options = FAKES[name]
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            importlib.import_module(f"braindec.datasets.{module}").write_fake(made[name], **arguments)
        return reader(name, made[name], **options)

    return make


def check(dataset: Dataset) -> None:
    assert isinstance(dataset, Dataset)
    subject = dataset.subjects()[-1]
    trials = dataset.trials(subject)
    table = trials.table
    assert trials.subject == subject
    assert set(TRIAL_COLUMNS) <= set(table.columns)
    assert set(table["split"]) <= {"train", "validation", "test", "unused"}
    assert not table[list(TRIAL_COLUMNS)].isna().any().any()
    assert table["repetition"].min() >= 0
    assert not table.duplicated(["stimulus_id", "session", "run", "repetition"]).any()
    assert table.index.tolist() == list(range(len(table)))
    assert np.isfinite(trials.signal).all()
    assert (np.ptp(trials.signal.reshape(len(trials), trials.space.size, -1), axis=(0, 2)) > 0).all()
    stimuli = dataset.stimuli()
    assert set(table["stimulus_id"]) <= set(stimuli.ids)
    assert (stimuli.concepts is None) == (table["concept"] == "").all()
    if stimuli.concepts is not None:
        by_id = dict(zip(stimuli.ids, stimuli.concepts))
        assert [by_id[i] for i in table["stimulus_id"]] == table["concept"].tolist()
    if stimuli.images is not None:
        rows = stimuli.rows(table["stimulus_id"].tolist()[:3])
        images = stimuli.images[rows]
        assert images.dtype == np.uint8
        assert images.shape == (3, *stimuli.images.shape[1:])
        np.testing.assert_array_equal(images[1], stimuli.images[int(rows[1])])


@pytest.mark.parametrize("name", FAKES)
def test_fake_fulfils_the_contract(fake: Callable[[str], Dataset], name: str) -> None:
    check(fake(name))


@pytest.mark.parametrize("name", FAKES)
def test_reading_twice_gives_the_same(fake: Callable[[str], Dataset], name: str) -> None:
    one, two = fake(name), pickle.loads(pickle.dumps(fake(name)))
    subject = one.subjects()[0]
    assert one.version() == two.version()
    first, second = one.trials(subject), two.trials(subject)
    np.testing.assert_array_equal(first.signal, second.signal)
    assert first.table.equals(second.table)
    assert one.stimuli().ids == two.stimuli().ids


@pytest.mark.parametrize("name", FAKES)
def test_unknown_subject_is_refused(fake: Callable[[str], Dataset], name: str) -> None:
    with pytest.raises(DataError, match="nobody"):
        fake(name).trials("nobody")


@pytest.mark.parametrize("name", FAKES)
def test_empty_root_is_refused_by_one_sentence_that_says_what_to_do(tmp_path: Path, name: str) -> None:
    dataset = reader(name, tmp_path, **FAKES[name][2])
    with pytest.raises(DataError) as caught:
        dataset.trials(dataset.subjects()[0])
    message = str(caught.value)
    assert str(tmp_path) in message
    assert "root" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", WITH_REAL_SIGNALS)
def test_real_recordings_fulfil_the_contract(name: str) -> None:
    if not (REAL / name).is_dir():
        pytest.skip(f"needs the real recordings in {REAL / name}")
    check(reader(name, REAL / name))


def test_every_file_reader_of_the_configs_has_a_fake() -> None:
    readers = {path.stem for path in CONFIGS.glob("*.yaml") if "root:" in path.read_text()}
    for name in readers - set(FAKES):
        loaded = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
        module = loaded.get("dataset", loaded)["_target_"].rsplit(".", 1)[0]
        assert hasattr(importlib.import_module(module), "write_fake"), f"{name} has no write_fake"
