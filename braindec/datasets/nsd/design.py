"""NSD's experimental design: which picture each trial showed, and which partition it belongs to.

The three published sources of the same fact (``nsd_expdesign.mat``, ``responses.tsv``, ``nsd_stim_info_merged.csv``)
are compared trial by trial. All published picture numbers are 1-based except the csv's ``nsdId``; they become 0-based
string ids here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from braindec.datasets.files import need_file, number_repetitions, read_table, reading
from braindec.datasets.nsd.layout import (
    N_IMAGES,
    REMEDY,
    RUN_LENGTHS,
    SESSIONS,
    TRIALS_PER_SESSION,
    WITHHELD_SESSIONS,
    Generation,
    check_subject,
    design_file,
    responses_file,
    stim_info_file,
)
from braindec.types import DataError

N_SHARED = 1000
N_PER_SUBJECT = 10_000
N_TRIALS = 30_000


def stimulus_id(number: int) -> str:
    """Id of a picture from its 0-based 73k number: ``nsd00000`` .. ``nsd72999``."""
    return f"nsd{number:05d}"


@dataclass(frozen=True)
class Design:
    """``nsd_expdesign.mat`` with every number 0-based.

    Attributes
    ----------
    order : int (30000,), per trial the number within the subject's own 10,000 pictures; < 1000 is a shared picture.
    images : int (8, 10000), per subject the 73k numbers of those pictures.
    """

    order: np.ndarray
    images: np.ndarray

    def shown(self, subject: str) -> np.ndarray:
        """73k number of every planned trial of a subject, int (30000,)."""
        return self.images[check_subject(subject) - 1][self.order]


def read_design(root: Path) -> Design:
    """Read and check ``nsd_expdesign.mat``.

    Raises
    ------
    DataError
        If the file is missing, cut, or breaks a published rule: 10,000 distinct pictures a subject, each shown three
        times, the first 1000 of them shared by all subjects.
    """
    from scipy.io import loadmat

    path = need_file(design_file(root), "NSD's experimental design", REMEDY)
    names = ("masterordering", "subjectim", "sharedix")
    with reading(path, "MATLAB"):
        content = loadmat(path, variable_names=list(names))
    missing = [name for name in names if name not in content]
    if missing:
        raise DataError(f"{path}: expected the variables {list(names)}, found no {missing}")
    order = content["masterordering"].ravel().astype(np.int64) - 1
    images = content["subjectim"].astype(np.int64) - 1
    shared = content["sharedix"].ravel().astype(np.int64) - 1
    if order.shape != (N_TRIALS,) or images.shape != (8, N_PER_SUBJECT) or shared.shape != (N_SHARED,):
        raise DataError(
            f"{path}: expected masterordering of {N_TRIALS}, subjectim 8 x {N_PER_SUBJECT} and sharedix of {N_SHARED}, "
            f"found {order.shape}, {images.shape} and {shared.shape}"
        )
    if not np.array_equal(np.bincount(order.clip(0), minlength=N_PER_SUBJECT), np.full(N_PER_SUBJECT, 3)):
        raise DataError(f"{path}: masterordering must show each of {N_PER_SUBJECT} pictures (1-based) three times")
    if images.min() < 0 or images.max() >= N_IMAGES or any(len(np.unique(row)) != N_PER_SUBJECT for row in images):
        raise DataError(f"{path}: each row of subjectim must hold {N_PER_SUBJECT} distinct 1-based 73k numbers")
    if not (np.sort(images[:, :N_SHARED], axis=1) == np.sort(shared)).all():
        raise DataError(f"{path}: the first {N_SHARED} pictures of every subject must be those of sharedix")
    return Design(order=order, images=images)


def released_sessions(subject: str, generation: Generation) -> tuple[int, ...]:
    """1-based sessions of a subject: all of them, or in the older release all but the last three."""
    check_subject(subject)
    if generation not in ("nsd37", "nsd40"):
        raise DataError(f"nsd: unknown split generation {generation!r}; expected 'nsd37' or 'nsd40'")
    return tuple(range(1, SESSIONS[subject] + 1 - (WITHHELD_SESSIONS if generation == "nsd37" else 0)))


def trial_table(design: Design, subject: str, sessions: Sequence[int]) -> pd.DataFrame:
    """Trials of the given sessions in order of presentation; shared pictures are the published test part.

    ``repetition`` counts a picture's showings over the whole experiment, so it does not depend on ``sessions``.
    """
    shown = design.shown(subject)
    repetition = number_repetitions(shown.tolist())
    rows = np.concatenate([np.arange(TRIALS_PER_SESSION) + (session - 1) * TRIALS_PER_SESSION for session in sessions])
    run = np.repeat(np.arange(1, len(RUN_LENGTHS) + 1), RUN_LENGTHS)
    return pd.DataFrame(
        {
            "stimulus_id": [stimulus_id(number) for number in shown[rows]],
            "concept": "",
            "session": rows // TRIALS_PER_SESSION + 1,
            "run": run[rows % TRIALS_PER_SESSION],
            "repetition": repetition[rows],
            "split": np.where(design.order[rows] < N_SHARED, "test", "train"),
        }
    )


def check_responses(root: Path, subject: str, table: pd.DataFrame) -> None:
    """Compare the table with the subject's ``responses.tsv``: session, run and picture of every trial.

    Sessions that the file does not cover (withheld when it was published) are not compared.

    Raises
    ------
    DataError
        Naming the first trial that differs, or a repeated trial.
    """
    path = responses_file(root, subject)
    columns = ("SUBJECT", "SESSION", "RUN", "TRIAL", "73KID")
    responses = read_table(path, columns, "the behavioural record", REMEDY)
    number = check_subject(subject)
    if not (responses["SUBJECT"] == number).all():
        raise DataError(f"{path}: expected SUBJECT {number} throughout, found {sorted(set(responses['SUBJECT']))}")
    if responses.duplicated(["SESSION", "RUN", "TRIAL"]).any():
        twice = responses[responses.duplicated(["SESSION", "RUN", "TRIAL"])].iloc[0]
        raise DataError(f"{path}: session {twice.SESSION} run {twice.RUN} trial {twice.TRIAL} occurs more than once")
    for session, ours in table.groupby("session"):
        theirs = responses[responses["SESSION"] == session]
        if theirs.empty:
            continue
        if len(theirs) != len(ours):
            raise DataError(f"{path}: session {session} must have {len(ours)} trials, found {len(theirs)}")
        ids = [stimulus_id(int(value) - 1) for value in theirs["73KID"]]
        differs = (ours["stimulus_id"].to_numpy() != np.array(ids)) | (ours["run"].to_numpy() != theirs["RUN"])
        if differs.any():
            first = int(np.flatnonzero(differs)[0])
            raise DataError(
                f"{path}: session {session} trial {first + 1} shows {ids[first]} in run {theirs['RUN'].iloc[first]}, "
                f"but nsd_expdesign.mat shows {ours['stimulus_id'].iloc[first]} in run {ours['run'].iloc[first]}; "
                "one of the two files is shuffled or belongs to another subject"
            )


def read_stim_info(root: Path, design: Design, subject: str) -> pd.DataFrame:
    """``nsd_stim_info_merged.csv`` with columns ``nsdId`` (0-based) and ``cocoId``, compared with the design.

    Raises
    ------
    DataError
        If ids repeat, or the shared pictures or a trial number of ``subject`` differ from ``nsd_expdesign.mat``.
    """
    path = stim_info_file(root)
    number = check_subject(subject)
    repetitions = [f"subject{number}_rep{i}" for i in range(3)]
    columns = ("nsdId", "cocoId", "shared1000", f"subject{number}", *repetitions)
    info = read_table(path, columns, "the stimulus information", REMEDY, separator=",")
    if info["nsdId"].duplicated().any():
        raise DataError(f"{path}: nsdId {info['nsdId'][info['nsdId'].duplicated()].iloc[0]} occurs more than once")
    shared = set(info["nsdId"][info["shared1000"].astype(bool)])
    if shared != set(design.images[0, :N_SHARED].tolist()):
        raise DataError(f"{path}: its shared1000 pictures are not those of nsd_expdesign.mat; are nsdId 0-based?")
    own = info[info[f"subject{number}"].astype(bool)]
    trials = own[repetitions].to_numpy() - 1
    expected = design.shown(subject)
    # A trial number beyond the subject's last session is planned but was never run; both files list it.
    if trials.min(initial=0) < 0 or trials.max(initial=0) >= N_TRIALS:
        raise DataError(f"{path}: {repetitions} must be 1-based trial numbers up to {N_TRIALS}")
    wrong = expected[trials] != own["nsdId"].to_numpy()[:, None]
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise DataError(
            f"{path}: {repetitions[column]} of nsdId {own['nsdId'].iloc[row]} is trial {trials[row, column] + 1}, "
            f"where nsd_expdesign.mat shows {stimulus_id(expected[trials[row, column]])}"
        )
    return info
