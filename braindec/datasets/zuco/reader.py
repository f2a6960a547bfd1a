"""ZuCo 1 and 2: EEG (and eye movements, unused here) of people who read English sentences at their own speed.

Source: Hollenstein et al. 2018, "ZuCo, a simultaneous EEG and eye-tracking resource for natural sentence reading",
Scientific Data 5:180291 (osf.io/q3zws, CC BY 4.0); Hollenstein, Troendle, Zhang & Langer 2020, LREC (ZuCo 2.0,
osf.io/2urht, CC BY 4.0).

Legend: N trials, S channels, T time points.
"""

from __future__ import annotations

import hashlib
import logging
import re
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from braindec.datasets.continuous import resample
from braindec.datasets.files import BadPositions, bad_positions, check_positions, fingerprint, number_repetitions
from braindec.datasets.zuco.matlab import N_CHANNELS, read_sentences
from braindec.datasets.zuco.texts import read_labels, read_paraphrases
from braindec.signals.padding import VALID, pad
from braindec.signals.passages import sentence_key
from braindec.types import DataError, Space, Stimuli, Trials

log = logging.getLogger(__name__)

RATE_HZ = 500.0
REMEDY = (
    "download the Matlab_files of osf.io/q3zws (ZuCo 1) or osf.io/2urht (ZuCo 2), or set the data set's root to where "
    "they lie"
)
CORPUS = {"SR": "review", "NR": "biography", "TSR": "biography"}
"""Task -> what its sentences are: movie reviews, or biographies of Wikipedia."""

_NAME = re.compile(r"results([A-Z]{3})_(SR|NR|TSR)\.mat")


