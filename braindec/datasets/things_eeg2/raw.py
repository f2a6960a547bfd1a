"""THINGS-EEG2's continuous recordings cut into trials.

Legend: N trials, S channels, T time points.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from braindec.datasets.files import reading
from braindec.datasets.safe_pickle import load
from braindec.datasets.things_eeg2.files import RAW_RATE_HZ, TARGET_TRIAL, WINDOW_S, fields
from braindec.types import DataError


def read_session(path: Path) -> tuple[np.ndarray, np.ndarray, list[str], np.ndarray]:
    """Trials float32 (N, S, T) in volt, 1-based picture numbers (N,), channel names, and times in s.

    Each trial is cut from -0.2 to 0.8 s, brought to 250 Hz with an anti-alias filter over the whole recording, and
    its mean before onset is subtracted. Target trials (99999) are left out.

    Raises
    ------
    DataError
        If the file is missing, cut or unsafe, has no stimulus channel, or a trial runs past its ends.
    """
    import mne

    names = ("raw_eeg_data", "ch_names", "ch_types", "sfreq")
    data, channels, kinds, rate = fields(path, load(path), names)
    channels, kinds = [str(c) for c in channels], [str(k) for k in kinds]
    data = np.asarray(data)
    if data.ndim != 2 or len(data) != len(channels) or len(kinds) != len(channels):
        raise DataError(f"{path}: {data.shape} samples for {len(channels)} channel names and {len(kinds)} types")
    if "stim" not in kinds:
        raise DataError(f"{path}: no channel of type stim, so no trial can be placed; found {sorted(set(kinds))}")
    stim = data[kinds.index("stim")]
    onsets = np.flatnonzero((stim != 0) & (np.roll(stim, 1) != stim))
    codes = stim[onsets].astype(np.int64)
    onsets, codes = onsets[codes != TARGET_TRIAL], codes[codes != TARGET_TRIAL]
    eeg = [i for i, kind in enumerate(kinds) if kind == "eeg"]
    with reading(path, "EEG"):
        info = mne.create_info([channels[i] for i in eeg], float(rate), "eeg")
        raw = mne.io.RawArray(data[eeg], info, verbose="error")
        events = np.column_stack([onsets, np.zeros_like(onsets), codes])
        raw, events = raw.resample(RAW_RATE_HZ, events=events, verbose="error")
    start, n_times = round(WINDOW_S[0] * RAW_RATE_HZ), round((WINDOW_S[1] - WINDOW_S[0]) * RAW_RATE_HZ)
    signal = raw.get_data()
    first = events[:, 0] + start
    if len(first) == 0 or first.min() < 0 or first.max() + n_times > signal.shape[1]:
        raise DataError(f"{path}: {len(first)} trials, of which some run past the recording's ends; is it cut short?")
    trials = np.stack([signal[:, f : f + n_times] for f in first]).astype(np.float32)
    trials -= trials[:, :, :-start].mean(axis=2, keepdims=True)
    return trials, codes, [channels[i] for i in eeg], (np.arange(n_times) + start) / RAW_RATE_HZ
