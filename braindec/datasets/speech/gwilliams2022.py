"""Gwilliams et al. 2022 (MASC-MEG): 27 people listen to four stories, twice, in a KIT system of 208 sensors.

Source: Gwilliams, King, Marantz & Poeppel, "MEG-MASC: a high-quality magneto-encephalography dataset for evaluating
natural speech processing", arXiv:2208.11488; Scientific Data 10:862 (2023); osf.io/ag3kj, CC0.
"""

from __future__ import annotations

import ast
import re
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from braindec.datasets.files import read_table
from braindec.datasets.speech.fake import fake_recording, fake_stories, word_rows, write_wav
from braindec.datasets.speech.recordings import Continuous, Recording, SpeechRecordings, check_clock, read_raw
from braindec.types import DataError

REMEDY = "download osf.io/ag3kj (CC0), or set the data set's root to where it lies"
ENDINGS = (".con", ".fif")
"""KIT's own format, or the same recording converted by mne."""

_OTHER = re.compile(r"'kind':\s*'(?:phoneme|sound)'")
_NAME = re.compile(r"(sub-\w+)_ses-(\d+)_task-(\d+)_events\.tsv")


class Gwilliams2022(SpeechRecordings):
    """3 s segments of MEG (tesla) about every word of the stories; word lists between them are left out.

    Sessions and tasks, 0-based on disk, become sessions and runs from 1. Both sessions tell the same stories: the
    second one's trials are repetitions. Parameters: see `SpeechRecordings`.
    """

    name = "gwilliams2022"
    unit = "T"
    remedy = REMEDY

    def subjects(self) -> tuple[str, ...]:
        """``sub-01``, ...: those with events."""
        found = sorted({path.name.split("_")[0] for path in Path(self.root).glob("sub-*/ses-*/meg/*_events.tsv")})
        if not found:
            raise DataError(f"{self.root}: no sub-*/ses-*/meg/*_events.tsv; {REMEDY}")
        return tuple(found)

    def recordings(self, subject: str) -> tuple[Recording, ...]:
        """Every session and task of a subject that has events."""
        if subject not in self.subjects():
            raise DataError(
                f"gwilliams2022: unknown subject {subject!r}; {self.root} holds {', '.join(self.subjects())}"
            )
        made = []
        for path in sorted((Path(self.root) / subject).glob("ses-*/meg/*_events.tsv")):
            match = _NAME.fullmatch(path.name)
            if match is None:
                raise DataError(f"{path}: expected a name like sub-01_ses-0_task-0_events.tsv")
            words = self._events(path)
            for sound, rows in words.groupby("sound"):
                check_clock(rows["recorded_s"].to_numpy(), rows["onset_s"].to_numpy(), f"{path}, sound {sound!r}")
            stem = path.name.removesuffix("_events.tsv")
            files = [path.with_name(f"{stem}_meg{ending}") for ending in ENDINGS]
            data = next((file for file in files if file.exists()), files[0])
            made.append(Recording(data, int(match[2]) + 1, int(match[3]) + 1, words))
        return tuple(made)

    def transcript(self) -> pd.DataFrame:
        """Words as the events of the first run that tells each sound give them."""
        told: dict[str, pd.DataFrame] = {}
        for path in sorted(Path(self.root).glob("sub-*/ses-*/meg/*_events.tsv")):
            for sound, rows in self._events(path).groupby("sound", sort=True):
                known = told.setdefault(str(sound), rows)
                if known["word"].tolist() != rows["word"].tolist():
                    raise DataError(
                        f"{path}: the sound {sound!r} has {len(rows)} words that differ from the {len(known)} that "
                        "another run gives it; are its events complete?"
                    )
        if not told:
            raise DataError(f"{self.root}: no events; {REMEDY}")
        columns = ["sound", "onset_s", "duration_s", "word", "sentence"]
        return pd.concat([told[name][columns] for name in sorted(told)], ignore_index=True)

    def _events(self, path: Path) -> pd.DataFrame:
        """`read_events`, once a file: the recordings and the transcript both need them."""
        if path not in self._read:
            self._read[path] = read_events(path)
        return self._read[path]

    @cached_property
    def _read(self) -> dict[Path, pd.DataFrame]:
        return {}

    def sound_file(self, sound: str) -> Path:
        """``stimuli/audio/SOUND.wav``."""
        return Path(self.root) / "stimuli" / "audio" / f"{sound}.wav"

    def read(self, path: Path) -> Continuous:
        """The magnetometer-like axial gradiometers of a KIT recording."""
        return read_raw(path, "mag", self.band_hz, REMEDY)[1]


