"""THINGS-MEG's raw CTF recordings: a synthetic copy in the true format, the real sidecars, and damaged files."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from braindec.datasets.ctf import write_ctf
from braindec.datasets.things_meg import read_events
from braindec.datasets.things_meg_raw import ThingsMEGRaw, write_fake
from braindec.types import DataError

mne = pytest.importorskip("mne")
REAL = Path(os.environ.get("BRAINDEC_DATA", "../shared/data")) / "things_meg"
SUBJECT = "sub-BIGMEG1"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("things_meg")
    write_fake(root, n_sensors=12)
    return root


@pytest.fixture
def damaged(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "data"))


def run_folder(root: Path, session: int = 1, run: int = 2) -> Path:
    return root / SUBJECT / f"ses-{session:02d}/meg/{SUBJECT}_ses-{session:02d}_task-main_run-{run:02d}_meg.ds"


def test_written_recording_is_what_mne_reads(tmp_path: Path) -> None:
    signal = 1e-13 * np.random.default_rng(0).normal(size=(4, 2500))
    write_ctf(tmp_path / "a_meg.ds", signal, list("ABCD"), 1200.0, ["R1", "R2"])
    raw = mne.io.read_raw_ctf(tmp_path / "a_meg.ds", preload=True, verbose="error")
    assert raw.get_channel_types() == ["misc", "ref_meg", "ref_meg", *["mag"] * 4]
    np.testing.assert_allclose(raw.get_data(picks=list("ABCD")), signal, atol=1e-15)
    assert (np.linalg.norm([raw.info["chs"][3]["loc"][:3]]) * 100) == pytest.approx(11, abs=6)


def test_trials_have_the_published_form(original: Path) -> None:
    dataset = ThingsMEGRaw(str(original), zero_shot=False)
    trials, stimuli = dataset.trials(SUBJECT), dataset.stimuli()
    assert trials.signal.shape == (4 * 8, 11, 281)
    assert (trials.unit, trials.times_s[0], trials.times_s[-1]) == ("T", -0.1, 1.3)
    assert "MRO11-1609" not in trials.space.names
    assert trials.table["split"].value_counts().to_dict() == {"train": 16, "test": 16}
    assert trials.table[trials.table["split"] == "test"]["repetition"].max() == 7
    colour = stimuli.images[stimuli.rows(trials.table["stimulus_id"].tolist())].mean(axis=(1, 2))
    design = np.column_stack([colour, np.ones(len(colour))])
    peak = trials.signal[:, :, np.argmin(np.abs(trials.times_s - 0.1))] * 1e13
    residual = peak - design @ np.linalg.lstsq(design, peak, rcond=None)[0]
    assert 1 - residual.var() / peak.var() > 0.6
    early = trials.signal[:, :, trials.times_s < -0.03] * 1e13
    assert early.var() < 0.2 * peak.var()


def test_zero_shot_and_the_two_test_sets(original: Path) -> None:
    def counts(**options: object) -> dict[str, int]:
        table = ThingsMEGRaw(str(original), **options).trials(SUBJECT).table  # type: ignore[arg-type]
        return table["split"].value_counts().to_dict()

    assert counts() == {"train": 8, "unused": 8, "test": 16}
    assert counts(test_set="large") == {"train": 8, "test": 8, "unused": 16}


def test_without_attributes_numbers_stand_for_names(damaged: Path) -> None:
    (damaged / "sourcedata/sample_attributes_P1.csv").unlink()
    dataset = ThingsMEGRaw(str(damaged))
    table = dataset.trials(SUBJECT).table
    assert table["stimulus_id"].str.match(r"things240\d\d$").all()
    assert set(table["concept"]) == {f"concept000{i}" for i in range(1, 5)}
    assert dataset.stimuli().images is None


def test_cache_equals_direct_read(original: Path, tmp_path: Path) -> None:
    cached = ThingsMEGRaw(str(original), cache_dir=str(tmp_path)).trials(SUBJECT)
    assert isinstance(cached.signal, np.memmap)
    np.testing.assert_array_equal(cached.signal, ThingsMEGRaw(str(original)).trials(SUBJECT).signal)


@pytest.mark.parametrize("what", ["meg4", "res4"])
@pytest.mark.parametrize("kept", [0.5, 0.0])
def test_truncated_recording_is_named(damaged: Path, what: str, kept: float) -> None:
    path = next(run_folder(damaged).glob(f"*.{what}"))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(DataError, match=r"run-02_meg\.ds"):
        ThingsMEGRaw(str(damaged)).trials(SUBJECT)


def test_missing_recording_and_missing_run_are_named(damaged: Path) -> None:
    shutil.rmtree(run_folder(damaged, 2, 1))
    with pytest.raises(DataError, match=r"ses-02_task-main_run-01_meg\.ds: the recording is missing"):
        ThingsMEGRaw(str(damaged)).trials(SUBJECT)
    events = run_folder(damaged, 2, 1).with_name(f"{SUBJECT}_ses-02_task-main_run-01_events.tsv")
    events.unlink()
    with pytest.raises(DataError, match=r"session 2: runs \[2\] are there"):
        ThingsMEGRaw(str(damaged)).trials(SUBJECT)


def test_missing_session_is_named(damaged: Path) -> None:
    shutil.rmtree(damaged / SUBJECT / "ses-01")
    with pytest.raises(DataError, match=r"sessions \[2\] are there, one is missing"):
        ThingsMEGRaw(str(damaged)).trials(SUBJECT)


def test_shuffled_events_are_refused(damaged: Path) -> None:
    path = run_folder(damaged).with_name(f"{SUBJECT}_ses-01_task-main_run-02_events.tsv")
    table = pd.read_csv(path, sep="\t", keep_default_na=False)
    table.sample(frac=1, random_state=0).to_csv(path, sep="\t", index=False)
    with pytest.raises(DataError, match="shuffled"):
        ThingsMEGRaw(str(damaged)).trials(SUBJECT)


def test_mixed_rates_and_sensors_are_refused(damaged: Path) -> None:
    names = [*(f"ML{i:03d}-1609" for i in range(11)), "MRO11-1609"]
    noise = 1e-13 * np.random.default_rng(0).normal(size=(12, 30_000))
    shutil.rmtree(run_folder(damaged))
    write_ctf(run_folder(damaged), noise, names, 600.0, ["BG1-1609"])
    with pytest.raises(DataError, match=r"at 1200 Hz .* 600 Hz"):
        ThingsMEGRaw(str(damaged)).trials(SUBJECT)
    shutil.rmtree(run_folder(damaged))
    write_ctf(run_folder(damaged), noise[1:], names[1:], 1200.0, ["BG1-1609"])
    with pytest.raises(DataError, match=r"no \['ML000-1609'\]"):
        ThingsMEGRaw(str(damaged)).trials(SUBJECT)


def test_dead_sensor_is_refused_or_dropped(original: Path) -> None:
    with pytest.raises(DataError, match=r"1 of 12 sensors.*MRO11-1609"):
        ThingsMEGRaw(str(original), bad_sensors=()).trials(SUBJECT)
    kept = ThingsMEGRaw(str(original), bad_sensors=(), bad_positions="drop").trials(SUBJECT)
    assert kept.space.size == 11


@pytest.mark.skipif(not REAL.is_dir(), reason=f"needs the real THINGS-MEG sidecars in {REAL}")
def test_real_events_lie_within_the_real_recordings() -> None:
    events = read_events(REAL, SUBJECT)
    for path in sorted((REAL / SUBJECT / "ses-01/meg").glob("*_meg.json")):
        content = json.loads(path.read_text())
        run = int(path.name.split("_run-")[1][:2])
        own = events[(events["session"] == 1) & (events["run"] == run)]
        assert content["SamplingFrequency"] == 1200
        assert own["onset_s"].min() > 0.1
        assert own["onset_s"].max() + 1.305 < content["RecordingDuration"]
    dataset = ThingsMEGRaw(str(REAL))
    assert dataset.subjects() == (SUBJECT,)
    assert len(dataset.stimuli()) == 22_248 + 200
    with pytest.raises(DataError, match=r"_meg\.ds: the recording is missing"):
        dataset.trials(SUBJECT)
