"""Broderick et al.: EEG of 19 people who listen to The Old Man and the Sea, 128 electrodes, 20 runs of 3 minutes.

Source: Broderick, Anderson, Di Liberto, Crosse & Lalor 2018, "Electrophysiological correlates of semantic dissimilarity
reflect the comprehension of natural, narrative speech", Current Biology 28:803 (used by Defossez et al. as Broderick
2019); doi.org/10.5061/dryad.070jc, CC0. The archive holds envelopes, no sound.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from braindec.datasets.files import need_file, reading
from braindec.datasets.speech.fake import fake_recording, fake_stories, word_rows, write_wav
from braindec.datasets.speech.recordings import Continuous, Recording, SpeechRecordings
from braindec.types import DataError

REMEDY = (
    "download 'Natural Speech' of doi.org/10.5061/dryad.070jc (CC0), ask its authors for the sound, or set the data "
    "set's root to where it lies"
)
PAUSE_S = 0.45
"""Words with a longer silence before them begin a sentence, where the files do not say so."""


class Broderick2019(SpeechRecordings):
    """3 s segments of EEG (volt) about every word of each run.

    Files: ``EEG/Subject1/Subject1_Run1.mat`` (``eegData`` in microvolt, ``fs``), ``Stimuli/Text/Run1.mat``
    (``wordVec``, ``onset_time``, ``offset_time`` and perhaps ``sentence_boundaries``, the s at which sentences end) and
    ``Stimuli/Audio/audio1.wav``, which begins with the recording. Parameters: see `SpeechRecordings`.
    """

    name = "broderick2019"
    unit = "V"
    remedy = REMEDY

    def subjects(self) -> tuple[str, ...]:
        """``Subject1``, ... in order of their numbers."""
        found = [path.name for path in (Path(self.root) / "EEG").glob("Subject*") if path.is_dir()]
        if not found:
            raise DataError(f"{self.root}/EEG: no Subject1 ...; {REMEDY}")
        return tuple(sorted(found, key=_number))

    def recordings(self, subject: str) -> tuple[Recording, ...]:
        """Every run of a subject; words are where they are in the sound."""
        if subject not in self.subjects():
            raise DataError(
                f"broderick2019: unknown subject {subject!r}; {self.root} holds {', '.join(self.subjects())}"
            )
        paths = sorted((Path(self.root) / "EEG" / subject).glob(f"{subject}_Run*.mat"), key=lambda p: _number(p.stem))
        if not paths:
            raise DataError(f"{self.root}/EEG/{subject}: no {subject}_Run1.mat ...; {REMEDY}")
        words = self.words
        words = words.assign(number=words.groupby("sound").cumcount(), recorded_s=words["onset_s"])
        made = []
        for path in paths:
            run = _number(path.stem)
            own = words[words["sound"] == f"audio{run}"]
            if own.empty:
                raise DataError(f"{path}: no transcript Stimuli/Text/Run{run}.mat for this run; {REMEDY}")
            made.append(Recording(path, 1, run, own[["sound", "number", "recorded_s"]].reset_index(drop=True)))
        return tuple(made)

    def transcript(self) -> pd.DataFrame:
        """Words of every ``Stimuli/Text/RunN.mat``."""
        paths = sorted((Path(self.root) / "Stimuli" / "Text").glob("Run*.mat"), key=lambda p: _number(p.stem))
        if not paths:
            raise DataError(f"{self.root}/Stimuli/Text: no Run1.mat ...; {REMEDY}")
        return pd.concat([_words(path) for path in paths], ignore_index=True)

    def sound_file(self, sound: str) -> Path:
        """``Stimuli/Audio/audio1.wav``."""
        return Path(self.root) / "Stimuli" / "Audio" / f"{sound}.wav"

    def read(self, path: Path) -> Continuous:
        """A run's 128 electrodes, in the BioSemi arrangement. Raises `DataError` when it is shorter than its sound."""
        import mne

        content = _mat(path, ("eegData", "fs"))
        rate = float(np.squeeze(content["fs"]))
        signal = np.asarray(content["eegData"], dtype=np.float64).T * 1e-6
        lasts = len(self.sounds[f"audio{_number(path.stem)}"]) / self.sound_rate_hz
        if rate <= 0 or not 0.9 < signal.shape[1] / rate / lasts < 1.5:
            raise DataError(
                f"{path}: {signal.shape[1]} samples at fs={rate:g} Hz are {signal.shape[1] / max(rate, 1e-9):.1f} s, "
                f"the sound lasts {lasts:.1f} s; the sampling rate of one of them is wrong"
            )
        if self.band_hz is not None:
            low, high = self.band_hz
            signal = mne.filter.filter_data(signal, rate, low, high if high < rate / 2 else None, verbose="error")
        layout = mne.channels.make_standard_montage("biosemi128").get_positions()["ch_pos"]
        if len(signal) > len(layout):
            raise DataError(
                f"{path}: expected at most 128 electrodes in eegData (samples, electrodes), found {len(signal)}"
            )
        names = tuple(list(layout)[: len(signal)])
        return Continuous(signal, rate, names, np.array([layout[name] for name in names]))


