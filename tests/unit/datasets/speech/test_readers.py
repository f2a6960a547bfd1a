"""The four speech readers on their fakes, and on what may be wrong with the files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat, savemat, wavfile

from braindec.datasets.speech import brennan2019, broderick2019, gwilliams2022, schoffelen2019
from braindec.datasets.speech.recordings import SpeechRecordings, read_wav
from braindec.signals.audio import envelope
from braindec.types import DataError

READERS: dict[str, tuple[Callable[..., None], type[SpeechRecordings]]] = {
    "gwilliams2022": (gwilliams2022.write_fake, gwilliams2022.Gwilliams2022),
    "brennan2019": (brennan2019.write_fake, brennan2019.Brennan2019),
    "broderick2019": (broderick2019.write_fake, broderick2019.Broderick2019),
    "schoffelen2019": (schoffelen2019.write_fake, schoffelen2019.Schoffelen2019),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def write(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            READERS[name][0](made[name], n_subjects=1, n_channels=4)
        return made[name]

    return write


@pytest.fixture
def copied(written, tmp_path) -> Callable[[str], Path]:
    """A copy that a test may break."""
    return lambda name: Path(shutil.copytree(written(name), tmp_path / name))


def reader(name: str, root: Path, **options) -> SpeechRecordings:
    return READERS[name][1](str(root), **{"rate_hz": 40.0, "band_hz": None, **options})


@pytest.mark.parametrize("name", READERS)
def test_recordings_follow_their_own_sound(written, name: str) -> None:
    """The fake follows the sound's envelope 0.1 s later: segments and trials must therefore agree, and no others."""
    dataset = reader(name, written(name))
    trials, stimuli = dataset.trials(dataset.subjects()[0]), dataset.stimuli()
    assert trials.signal.shape[1:] == ((3 if name == "brennan2019" else 4), 120)
    assert trials.times_s is not None
    assert trials.times_s[0] == pytest.approx(-0.35)
    rows = stimuli.rows(trials.table["stimulus_id"].tolist())
    assert stimuli.audio is not None
    assert stimuli.audio_rate_hz is not None
    own, other = [], []
    for trial, row in zip(range(0, len(trials), 7), rows[::7]):
        heard = envelope(stimuli.audio[row], stimuli.audio_rate_hz, 40.0)
        # A trial's sample k is 0.15 s later than the sound's, and the response 0.1 s: two samples remain.
        for channel in trials.signal[trial]:
            own.append(abs(np.corrcoef(heard[2:], channel[:-2])[0, 1]))
            other.append(abs(np.corrcoef(heard[2:], trials.signal[trial - 40][0][:-2])[0, 1]))
    assert np.median(own) > 0.5 > 0.35 > np.median(other)


@pytest.mark.parametrize("name", READERS)
def test_a_prepared_signal_is_the_same(written, tmp_path, name: str) -> None:
    plain = reader(name, written(name))
    kept = reader(name, written(name), cache_dir=str(tmp_path))
    subject = plain.subjects()[0]
    kept.prepare(subject, str(tmp_path))
    found = kept.trials(subject).signal
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, plain.trials(subject).signal)


@pytest.mark.parametrize("name", READERS)
def test_a_missing_sound_is_named(copied, name: str) -> None:
    root = copied(name)
    lost = sorted(root.glob("**/*.wav"))[0]
    lost.unlink()
    dataset = reader(name, root)
    with pytest.raises(DataError, match=f"{lost.name}.*sound is missing"):
        dataset.trials(dataset.subjects()[0])


