"""Muse N170: single-trial EEG of faces and houses from a consumer headband, four electrodes, six runs of two minutes.

Source: repository alexandrebarachant/muse-lsl, "visual N170" example data (BSD-3); face-house photographs CC BY-SA.

Legend: N trials, S channels, T time points.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from braindec.datasets.continuous import cut
from braindec.datasets.files import (
    BadPositions,
    bad_positions,
    check_positions,
    fingerprint,
    number_repetitions,
    read_table,
)
from braindec.types import DataError, Space, Stimuli, Trials

CHANNELS = ("TP9", "AF7", "AF8", "TP10")
MARKERS = {1: "house", 2: "face"}
RATE_HZ = 256.0
MAX_DRIFT_S = 0.1
REMEDY = "copy the visual N170 data of the muse-lsl repository (BSD-3; 10 MB) there, or set the data set's root to it"


class MuseN170:
    """EEG trials float32 (trial, channel, time) in volt, band-passed over each whole run, without baseline correction.

    The recording says only whether a picture was a house or a face, so these two are the stimuli. ``session`` is the
    folder's number, ``run`` the file's place in it (by its time stamp), both 1-based. No partition is published:
    ``split`` is ``train`` throughout, to be divided by a split over runs.

    Parameters
    ----------
    root : folder that holds ``subject1/session1/data_*.csv``.
    window_s : the trial's window around onset.
    band_hz : pass band of the zero-phase filter.
    peak_limit_v : trials in which a channel exceeds this (blinks, movement) have ``split`` ``unused``; None: none.
    bad_positions : what to do with channels that are constant, or not finite.
    """

    name = "muse_n170"

    def __init__(
        self,
        root: str,
        window_s: tuple[float, float] = (-0.1, 0.8),
        band_hz: tuple[float, float] = (1.0, 30.0),
        peak_limit_v: float | None = 75e-6,
        bad_positions: BadPositions = "raise",
    ) -> None:
        self.root = root
        self.window_s = window_s
        self.band_hz = band_hz
        self.peak_limit_v = peak_limit_v
        self.bad_positions = bad_positions

    def subjects(self) -> tuple[str, ...]:
        """``subject1``, ...: those on disk."""
        found = tuple(sorted({path.parts[-3] for path in Path(self.root).glob("subject*/session*/*.csv")}))
        if not found:
            raise DataError(f"{self.root}: no subject1/session1/*.csv; {REMEDY}")
        return found

    def trials(self, subject: str) -> Trials:
        """All trials of a subject. Raises `DataError` on cut, shuffled or unevenly sampled files, or dead channels."""
        files = self._files(subject)
        signals, tables, times, dead = [], [], np.empty(0), np.zeros(len(CHANNELS), dtype=bool)
        runs: dict[str, int] = {}
        for path in files:
            continuous, onsets, markers = read_run(path)
            dead |= bad_positions(continuous.T)
            check_positions(dead, str(path), "channels", CHANNELS, self.bad_positions)
            filtered = self._filter(np.nan_to_num(continuous))
            inside = (onsets + self.window_s[0] >= 0) & (onsets + self.window_s[1] <= continuous.shape[1] / RATE_HZ)
            signal, times = cut(filtered, RATE_HZ, onsets[inside], self.window_s, False, str(path))
            signals.append(signal)
            session = path.parent.name
            runs[session] = runs.get(session, 0) + 1
            ids = [MARKERS[marker] for marker in markers[inside].tolist()]
            tables.append(
                pd.DataFrame(
                    {"stimulus_id": ids, "session": int(session.removeprefix("session")), "run": runs[session]}
                )
            )
        table = pd.concat(tables, ignore_index=True).assign(split="train")
        table["concept"] = table["stimulus_id"]
        table["repetition"] = number_repetitions(table["stimulus_id"].tolist())
        joined = np.concatenate(signals)
        if self.peak_limit_v is not None:
            table.loc[np.abs(joined).max(axis=(1, 2)) > self.peak_limit_v, "split"] = "unused"
        space = Space(kind="channels", size=len(CHANNELS), names=CHANNELS)
        trials = Trials(subject=subject, signal=joined, unit="V", space=space, times_s=times, table=table)
        return trials.select_space(~dead) if dead.any() else trials

    def stimuli(self) -> Stimuli:
        """House and face; reads no file. There are no pictures: which photograph was shown was not recorded."""
        return Stimuli(
            ids=("house", "face"),
            concepts=("house", "face"),
            captions=(("a photograph of a house",), ("a photograph of a face",)),
        )

    def version(self) -> str:
        """12 hexadecimal digits from every file."""
        paths = [path for subject in self.subjects() for path in self._files(subject)]
        return fingerprint(paths, repr((self.window_s, self.band_hz, self.peak_limit_v)))

    def _files(self, subject: str) -> list[Path]:
        if subject not in self.subjects():
            raise DataError(f"muse_n170: unknown subject {subject!r}; {self.root} holds {', '.join(self.subjects())}")
        return sorted((Path(self.root) / subject).glob("session*/*.csv"))

    def _filter(self, signal: np.ndarray) -> np.ndarray:
        from scipy.signal import butter, sosfiltfilt

        sections = butter(4, self.band_hz, btype="bandpass", fs=RATE_HZ, output="sos")
        return np.asarray(sosfiltfilt(sections, signal, axis=1))


def read_run(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One file: signal (S, n) in volt at 256 Hz, onsets in s from the first sample (N,), and markers (N,).

    Raises
    ------
    DataError
        If columns are missing, samples are not evenly spaced at 256 Hz, or a marker is unknown.
    """
    columns = ("timestamps", *CHANNELS, "Marker0")
    table = read_table(path, columns, "a run of muse recordings", REMEDY, separator=",")
    numbers = table[list(columns)].apply(pd.to_numeric, errors="coerce")
    seconds = numbers["timestamps"].to_numpy()
    if len(table) < RATE_HZ:
        raise DataError(f"{path}: {len(table)} rows are less than a second; the file is cut short")
    # Bluetooth jitter makes single time stamps repeat or step back; samples themselves are evenly spaced.
    rate = (len(seconds) - 1) / (seconds[-1] - seconds[0]) if seconds[-1] > seconds[0] else 0.0
    drift = np.abs(seconds - seconds[0] - np.arange(len(seconds)) / RATE_HZ).max()
    if not abs(rate - RATE_HZ) < 0.01 * RATE_HZ or not drift < MAX_DRIFT_S:
        raise DataError(
            f"{path}: expected {RATE_HZ:g} evenly spaced samples a second, found {rate:.1f} and time stamps up to "
            f"{drift:.3f} s off; rows are shuffled or missing"
        )
    markers = numbers["Marker0"].to_numpy()
    if not np.isin(markers, (0, *MARKERS)).all():
        raise DataError(f"{path}: Marker0 must be 0, 1 (house) or 2 (face), found {sorted(set(markers.tolist()))[:5]}")
    rows = np.flatnonzero(markers != 0)
    if len(rows) == 0:
        raise DataError(f"{path}: no picture is marked in Marker0")
    signal = numbers[list(CHANNELS)].to_numpy(dtype=np.float64).T * 1e-6
    return signal, rows / RATE_HZ, markers[rows].astype(np.int64)


def write_fake(root: str | Path, n_runs: int = 3, trials_per_run: int = 24, seed: int = 0) -> None:
    """Write runs in the true layout; faces have a larger negative deflection at 0.17 s than houses at TP9 and TP10."""
    rng = np.random.default_rng(seed)
    folder = Path(root) / "subject1" / "session1"
    folder.mkdir(parents=True, exist_ok=True)
    bump = np.exp(-(((np.arange(205) / RATE_HZ - 0.17) / 0.03) ** 2))
    for run in range(n_runs):
        n = 512 + 150 * trials_per_run + 512
        table = pd.DataFrame(4 * rng.normal(size=(n, 5)) + 30, columns=[*CHANNELS, "Right AUX"])
        table["Marker0"] = 0
        for trial, marker in enumerate(rng.permutation([1, 2] * (trials_per_run // 2))):
            row = 512 + 150 * trial
            table.loc[row, "Marker0"] = marker
            for channel in ("TP9", "TP10"):
                table.loc[row : row + 204, channel] -= 8 * marker * bump
        table.insert(0, "timestamps", (1000.0 + np.arange(n) / RATE_HZ).round(4))
        table.to_csv(folder / f"data_2017-09-13-15.3{run}.01.csv", index=False, float_format="%.4f")