class ZuCo:
    """Padded sentences float32 (trial, channel, time) in volt; one trial a sentence that a person read.

    The same sentence, read by several people or in several tasks, is one stimulus, named by the hash of its words; the
    split may not divide it. Zeros follow a sentence's end (`braindec.signals.padding.FillPadding` hides them), and what
    is longer is cut.

    Parameters
    ----------
    root : folder that holds the tasks' folders with their ``Matlab_files``.
    release : 1 or 2; which one is only named, the files' format is seen from their content.
    tasks : of ``SR`` (sentiment reading), ``NR`` (normal reading), ``TSR`` (task-specific reading).
    rate_hz, n_times : sampling rate and number of time points of a trial.
    labels : folder below ``root`` with the published label files.
    paraphrases : table below ``root`` with the columns ``sentence`` and ``paraphrase``, several rows a sentence; None:
        the sentence itself is its only text.
    bad_positions : what to do with channels that are constant over all sentences, or not finite.
    """

    def __init__(
        self,
        root: str,
        release: Literal[1, 2],
        tasks: tuple[str, ...] = ("SR", "NR", "TSR"),
        rate_hz: float = 128.0,
        n_times: int = 1280,
        labels: str = "task_materials",
        paraphrases: str | None = None,
        bad_positions: BadPositions = "raise",
    ) -> None:
        unknown = [task for task in tasks if task not in CORPUS]
        if unknown or not tasks or n_times < 8 or rate_hz <= 0:
            raise DataError(
                f"zuco: expected tasks of {sorted(CORPUS)} and 8 time points or more, found {tasks}, {n_times}"
            )
        self.root = root
        self.release = release
        self.tasks = tasks
        self.rate_hz = rate_hz
        self.n_times = n_times
        self.labels = labels
        self.paraphrases = paraphrases
        self.bad_positions = bad_positions
        self.name = f"zuco{release}"

    @cached_property
    def _files(self) -> dict[str, dict[str, Path]]:
        """Subject -> task -> file."""
        found: dict[str, dict[str, Path]] = {}
        for path in sorted(Path(self.root).glob("**/Matlab_files/results*.mat")):
            match = _NAME.fullmatch(path.name)
            if match and match[2] in self.tasks:
                found.setdefault(match[1], {})[match[2]] = path
        if not found:
            raise DataError(
                f"{self.root}: no Matlab_files/resultsXXX_TASK.mat of the tasks {list(self.tasks)}; {REMEDY}"
            )
        return found

    def subjects(self) -> tuple[str, ...]:
        """Three letters each, ``ZAB`` (release 1) or ``YAC`` (release 2): those on disk."""
        return tuple(sorted(self._files))

    def version(self) -> str:
        """12 hexadecimal digits from every file and the reader's numbers."""
        paths = [path for tasks in self._files.values() for path in tasks.values()]
        return fingerprint(paths, repr((self.tasks, self.rate_hz, self.n_times, self.paraphrases)))

    def trials(self, subject: str) -> Trials:
        """Every sentence that a person read and that was recorded.

        Raises
        ------
        DataError
            On missing or broken files, an empty sentence, or dead channels.
        """
        if subject not in self._files:
            raise DataError(f"zuco: unknown subject {subject!r}; {self.root} holds {', '.join(self.subjects())}")
        pieces: list[np.ndarray] = []
        rows: list[tuple[str, int, str]] = []
        n_missing = 0
        for run, (task, path) in enumerate(self._files[subject].items(), start=1):
            for text, signal in read_sentences(path, REMEDY):
                if signal is None:
                    n_missing += 1
                    continue
                kept = signal[: N_CHANNELS - 1]
                finite = np.where(np.isfinite(kept), kept, 0.0)
                resampled = resample(finite, RATE_HZ, self.rate_hz)
                # A channel that is not finite stays so, for the check below to name it.
                resampled[~np.isfinite(kept).all(axis=1)] = np.nan
                pieces.append((resampled * 1e-6).astype(np.float32))
                rows.append((text, run, task))
        if n_missing:
            log.warning("zuco: subject %s skipped %d of %d sentences", subject, n_missing, n_missing + len(rows))
        if not rows:
            raise DataError(f"{self.root}: no sentence of subject {subject!r} was recorded; {REMEDY}")
        signal, lengths = pad(pieces, self.n_times, f"zuco, subject {subject!r}")
        dead = bad_positions(signal)
        names = tuple(f"E{i + 1}" for i in range(N_CHANNELS - 1))
        good = check_positions(dead, f"{self.root}, subject {subject!r}", "channels", names, self.bad_positions)
        trials = Trials(
            subject=subject,
            signal=signal,
            unit="V",
            space=Space("channels", len(names), names=names),
            times_s=np.arange(self.n_times) / self.rate_hz,
            table=self._table(rows, lengths),
        )
        return trials if good.all() else trials.select_space(good)

    def _table(self, rows: list[tuple[str, int, str]], lengths: np.ndarray) -> pd.DataFrame:
        ids = [stimulus_id_of(text) for text, _, _ in rows]
        return pd.DataFrame(
            {
                "stimulus_id": ids,
                "concept": "",
                "session": 1,
                "run": [run for _, run, _ in rows],
                "repetition": number_repetitions(ids),
                "split": "train",
                "sentence": ids,
                "unit": ids,
                "task": [task for _, _, task in rows],
                VALID: lengths,
            }
        )

    def stimuli(self) -> Stimuli:
        """Every sentence: ``texts``; ``captions``, paraphrases; ``extras`` ``sentiment``, ``relation``, ``corpus``."""
        texts: dict[str, str] = {}
        corpus: dict[str, str] = {}
        for tasks in self._files.values():
            for task, path in tasks.items():
                for text, _ in read_sentences(path, REMEDY):
                    texts.setdefault(stimulus_id_of(text), text)
                    corpus.setdefault(stimulus_id_of(text), CORPUS[task])
        ids = tuple(texts)
        folder = Path(self.root) / self.labels
        sentiment = read_labels(folder, "sentiment")
        relation = read_labels(folder, "relation")
        written = {} if self.paraphrases is None else read_paraphrases(Path(self.root) / self.paraphrases)
        keys = [sentence_key(texts[i].split()) for i in ids]
        return Stimuli(
            ids=ids,
            texts=tuple(texts[i] for i in ids),
            captions=tuple(written.get(key, (texts[i],)) for i, key in zip(ids, keys, strict=True)),
            extras={
                "sentence": ids,
                "corpus": tuple(corpus[i] for i in ids),
                "sentiment": tuple(sentiment.get(key, "") for key in keys),
                "relation": tuple(relation.get(key, "") for key in keys),
            },
        )


def stimulus_id_of(text: str) -> str:
    """``s`` and twelve hexadecimal digits, equal for sentences of the same words."""
    return "s" + hashlib.sha256(sentence_key(text.split()).encode()).hexdigest()[:12]