def _number(name: str) -> int:
    match = re.search(r"(\d+)$", name)
    return int(match[1]) if match else 0


def _mat(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    from scipy.io import loadmat

    need_file(path, "a MATLAB file of the data set", REMEDY)
    with reading(path, "MATLAB v5"):
        content = loadmat(path)
    missing = [key for key in keys if key not in content]
    if missing:
        raise DataError(f"{path}: expected the variables {list(keys)}, found no {missing}")
    return dict(content)


def _words(path: Path) -> pd.DataFrame:
    content = _mat(path, ("wordVec", "onset_time", "offset_time"))
    words = [str(np.squeeze(cell)) for cell in np.ravel(content["wordVec"])]
    onset, offset = (np.ravel(content[key]).astype(np.float64) for key in ("onset_time", "offset_time"))
    if not len(words) == len(onset) == len(offset) or len(words) == 0:
        raise DataError(f"{path}: {len(words)} words but {len(onset)} onsets and {len(offset)} offsets")
    if not (np.isfinite(onset).all() and np.isfinite(offset).all()) or (offset < onset).any():
        raise DataError(f"{path}: onset_time and offset_time: expected increasing times in s")
    if "sentence_boundaries" in content and np.size(content["sentence_boundaries"]):
        ends = np.sort(np.ravel(content["sentence_boundaries"]).astype(np.float64))
        sentence = np.searchsorted(ends, onset, side="right")
    else:
        sentence = np.cumsum(np.append(False, onset[1:] - offset[:-1] > PAUSE_S))
    return pd.DataFrame(
        {
            "sound": f"audio{_number(path.stem)}",
            "onset_s": onset,
            "duration_s": offset - onset,
            "word": words,
            "sentence": sentence,
        }
    )


def write_fake(
    root: str | Path, n_subjects: int = 2, n_runs: int = 2, n_sentences: int = 12, n_channels: int = 8, seed: int = 0
) -> None:
    """Write the archive's MATLAB files, with sounds; published are 20 runs and 128 electrodes."""
    from scipy.io import savemat

    root = Path(root)
    stories = fake_stories([f"audio{i + 1}" for i in range(n_runs)], n_sentences, seed)
    (root / "Stimuli" / "Text").mkdir(parents=True, exist_ok=True)
    for run, story in enumerate(stories):
        write_wav(root / "Stimuli" / "Audio" / f"{story.name}.wav", story)
        words = word_rows(story)
        cells = np.empty((len(words), 1), dtype=object)
        cells[:, 0] = words["word"].tolist()
        onset = words["onset_s"].to_numpy()[:, None]
        content = {
            "wordVec": cells,
            "onset_time": onset,
            "offset_time": onset + words["duration_s"].to_numpy()[:, None],
        }
        savemat(root / "Stimuli" / "Text" / f"Run{run + 1}.mat", content)
    for subject in range(n_subjects):
        folder = root / "EEG" / f"Subject{subject + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        for run, story in enumerate(stories):
            signal = fake_recording([story], [0.0], n_channels, 128.0, 10.0, seed + 10 * subject + run)
            content = {"eegData": signal.T, "fs": 128.0, "mastoids": signal[:2].T}
            savemat(folder / f"Subject{subject + 1}_Run{run + 1}.mat", content)
