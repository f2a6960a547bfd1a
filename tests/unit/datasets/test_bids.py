"""Generic BIDS readers on a synthetic folder, and damaged ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from braindec.contracts import Dataset
from braindec.datasets.bids import BIDSFMRI, BIDSMEEG, write_fake
from braindec.types import DataError

pytest.importorskip("mne")
pytest.importorskip("pybv")
pytest.importorskip("nibabel")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_fake(tmp_path)
    return tmp_path


def test_eeg_runs_become_trials_of_the_named_stimuli(root: Path) -> None:
    dataset = BIDSMEEG(str(root), "view", concept="kind")
    assert isinstance(dataset, Dataset)
    trials, stimuli = dataset.trials("sub-02"), dataset.stimuli()
    assert trials.signal.shape == (24, 5, 250)
    assert trials.table["run"].value_counts().to_dict() == {1: 12, 2: 12}
    assert trials.table.groupby("stimulus_id")["repetition"].max().tolist() == [5] * 4
    even = (trials.table["concept"] == "0").to_numpy()
    assert trials.times_s is not None
    course = trials.signal[even].mean(axis=(0, 1)) - trials.signal[~even].mean(axis=(0, 1))
    assert abs(trials.times_s[np.argmax(course)] - 0.1) < 0.03
    assert course.max() == pytest.approx(5e-6, rel=0.3)
    assert stimuli.images[2].max() == 120


def rewrite_run(root: Path, signal: np.ndarray, rate_hz: int = 500) -> None:
    import pybv

    pybv.write_brainvision(
        data=signal, sfreq=rate_hz, ch_names=list("ABCDE")[: len(signal)], fname_base="sub-02_task-view_run-02_eeg",
        folder_out=str(root / "sub-02/eeg"), overwrite=True, resolution=0.01, unit="µV",
    )  # fmt: skip


def test_runs_of_other_rates_are_brought_to_one(root: Path) -> None:
    import mne

    path = root / "sub-02/eeg/sub-02_task-view_run-02_eeg.vhdr"
    before = BIDSMEEG(str(root), "view").trials("sub-02")
    slow = mne.io.read_raw_brainvision(path, preload=True, verbose="error").resample(250, verbose="error")
    rewrite_run(root, slow.get_data(), 250)
    after = BIDSMEEG(str(root), "view").trials("sub-02")
    assert after.signal.shape == before.signal.shape
    assert np.corrcoef(before.signal.ravel(), after.signal.ravel())[0, 1] > 0.9


@pytest.mark.parametrize(("value", "message"), [(0.0, r"1 of 5 channels.*'C'"), (None, "channels differ")])
def test_dead_and_lost_channels_are_named(root: Path, value: float | None, message: str) -> None:
    signal = 1e-6 * np.random.default_rng(0).normal(size=(5, 10_000))
    if value is None:
        signal = signal[:4]
    else:
        signal[2] = value
    rewrite_run(root, signal)
    with pytest.raises(DataError, match=message):
        BIDSMEEG(str(root), "view").trials("sub-02")


def test_fmriprep_volumes_become_trials(root: Path) -> None:
    dataset = BIDSFMRI(str(root), "scan")
    trials = dataset.trials("sub-01")
    assert trials.signal.shape == (24, 18, 1)
    even = trials.table["stimulus_id"].isin(["s0.png", "s2.png"]).to_numpy()
    assert trials.signal[even].mean() - trials.signal[~even].mean() == pytest.approx(2.0, abs=0.2)
    assert dataset.version() != BIDSFMRI(str(root), "scan", window_s=(2.0, 8.0)).version()


def test_damaged_folders_are_refused(root: Path) -> None:
    with pytest.raises(DataError, match="task-other"):
        BIDSMEEG(str(root), "other").subjects()
    with pytest.raises(DataError, match=r"no \['picture'\]"):
        BIDSMEEG(str(root), "view", stimulus="picture").trials("sub-01")
    path = root / "sub-01/eeg/sub-01_task-view_run-01_events.tsv"
    events = pd.read_csv(path, sep="\t", keep_default_na=False)
    events.sample(frac=1, random_state=0).to_csv(path, sep="\t", index=False)
    with pytest.raises(DataError, match="increasing onsets"):
        BIDSMEEG(str(root), "view").trials("sub-01")
    events.assign(onset=events["onset"] * 1000).to_csv(path, sep="\t", index=False)
    with pytest.raises(DataError, match="another unit"):
        BIDSMEEG(str(root), "view").trials("sub-01")
    path.unlink()
    with pytest.raises(DataError, match=r"runs \[2\]"):
        BIDSMEEG(str(root), "view").trials("sub-01")
    (root / "sub-02/eeg/sub-02_task-view_run-02_eeg.eeg").write_bytes(b"\0" * 5000)
    with pytest.raises(DataError, match="sub-02_task-view_run-02_eeg"):
        BIDSMEEG(str(root), "view").trials("sub-02")


def test_damaged_derivatives_are_refused(root: Path) -> None:
    folder = root / "derivatives/fmriprep/sub-01/func"
    volumes = folder / "sub-01_task-scan_run-02_space-T1w_desc-preproc_bold.nii.gz"
    sidecar = volumes.with_name(volumes.name.replace(".nii.gz", ".json"))
    sidecar.write_text('{"RepetitionTime": 1.0}')
    with pytest.raises(DataError, match="different repetition times"):
        BIDSFMRI(str(root), "scan").trials("sub-01")
    sidecar.write_text("{}")
    with pytest.raises(DataError, match="RepetitionTime"):
        BIDSFMRI(str(root), "scan").trials("sub-01")
    sidecar.write_text('{"RepetitionTime": 2.0}')
    content = volumes.read_bytes()
    volumes.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"run-02.*truncated"):
        BIDSFMRI(str(root), "scan").trials("sub-01")
    volumes.unlink()
    with pytest.raises(DataError, match="missing"):
        BIDSFMRI(str(root), "scan").trials("sub-01")


def test_sounds_and_texts_of_the_stimulus_column(tmp_path: Path) -> None:
    from scipy.io import wavfile

    write_fake(tmp_path)
    for path in tmp_path.glob("sub-*/eeg/*_events.tsv"):
        path.write_text(path.read_text().replace(".png", ".wav"))
    wave = np.linspace(-0.5, 0.5, 200, dtype=np.float32)
    for i in range(4):
        wavfile.write(tmp_path / "stimuli" / f"s{i}.wav", 8000, wave * (i + 1) / 4)
    stimuli = BIDSMEEG(str(tmp_path), "view").stimuli()
    assert stimuli.audio is not None
    assert stimuli.audio_rate_hz == 8000
    np.testing.assert_allclose(stimuli.audio[1], wave / 2)
    read = BIDSMEEG(str(tmp_path), "view", texts=True).stimuli()
    assert read.texts == read.ids
    assert read.audio is None
    wavfile.write(tmp_path / "stimuli" / "s2.wav", 4000, wave)
    with pytest.raises(DataError, match=r"s2\.wav: 4000 Hz"):
        BIDSMEEG(str(tmp_path), "view").stimuli()
    (tmp_path / "stimuli" / "s2.wav").unlink()
    with pytest.raises(DataError, match=r"s2\.wav: the sound is missing"):
        BIDSMEEG(str(tmp_path), "view").stimuli()
