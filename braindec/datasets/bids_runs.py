"""What readers of BIDS folders share: which runs a subject has, their events, and the stimuli that these name.

Source: the BIDS specification (file names, ``events.tsv``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from braindec.datasets.files import ImageFiles, fingerprint, number_repetitions, read_table
from braindec.datasets.speech.recordings import read_wav
from braindec.types import DataError, Stimuli

REMEDY = "check the data set's root, task and suffix against its file names"


class BIDSRuns:
    """A folder ``sub-*/**/*_task-<task>_*events.tsv``; a reader adds the recording of each run.

    Parameters
    ----------
    root, task : the BIDS folder, and which runs.
    stimulus, concept : columns of ``events.tsv``; no concept: the stimulus itself.
    images, image_size_px : folder of the pictures or WAV files below ``root``, and the side that pictures get.
    """

    name = "bids"
    texts = False

    def __init__(
        self, root: str, task: str, stimulus: str, concept: str | None, images: str, image_size_px: int | None
    ) -> None:
        self.root = root
        self.task = task
        self.stimulus = stimulus
        self.concept = concept
        self.images = images
        self.image_size_px = image_size_px

    def subjects(self) -> tuple[str, ...]:
        """``sub-01``, ...: those with events of the task."""
        pattern = f"*_task-{self.task}_*events.tsv"
        found = sorted({path.name.split("_")[0] for path in Path(self.root).glob(f"sub-*/**/{pattern}")})
        if not found:
            raise DataError(f"{self.root}: no sub-*/**/{pattern}; {REMEDY}")
        return tuple(found)

    def stimuli(self) -> Stimuli:
        """Every stimulus that an event names; with pictures or sounds where ``images`` holds files named so.

        With ``texts`` the stimulus column itself is what was read.
        """
        shown: dict[str, str] = {}
        for subject in self.subjects():
            for path in self.runs(subject):
                events = self.events(path)
                shown.update(zip(events["stimulus_id"], events["concept"]))
        ids = sorted(shown)
        folder = Path(self.root) / self.images
        found = Stimuli(ids=tuple(ids), concepts=tuple(shown[i] for i in ids))
        if self.texts:
            return replace(found, texts=tuple(ids), captions=tuple((text,) for text in ids))
        if not (folder / ids[0]).is_file():
            return found
        if ids[0].lower().endswith(".wav"):
            audio, rate_hz = _sounds([folder / i for i in ids])
            return replace(found, audio=audio, audio_rate_hz=rate_hz)
        return replace(found, images=ImageFiles([folder / i for i in ids], self.image_size_px))

    def version(self) -> str:
        """12 hexadecimal digits from every run's events and recording."""
        paths = [path for subject in self.subjects() for path in self.runs(subject)]
        paths += [data for path in list(paths) for data in [self.recording(path)] if data.is_file()]
        return fingerprint(paths, repr(sorted((k, v) for k, v in vars(self).items() if k != "root")))

    def recording(self, events: Path) -> Path:
        """The recording of the run with these events."""
        raise NotImplementedError

    def runs(self, subject: str) -> list[Path]:
        """The subject's events files, in order. Raises `DataError` if a run is missing between others."""
        if subject not in self.subjects():
            raise DataError(f"bids: unknown subject {subject!r}; {self.root} holds {', '.join(self.subjects())}")
        found = sorted((Path(self.root) / subject).glob(f"**/{subject}_*task-{self.task}_*events.tsv"))
        for session in {entity(path, "ses") for path in found}:
            numbers = [entity(path, "run") for path in found if entity(path, "ses") == session]
            if sorted(numbers) != list(range(1, len(numbers) + 1)):
                raise DataError(
                    f"{self.root}/{subject}: session {session} has the runs {sorted(numbers)} of task {self.task}; one "
                    "is missing or occurs twice"
                )
        return found

    def events(self, path: Path) -> pd.DataFrame:
        """Events that name a stimulus: onset in s, stimulus_id, concept, session, run, split."""
        wanted = ["onset", self.stimulus, *([self.concept] if self.concept else [])]
        table = read_table(path, wanted, "the events", REMEDY)
        table = table[table[self.stimulus].notna() & (table[self.stimulus].astype(str) != "n/a")].reset_index(drop=True)
        onset = pd.to_numeric(table["onset"], errors="coerce")
        if onset.isna().any() or (onset.diff().dropna() < 0).any() or len(table) == 0:
            raise DataError(f"{path}: expected events with increasing onsets in s and a value in {self.stimulus!r}")
        ids = table[self.stimulus].astype(str).str.replace("\\", "/", regex=False)
        split = table["split"].astype(str) if "split" in table else "train"
        return pd.DataFrame(
            {
                "onset": onset,
                "stimulus_id": ids,
                "concept": table[self.concept].astype(str) if self.concept else ids,
                "session": entity(path, "ses"),
                "run": entity(path, "run"),
                "split": split,
            }
        )

    def table(self, events: Sequence[pd.DataFrame]) -> pd.DataFrame:
        """The trial table of runs' `events`."""
        table = pd.concat(events, ignore_index=True).drop(columns="onset")
        return table.assign(repetition=number_repetitions(table["stimulus_id"].tolist()))


def entity(path: Path, name: str) -> int:
    """The number of an entity (``run-02``: 2) in a file name; 1 where the name has none."""
    match = re.search(rf"_{name}-(?:[A-Za-z]*)(\d+)", path.name)
    return int(match[1]) if match else 1


def _sounds(paths: Sequence[Path]) -> tuple[tuple[np.ndarray, ...], float]:
    """Waveforms of WAV files and their one rate. Raises `DataError` when their rates differ."""
    read = [read_wav(path, REMEDY) for path in paths]
    for path, (_, rate_hz) in zip(paths, read, strict=True):
        if rate_hz != read[0][1]:
            raise DataError(
                f"{path}: {rate_hz:g} Hz, while {paths[0].name} has {read[0][1]:g} Hz; resample them to one rate"
            )
    return tuple(sound for sound, _ in read), read[0][1]