def read_events(path: Path) -> pd.DataFrame:
    """Words of a run's ``events.tsv``, whose column ``trial_type`` holds a Python dictionary in each row.

    Columns ``sound``, ``number``, ``word``, ``sentence``, ``onset_s`` and ``duration_s`` in the sound, ``recorded_s``.

    Raises
    ------
    DataError
        If a row is no dictionary, a field is missing, or no word is of a sentence.
    """
    table = read_table(path, ("onset", "duration", "trial_type"), "the events", REMEDY)
    rows = []
    for line, (onset, duration, text) in enumerate(zip(table["onset"], table["duration"], table["trial_type"])):
        if _OTHER.search(str(text)):
            continue  # phonemes are nine tenths of the events, and slow to parse
        said = _parsed(str(text), path, line + 2)
        if said.get("kind") != "word" or said.get("condition", "sentence") != "sentence":
            continue
        missing = [key for key in ("sound", "start", "word", "sequence_id") if key not in said]
        if missing:
            raise DataError(f"{path}, line {line + 2}: a word without {missing}, found the keys {sorted(said)}")
        sound = Path(str(said["sound"])).stem
        rows.append(
            (sound, float(said["start"]), float(duration), str(said["word"]), said["sequence_id"], float(onset))
        )
    if not rows:
        raise DataError(f"{path}: no word of a sentence (kind 'word', condition 'sentence') in {len(table)} events")
    words = pd.DataFrame(rows, columns=["sound", "onset_s", "duration_s", "word", "sentence", "recorded_s"])
    if not np.isfinite(words["recorded_s"]).all():
        raise DataError(f"{path}: column onset: expected s, found values that are not finite")
    words["number"] = words.groupby("sound").cumcount()
    return words


def _parsed(text: str, path: Path, line: int) -> dict[str, Any]:
    try:
        said = ast.literal_eval(re.sub(r"\bnan\b", "None", text))
    except (ValueError, SyntaxError) as error:
        raise DataError(f"{path}, line {line}: trial_type is not a dictionary: {text[:80]!r}") from error
    if not isinstance(said, dict):
        raise DataError(f"{path}, line {line}: trial_type is not a dictionary: {text[:80]!r}")
    return said


def write_fake(
    root: str | Path, n_subjects: int = 2, n_sentences: int = 14, n_channels: int = 12, seed: int = 0
) -> None:
    """Write the published tree: 2 sessions of 2 tasks, events as dictionaries, WAV files.

    Recordings are written as FIF, which mne can write; the published ones are KIT ``.con`` files of 208 sensors.
    """
    import mne

    root = Path(root)
    stories = fake_stories(["lw1_0", "cable_spool_fort_0"], n_sentences, seed)
    for story in stories:
        write_wav(root / "stimuli" / "audio" / f"{story.name}.wav", story)
    info = mne.create_info([f"MEG {i:03d}" for i in range(n_channels)], 200.0, "mag")
    rng = np.random.default_rng(seed)
    for channel, place in zip(info["chs"], rng.normal(size=(n_channels, 3))):
        channel["loc"][:3] = 0.1 * np.abs(place) / np.linalg.norm(place)
    for number in range(n_subjects):
        for session in (0, 1):
            for task, story in enumerate(stories):
                folder = root / f"sub-{number + 1:02d}" / f"ses-{session}" / "meg"
                folder.mkdir(parents=True, exist_ok=True)
                stem = f"sub-{number + 1:02d}_ses-{session}_task-{task}"
                signal = fake_recording(
                    [story], [2.0], n_channels, 200.0, 1e-13, seed + 10 * number + 2 * session + task
                )
                raw = mne.io.RawArray(signal, info, verbose="error")
                raw.save(folder / f"{stem}_meg.fif", overwrite=True, verbose="error")
                _events(story, 2.0).to_csv(folder / f"{stem}_events.tsv", sep="\t", index=False)


def _events(story: Any, start_s: float) -> pd.DataFrame:
    name = f"stimuli/audio/{story.name}.wav"
    common = {"story": story.name.rsplit("_", 1)[0], "story_uid": 0.0, "sound_id": 0.0}
    rows = [(start_s, 1.0, str({**common, "kind": "sound", "start": 0.0, "sound": name}))]
    for row in word_rows(story).to_dict("records"):
        onset_s = float(row["onset_s"])
        said = {**common, "kind": "word", "start": round(onset_s, 4), "sound": name, "word": row["word"]}
        said |= {"word_index": float(row["number"]), "sequence_id": float(row["sentence"]), "condition": "sentence"}
        rows.append((start_s + onset_s, float(row["duration_s"]), str({**said, "speech_rate": float("nan")})))
        phoneme = {**common, "kind": "phoneme", "start": said["start"], "sound": name, "phoneme": "ah_I"}
        rows.append((start_s + onset_s, 0.05, str(phoneme)))
    return pd.DataFrame(rows, columns=["onset", "duration", "trial_type"]).assign(value="n/a", sample=0)
