"""Brennan & Hale 2019: EEG of people who listen to the first chapter of Alice in Wonderland.

Source: Brennan & Hale, "Hierarchical structure guides rapid linguistic predictions during naturalistic listening", PLoS
ONE 14:e0207741; recordings doi.org/10.7302/Z29C6VNH (CC BY 4.0).
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pandas as pd

from braindec.datasets.files import need_file, read_table, reading
from braindec.datasets.speech.fake import fake_recording, fake_stories, word_rows, write_wav
from braindec.datasets.speech.recordings import Continuous, Recording, SpeechRecordings, read_raw
from braindec.types import DataError

REMEDY = "download doi.org/10.7302/Z29C6VNH (CC BY 4.0), or set the data set's root to where it lies"
N_SEGMENTS = 12
NOT_EEG = ("VEOG", "HEOG", "AUD", "AUX5", "AUDIO")
TRANSCRIPT = "AliceChapterOne-EEG.csv"
SOUND = "DownTheRabbitHoleFinal_SoundFile{}"


class Brennan2019(SpeechRecordings):
    """3 s segments of EEG (volt) about every word of twelve sound files.

    Recordings are the BrainVision files (``S01.vhdr`` and its companions), whose stimulus markers 1 to 12 say when each
    sound file begins. Parameters: see `SpeechRecordings`.
    """

    name = "brennan2019"
    unit = "V"
    remedy = REMEDY

    def subjects(self) -> tuple[str, ...]:
        """``S01``, ...: those with a header file."""
        found = sorted(path.stem for path in Path(self.root).glob("S[0-9][0-9].vhdr"))
        if not found:
            raise DataError(f"{self.root}: no S01.vhdr ...; {REMEDY}")
        return tuple(found)

    def recordings(self, subject: str) -> tuple[Recording, ...]:
        """The one recording of a subject; words are placed by the markers of their sound files."""
        if subject not in self.subjects():
            raise DataError(f"brennan2019: unknown subject {subject!r}; {self.root} holds {', '.join(self.subjects())}")
        path = Path(self.root) / f"{subject}.vhdr"
        starts = marked_starts(path)
        words = self.words
        words = words.assign(number=words.groupby("sound").cumcount())
        lacking = sorted(set(words["sound"]) - set(starts))
        if lacking:
            raise DataError(
                f"{path}: no marker says when {lacking[:3]} begins ({len(lacking)} of "
                f"{words['sound'].nunique()} sounds)"
            )
        self._check_spacing(path, starts)
        recorded = words["onset_s"] + words["sound"].map(starts)
        return (Recording(path, 1, 1, words.assign(recorded_s=recorded)[["sound", "number", "recorded_s"]]),)

    def _check_spacing(self, path: Path, starts: dict[str, float]) -> None:
        """A sound may not begin before the one before it has ended: then one of the two clocks is wrong."""
        ordered = sorted(starts, key=lambda name: starts[name])
        for one, other in itertools.pairwise(ordered):
            gap = starts[other] - starts[one]
            lasts = len(self.sounds[one]) / self.sound_rate_hz
            if gap < 0.98 * lasts:
                raise DataError(
                    f"{path}: {other!r} begins {gap:.1f} s after {one!r}, which lasts {lasts:.1f} s; the sampling rate "
                    "of the recording or of the sound is wrong"
                )

    def transcript(self) -> pd.DataFrame:
        """Words of ``AliceChapterOne-EEG.csv``: times are seconds in their sound file."""
        path = Path(self.root) / TRANSCRIPT
        table = read_table(path, ("Word", "Segment", "onset", "offset", "Sentence"), "the transcript", REMEDY, ",")
        times = table[["onset", "offset"]].apply(pd.to_numeric, errors="coerce")
        if times.isna().any().any() or (times["offset"] < times["onset"]).any():
            raise DataError(f"{path}: columns onset and offset: expected increasing times in s")
        words = pd.DataFrame(
            {
                "sound": table["Segment"].astype(int).map(SOUND.format),
                "onset_s": times["onset"],
                "duration_s": times["offset"] - times["onset"],
                "word": table["Word"].astype(str),
                "sentence": table["Sentence"].astype(int),
                "segment": table["Segment"].astype(int),
            }
        )
        ordered = words.sort_values(["segment", "onset_s"], kind="stable").reset_index(drop=True)
        return ordered.drop(columns="segment")

    def sound_file(self, sound: str) -> Path:
        """``audio/DownTheRabbitHoleFinal_SoundFile1.wav``, or beside the recordings."""
        inside = Path(self.root) / "audio" / f"{sound}.wav"
        return inside if inside.parent.is_dir() else Path(self.root) / f"{sound}.wav"

    def read(self, path: Path) -> Continuous:
        """The electrodes of a BrainVision recording; eye and audio channels are left out."""
        found = read_raw(path, "eeg", self.band_hz, REMEDY)[1]
        kept = [i for i, name in enumerate(found.names) if name.upper() not in NOT_EEG]
        names = tuple(found.names[i] for i in kept)
        return Continuous(found.signal[kept], found.rate_hz, names, _places(names))


def _places(names: tuple[str, ...]) -> np.ndarray | None:
    """Places of the electrodes, numbered 1 to 61 as in the easycap M10 layout; None where a name is another's."""
    import mne

    layout = mne.channels.make_standard_montage("easycap-M10").get_positions()["ch_pos"]
    return np.array([layout[name] for name in names]) if all(name in layout for name in names) else None