@pytest.mark.parametrize("name", READERS)
def test_sounds_of_two_sampling_rates_are_refused(copied, name: str) -> None:
    root = copied(name)
    path = sorted(root.glob("**/*.wav"))[0]
    rate, samples = wavfile.read(path)
    wavfile.write(path, rate // 2, samples[::2])
    with pytest.raises(DataError, match="different sampling rates"):
        reader(name, root).stimuli()


@pytest.mark.parametrize("name", READERS)
def test_a_cut_sound_leaves_words_outside(copied, name: str) -> None:
    root = copied(name)
    path = sorted(root.glob("**/*.wav"))[0]
    rate, samples = wavfile.read(path)
    wavfile.write(path, rate, samples[: len(samples) // 2])
    with pytest.raises(DataError, match="words lie outside"):
        reader(name, root).stimuli()


def test_a_wrongly_stated_rate_of_the_recording_is_seen(copied) -> None:
    root = copied("broderick2019")
    for path in root.glob("EEG/*/*.mat"):
        savemat(path, {k: v for k, v in loadmat(path).items() if k[0] != "_"} | {"fs": 256.0})
    with pytest.raises(DataError, match="sampling rate of one of them is wrong"):
        reader("broderick2019", root).trials("Subject1")
    root = copied("gwilliams2022")
    for path in root.glob("sub-*/ses-*/meg/*_events.tsv"):
        table = pd.read_csv(path, sep="\t")
        table.assign(onset=table["onset"] * 1.2).to_csv(path, sep="\t", index=False)
    with pytest.raises(DataError, match=r"1 s of sound lasts 1\.200 s"):
        reader("gwilliams2022", root).trials("sub-01")


def test_a_word_beyond_the_recording_is_refused(copied) -> None:
    root = copied("gwilliams2022")
    path = sorted(root.glob("sub-01/ses-0/meg/*_meg.fif"))[0]
    mne.io.read_raw(path, preload=True, verbose="error").crop(0, 20).save(path, overwrite=True, verbose="error")
    with pytest.raises(DataError, match="past the recording's ends"):
        reader("gwilliams2022", root).trials("sub-01")


@pytest.mark.parametrize("name", ["gwilliams2022", "broderick2019"])
def test_channels_that_are_not_finite_are_named_or_dropped(copied, name: str) -> None:
    root = copied(name)
    if name == "broderick2019":
        for path in root.glob("EEG/*/*.mat"):
            content = {k: v for k, v in loadmat(path).items() if k[0] != "_"}
            content["eegData"][5, 2] = np.nan
            savemat(path, content)
    else:
        for path in root.glob("sub-*/ses-*/meg/*.fif"):
            raw = mne.io.read_raw(path, preload=True, verbose="error")
            raw._data[2, 700] = np.nan
            raw.save(path, overwrite=True, verbose="error")
    subject = reader(name, root).subjects()[0]
    band = (0.5, 15.0)
    with pytest.raises(DataError, match="not finite"):
        reader(name, root, band_hz=band).trials(subject)
    kept = reader(name, root, band_hz=band, bad_positions="drop").trials(subject)
    assert kept.space.size == 3
    assert np.isfinite(kept.signal).all()


def test_gwilliams_events_that_are_no_dictionaries(copied) -> None:
    root = copied("gwilliams2022")
    path = sorted(root.glob("sub-01/ses-0/meg/*_events.tsv"))[0]
    text = path.read_text()
    lines = text.splitlines()
    lines[2] = lines[2].replace("{'story'", "__import__('os')", 1)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="line 3: trial_type is not a dictionary"):
        reader("gwilliams2022", root).transcript()
    path.write_text("\n".join(text.splitlines()[:40]) + "\n")
    with pytest.raises(DataError, match="differ from"):
        reader("gwilliams2022", root).transcript()


def test_gwilliams_second_session_is_a_repetition(written) -> None:
    table = reader("gwilliams2022", written("gwilliams2022")).trials("sub-01").table
    assert table.groupby("session")["repetition"].unique().map(list).tolist() == [[0], [1]]
    assert set(table["unit"][table["session"] == 1]) == set(table["unit"][table["session"] == 2])


def test_brennan_needs_every_marker_in_its_place(copied) -> None:
    root = copied("brennan2019")
    path = root / "S01.vmrk"
    text = path.read_text()
    lines = [line for line in text.splitlines() if "S  2" not in line]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="no marker says when .*SoundFile2"):
        reader("brennan2019", root).trials("S01")
    path.write_text("\n".join(line.replace("S  2,", "S  1,") for line in text.splitlines()) + "\n")
    with pytest.raises(DataError, match="more than once"):
        reader("brennan2019", root).trials("S01")


def test_schoffelen_starts_and_textgrids(copied) -> None:
    root = copied("schoffelen2019")
    with pytest.raises(DataError, match="expected a tier 'woorden'.*'words'"):
        reader("schoffelen2019", root, tier="woorden").stimuli()
    path = next(root.glob("sub-*/meg/*_events.tsv"))
    text = path.read_text()
    path.write_text(text.replace("Start File 2", "Start File 1"))
    with pytest.raises(DataError, match="'Start File 1' occurs more than once"):
        reader("schoffelen2019", root).trials("sub-A2002")
    path.write_text(text.replace("Start File", "Begin"))
    with pytest.raises(DataError, match="found 0 in 16 rows"):
        reader("schoffelen2019", root).trials("sub-A2002")


def test_wav_files(tmp_path: Path) -> None:
    wave = np.linspace(-0.9, 0.9, 50)
    for kind, scale, zero in ((np.int16, 32768, 0), (np.uint8, 128, 128), (np.float32, 1, 0)):
        wavfile.write(tmp_path / "w.wav", 100, (wave * scale + zero).astype(kind))
        np.testing.assert_allclose(read_wav(tmp_path / "w.wav", "")[0], wave, atol=0.01)
    wavfile.write(tmp_path / "w.wav", 100, np.stack([wave, -wave], axis=1).astype(np.float32))
    with pytest.raises(DataError, match="silent"):
        read_wav(tmp_path / "w.wav", "")
    (tmp_path / "w.wav").write_bytes(b"RIFF no")
    with pytest.raises(DataError, match="not a readable WAV"):
        read_wav(tmp_path / "w.wav", "")
