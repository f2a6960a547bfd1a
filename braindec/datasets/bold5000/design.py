"""BOLD5000's design: which picture each trial showed, in which session and run, and which part it belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from braindec.datasets.bold5000.layout import (
    N_REPEATED,
    REMEDY,
    SESSIONS,
    TRIALS_PER_RUN,
    check_subject,
    events_file,
    labels_file,
    names_file,
    pictures_folder,
    repeated_file,
    runs_of,
)
from braindec.datasets.files import ImageFiles, need_file, number_repetitions, read_table, reading
from braindec.types import DataError, Stimuli

NAME_COLUMNS = ("ImgName", "stim_file")
"""Columns of ``events.tsv`` that have named the picture in one release or another."""


def stimulus_id(name: str) -> str:
    """Id of a picture: its file name without the mark ``rep_`` that later showings carry in some lists.

    Without this, a repeated picture would have two ids, one of them in training.
    """
    return Path(name.strip()).name.removeprefix("rep_")


def source_of(stimulus: str) -> str:
    """``COCO``, ``ImageNet`` (names begin with a WordNet id) or ``Scene``."""
    if stimulus.startswith("COCO_"):
        return "COCO"
    return "ImageNet" if re.match(r"n\d{8}", stimulus) else "Scene"


def read_lines(path: Path, what: str) -> list[str]:
    """The lines of a text file that are not empty."""
    need_file(path, what, REMEDY)
    with reading(path, "text"):
        return [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]


def read_repeated(root: Path) -> frozenset[str]:
    """Ids of the pictures shown several times, the test part.

    Raises
    ------
    DataError
        If the list is missing, or does not name 113 pictures.
    """
    path = repeated_file(root)
    ids = frozenset(stimulus_id(name) for name in read_lines(path, "the list of repeated pictures"))
    if len(ids) != N_REPEATED:
        raise DataError(f"{path}: expected {N_REPEATED} distinct pictures, found {len(ids)}")
    return ids


def trial_table(root: Path, subject: str) -> pd.DataFrame:
    """All trials in order of presentation; repeated pictures are the test part, also where a person saw them once.

    Raises
    ------
    DataError
        If a list is missing, has another number of trials than the subject's sessions hold, or a picture that is
        not in the list of repeated ones occurs more than once.
    """
    path = names_file(root, check_subject(subject))
    ids = [stimulus_id(name) for name in read_lines(path, "the list of presented pictures")]
    runs = [(s, r) for s in range(1, SESSIONS[subject] + 1) for r in range(1, runs_of(subject, s) + 1)]
    if len(ids) != TRIALS_PER_RUN * len(runs):
        raise DataError(
            f"{path}: expected {TRIALS_PER_RUN * len(runs)} pictures, one a trial of {len(runs)} runs, found {len(ids)}"
        )
    repeated = read_repeated(root)
    repetition = number_repetitions(ids)
    unlisted = sorted({i for i, number in zip(ids, repetition) if number and i not in repeated})
    if unlisted:
        raise DataError(
            f"{path}: {len(unlisted)} pictures occur more than once but are not in {repeated_file(root).name}, e.g. "
            f"{unlisted[0]!r}; one of the two files is damaged"
        )
    of_run = np.repeat(np.array(runs), TRIALS_PER_RUN, axis=0)
    return pd.DataFrame(
        {
            "stimulus_id": ids,
            "concept": "",
            "session": of_run[:, 0],
            "run": of_run[:, 1],
            "repetition": repetition,
            "split": np.where([i in repeated for i in ids], "test", "train"),
            "source": [source_of(i) for i in ids],
        }
    )


def check_events(root: Path, subject: str, table: pd.DataFrame) -> None:
    """Compare the table with the ``events.tsv`` of ds001499, where they are on disk, picture by picture.

    Raises
    ------
    DataError
        Naming the first run and trial that differ.
    """
    for _, ours in table.groupby(["session", "run"]):
        session, run = int(ours["session"].iloc[0]), int(ours["run"].iloc[0])
        path = events_file(root, subject, session, run)
        if not path.is_file():
            continue
        events = read_table(path, (), "a run's events", REMEDY)
        column = next((name for name in NAME_COLUMNS if name in events.columns), None)
        if column is None or len(events) != len(ours):
            raise DataError(
                f"{path}: expected {len(ours)} events with a column {' or '.join(NAME_COLUMNS)}, found {len(events)} "
                f"with {list(events.columns)}"
            )
        theirs = np.array([stimulus_id(str(name)) for name in events[column]])
        differs = theirs != ours["stimulus_id"].to_numpy(dtype=str)
        if differs.any():
            first = int(np.flatnonzero(differs)[0])
            raise DataError(
                f"{path}: trial {first + 1} shows {theirs[first]!r}, but {names_file(root, subject).name} has "
                f"{ours['stimulus_id'].iloc[first]!r} for session {session}, run {run}; one of the two files is "
                "shuffled or belongs to another subject"
            )


def read_stimuli(root: Path, subjects: Sequence[str], image_size_px: int | None) -> Stimuli:
    """Every picture that the subjects saw, decoded when asked for; ``extras`` has their ``source`` and ``label``.

    The label is the ImageNet words, the kind of scene, or empty for COCO.

    Raises
    ------
    DataError
        If a list is missing.
    """
    return stimuli_of(
        root, {i for subject in subjects for i in trial_table(root, subject)["stimulus_id"]}, image_size_px
    )


def stimuli_of(root: Path, stimuli: Iterable[str], image_size_px: int | None) -> Stimuli:
    """The given pictures, in alphabetical order; as `read_stimuli`."""
    ids = sorted(stimuli)
    words: dict[str, str] = {}
    if labels_file(root).is_file():
        lines = read_lines(labels_file(root), "the ImageNet labels")
        words = {line.split()[0]: " ".join(line.split()[1:]) for line in lines}
    folder = pictures_folder(root)
    images = None
    if folder.is_dir():
        images = ImageFiles([folder / source_of(i) / i for i in ids], image_size_px)
    labels = tuple(_label(i, words) for i in ids)
    return Stimuli(ids=tuple(ids), images=images, extras={"source": tuple(map(source_of, ids)), "label": labels})


def _label(stimulus: str, words: dict[str, str]) -> str:
    source = source_of(stimulus)
    if source == "COCO":
        return ""
    if source == "ImageNet":
        return words.get(stimulus.split("_")[0], "")
    return re.sub(r"\d*\.\w+$", "", stimulus)