def marked_starts(path: Path) -> dict[str, float]:
    """Sound -> s from the recording's first sample, of the stimulus markers 1 to 12 beside a header file.

    Raises
    ------
    DataError
        If the recording or its markers are missing, or a marker occurs twice.
    """
    import mne

    need_file(path, "the recording's header", REMEDY)
    with reading(path, "BrainVision"):
        raw = mne.io.read_raw_brainvision(path, preload=False, verbose="error")
    starts: dict[str, float] = {}
    for onset, text in zip(raw.annotations.onset, raw.annotations.description):
        match = re.search(r"(\d+)\s*$", str(text))
        if match is None or not str(text).startswith("Stimulus") or not 1 <= int(match[1]) <= N_SEGMENTS:
            continue
        sound = SOUND.format(int(match[1]))
        if sound in starts:
            raise DataError(f"{path}: stimulus marker {int(match[1])} occurs more than once; keep the recording's own")
        starts[sound] = float(onset)
    if not starts:
        raise DataError(f"{path}: no stimulus marker 1 to {N_SEGMENTS}; is its .vmrk file the published one?")
    return starts


def write_fake(
    root: str | Path, n_subjects: int = 2, n_sounds: int = 2, n_sentences: int = 12, n_channels: int = 10, seed: int = 0
) -> None:
    """Write BrainVision files with markers, the transcript and WAV files; published are 12 sounds and 61 electrodes."""
    import pybv

    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    stories = fake_stories([SOUND.format(i + 1) for i in range(n_sounds)], n_sentences, seed)
    rows, starts, clock = [], [], 3.0
    for number, story in enumerate(stories):
        write_wav(root / "audio" / f"{story.name}.wav", story, 44_100.0)
        words = word_rows(story)
        rows.append(
            pd.DataFrame(
                {
                    "Word": words["word"],
                    "Segment": number + 1,
                    "onset": words["onset_s"],
                    "offset": words["onset_s"] + words["duration_s"],
                    "Order": words["number"] + 1,
                    "Position": words.groupby("sentence").cumcount() + 1,
                    "Sentence": words["sentence"] + 1 + number * n_sentences,
                    "IsLexical": 1,
                }
            )
        )
        starts.append(clock)
        clock += len(story.sound) / 16_000 + 1.0
    pd.concat(rows).to_csv(root / TRANSCRIPT, index=False)
    names = [str(i + 1) for i in range(n_channels - 1)] + ["VEOG"]
    for subject in range(n_subjects):
        signal = fake_recording(stories, starts, n_channels, 500.0, 5e-6, seed + subject)
        events = np.array([[round(start * 500), i + 1] for i, start in enumerate(starts)])
        pybv.write_brainvision(
            data=signal, sfreq=500, ch_names=names, fname_base=f"S{subject + 1:02d}", folder_out=str(root),
            events=events, overwrite=True, resolution=0.01, unit="µV",
        )  # fmt: skip
