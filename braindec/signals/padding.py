"""Padding of trials that last differently long, and how to hide it.

Legend: N trials, S space, T time points, P trials of the pool.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from braindec.types import DataError, Trials

VALID = "n_valid"
"""Column of a trial table: time points of the trial before its padding."""


def pad(pieces: list[np.ndarray], n_times: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Pieces (S, own length) as float32 (N, S, T), zero after their end and cut at ``n_times``; and the valid lengths.

    Raises
    ------
    DataError
        If a piece is empty.
    """
    signal = np.zeros((len(pieces), pieces[0].shape[0] if pieces else 0, n_times), dtype=np.float32)
    lengths = np.zeros(len(pieces), dtype=np.int64)
    for row, piece in enumerate(pieces):
        if piece.shape[1] == 0:
            raise DataError(f"{where}: trial {row} has no time point")
        lengths[row] = min(n_times, piece.shape[1])
        signal[row, :, : lengths[row]] = piece[:, :n_times]
    return signal, lengths


class FillPadding:
    """The end of every short trial is filled with recordings of other training trials of the same subject.

    Zeros at the end of a trial tell its length, and with it much of a sentence: its corpus, its relation, which of the
    candidates it is. With the padding filled there is no mask to read. The join is cross-faded; a filled end is still
    no recording of the sentence, so that a network that told the two apart could find its length again.

    Fitted attributes: ``pool_`` float32 (P, S, T) and ``pool_lengths_`` (P,), training trials; ``pool_ids_`` theirs.

    Parameters
    ----------
    pool : number of training trials to fill from, the longest ones.
    fade : time points over which the trial passes into the filling.
    seed : which of them fills which trial.

    Raises
    ------
    DataError
        If the table has no column ``n_valid``.
    """

    def __init__(self, pool: int = 16, fade: int = 16, seed: int = 0) -> None:
        self.pool = pool
        self.fade = fade
        self.seed = seed

    def fit(self, trials: Trials) -> None:
        """Keep the pool."""
        lengths = _lengths(trials)
        rows = np.sort(np.argsort(-lengths, kind="stable")[: self.pool])
        self.pool_ = np.array(trials.signal[rows], dtype=np.float32)
        self.pool_lengths_ = lengths[rows]
        self.pool_ids_ = trials.table["stimulus_id"].astype(str).to_numpy()[rows]

    def apply(self, trials: Trials) -> Trials:
        """Trials without padding; what fills a trial depends on its stimulus, session and repetition only."""
        lengths, n_times = _lengths(trials), trials.signal.shape[2]
        signal = np.array(trials.signal, dtype=np.float32)
        columns = trials.table[["stimulus_id", "session", "run", "repetition"]].astype(str)
        for row in np.flatnonzero(lengths < n_times):
            key = "|".join([str(self.seed), *columns.iloc[row]])
            draw = np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big"))
            others = np.flatnonzero(self.pool_ids_ != columns["stimulus_id"].iloc[row])
            begin = max(0, int(lengths[row]) - self.fade)
            filling = self._filling(others, n_times - begin, draw)
            rising = np.ones(n_times - begin, dtype=np.float32)
            ramp = int(lengths[row]) - begin
            rising[:ramp] = (np.arange(ramp) + 1) / (ramp + 1)
            # Weights on the unit circle keep the variance of a sum of unrelated signals.
            signal[row, :, begin:] *= np.sqrt(1 - rising**2) * (np.arange(begin, n_times) < lengths[row])
            signal[row, :, begin:] += rising * filling
        return replace(trials, signal=signal)

    def _filling(self, others: np.ndarray, n_points: int, draw: np.random.Generator) -> np.ndarray:
        if len(others) == 0:
            raise DataError("FillPadding: no other training trial to fill from; raise pool, or use a larger data set")
        parts, filled = [], 0
        while filled < n_points:
            chosen = int(others[draw.integers(len(others))])
            whole = self.pool_[chosen][:, : self.pool_lengths_[chosen]]
            piece = whole[:, int(draw.integers(max(1, whole.shape[1] // 2))) :]
            parts.append(piece)
            filled += piece.shape[1]
        return np.concatenate(parts, axis=1)[:, :n_points]

    def state(self) -> dict[str, np.ndarray]:
        """The pool."""
        return {"pool": self.pool_, "lengths": self.pool_lengths_, "ids": self.pool_ids_.astype(np.str_)}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what `state` gave."""
        self.pool_, self.pool_lengths_ = np.asarray(state["pool"]), np.asarray(state["lengths"])
        self.pool_ids_ = np.asarray(state["ids"])


def _lengths(trials: Trials) -> np.ndarray:
    if VALID not in trials.table.columns:
        raise DataError(
            f"FillPadding: the trial table of subject {trials.subject!r} has no column {VALID!r}; this transform is "
            "for data sets whose trials are padded"
        )
    return trials.table[VALID].to_numpy(dtype=np.int64)
