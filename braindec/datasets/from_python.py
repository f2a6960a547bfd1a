"""Objects that are already in memory become `Trials` in one call: arrays, ``mne.Epochs``, nibabel images with events.

Legend: N trials, S positions in space, T time points, V volumes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from braindec.datasets.files import number_repetitions, reading
from braindec.datasets.nifti import read_masked, voxel_space
from braindec.types import TRIAL_COLUMNS, DataError, Space, SpaceKind, Trials, Unit


def from_arrays(
    signal: np.ndarray,
    stimulus_ids: Sequence[str],
    *,
    subject: str = "subject",
    unit: Unit = "z",
    kind: SpaceKind = "voxels",
    names: Sequence[str] | None = None,
    times_s: Sequence[float] | None = None,
    table: pd.DataFrame | None = None,
) -> Trials:
    """Trials from an array (N, S) or (N, S, T) and what was shown in each trial.

    Parameters
    ----------
    signal : any real type; becomes float32.
    stimulus_ids : one id a trial.
    subject, unit, kind, names, times_s : as in `braindec.types.Trials` and `braindec.types.Space`.
    table : further columns, one row a trial: ``concept``, ``session``, ``run``, ``split``, ``repetition`` or any other.
        Where missing, the concept is the stimulus id, session and run are 1, the split is ``train`` and repetitions
        are counted in order.

    Raises
    ------
    DataError
        If lengths differ, or the signal has NaN or infinite values.
    """
    values = np.asarray(signal)
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim != 3 or values.dtype.kind not in "fiu":
        raise DataError(
            f"from_arrays: signal must be a real (trial, space[, time]), found {values.dtype} {values.shape}"
        )
    values = values.astype(np.float32, copy=False)
    finite = np.isfinite(values).all(axis=(0, 2))
    if not finite.all():
        raise DataError(
            f"from_arrays: signal is not finite at {int((~finite).sum())} of {finite.size} positions, e.g. "
            f"{int(np.flatnonzero(~finite)[0])}; leave them out first"
        )
    ids = [str(i) for i in stimulus_ids]
    for what, length in (("stimulus_ids", len(ids)), ("table", len(values) if table is None else len(table))):
        if length != len(values):
            raise DataError(f"from_arrays: {len(values)} trials in signal but {length} in {what}")
    full = pd.DataFrame({"stimulus_id": ids}) if table is None else table.reset_index(drop=True).assign(stimulus_id=ids)
    defaults: dict[str, Any] = {
        "concept": ids,
        "session": 1,
        "run": 1,
        "repetition": number_repetitions(ids),
        "split": "train",
    }
    for name, value in defaults.items():
        if name not in full.columns:
            full[name] = value
    full = full[[*TRIAL_COLUMNS, *(c for c in full.columns if c not in TRIAL_COLUMNS)]]
    space = Space(kind=kind, size=values.shape[1], names=None if names is None else tuple(names))
    times = None if times_s is None else np.asarray(times_s, dtype=np.float64)
    return Trials(subject=subject, signal=values, unit=unit, space=space, times_s=times, table=full)


def from_epochs(epochs: Any, stimulus: str | None = None, *, subject: str = "subject") -> Trials:
    """Trials from ``mne.Epochs``: their EEG channels in volt, or their MEG sensors in tesla.

    Parameters
    ----------
    epochs : mne.Epochs (or EpochsArray). One kind of channel must have been picked: EEG, magnetometers or gradiometers.
    stimulus : column of ``epochs.metadata`` with the stimulus ids; None: the event's name. Other columns of the
        metadata are kept.
    subject : name of the subject.

    Raises
    ------
    DataError
        If kinds are mixed, the column is missing, or a value is not finite.
    """
    kinds = sorted(set(epochs.get_channel_types()))
    if kinds not in (["eeg"], ["mag"], ["grad"]):
        raise DataError(
            f"from_epochs: expected one kind of channel (eeg, mag or grad), found {kinds}; pick one first, e.g. "
            "epochs.pick('eeg')"
        )
    metadata = epochs.metadata
    if stimulus is None:
        by_code = {code: name for name, code in epochs.event_id.items()}
        ids = [by_code[code] for code in epochs.events[:, 2].tolist()]
    elif metadata is None or stimulus not in metadata.columns:
        columns = [] if metadata is None else list(metadata.columns)
        raise DataError(f"from_epochs: expected the column {stimulus!r} in epochs.metadata, found {columns}")
    else:
        ids = [str(value) for value in metadata[stimulus]]
    return from_arrays(
        epochs.get_data(copy=False),
        ids,
        subject=subject,
        unit="V" if kinds == ["eeg"] else "T",
        kind="channels",
        names=epochs.ch_names,
        times_s=epochs.times,
        table=metadata,
    )


def from_images(
    images: Sequence[Any],
    events: Sequence[pd.DataFrame],
    mask: Any,
    *,
    repetition_time_s: float,
    stimulus: str = "trial_type",
    window_s: tuple[float, float] = (4.0, 8.0),
    subject: str = "subject",
) -> Trials:
    """Trials from BOLD runs: the mean of the volumes in a window after each event, percent of the voxel's run mean.

    A run's linear trend is removed first. For single-trial responses to fast designs, fit a GLM (e.g. GLMsingle) and
    pass its betas to `from_arrays`.

    Parameters
    ----------
    images : nibabel images (x, y, z, V), or their file names, one a run.
    events : per run a table with ``onset`` in s and the column ``stimulus``.
    mask : nibabel image or file name; voxels above 0 are used.
    repetition_time_s : seconds from volume to volume.
    stimulus : column with the stimulus ids.
    window_s : seconds after the onset, end excluded.
    subject : name of the subject.

    Raises
    ------
    DataError
        If runs and events differ in number, a grid is not the mask's, voxels are dead, or a window leaves its run.
    """
    from scipy.signal import detrend

    if len(images) != len(events):
        raise DataError(f"from_images: {len(images)} runs but {len(events)} tables of events")
    kept = np.asarray(_load(mask).dataobj) > 0
    index = np.argwhere(kept)
    signals, tables = [], []
    for run, (image, table) in enumerate(zip(images, events), start=1):
        volumes = _load(image)
        missing = [column for column in ("onset", stimulus) if column not in table.columns]
        if volumes.shape[:3] != kept.shape or len(volumes.shape) != 4 or missing:
            raise DataError(
                f"from_images: run {run} has volumes {volumes.shape} for a mask {kept.shape}, and its events lack "
                f"{missing}"
            )
        bold_vs = _masked(volumes, index).astype(np.float64)
        dead = ~np.isfinite(bold_vs).all(axis=0) | (np.ptp(bold_vs, axis=0) == 0) | (bold_vs.mean(axis=0) == 0)
        if dead.any():
            raise DataError(f"from_images: {int(dead.sum())} voxels of the mask are dead or not finite in run {run}")
        percent = 100 * detrend(bold_vs, axis=0) / bold_vs.mean(axis=0)
        start = np.ceil((table["onset"].to_numpy() + window_s[0]) / repetition_time_s - 1e-6).astype(int)
        end = np.ceil((table["onset"].to_numpy() + window_s[1]) / repetition_time_s - 1e-6).astype(int)
        if (start < 0).any() or (end > len(percent)).any() or (end <= start).any():
            raise DataError(
                f"from_images: the window {window_s} s after an event of run {run} holds no volume, or leaves "
                f"the run's {len(percent)}"
            )
        signals.append(np.stack([percent[a:b].mean(axis=0) for a, b in zip(start, end)]))
        tables.append(table.assign(run=run))
    joined = pd.concat(tables, ignore_index=True)
    trials = from_arrays(np.concatenate(signals), joined[stimulus].tolist(), subject=subject, unit="psc", table=joined)
    space = voxel_space(index, kept.shape, np.asarray(_load(mask).affine, dtype=np.float64))
    return Trials(subject=subject, signal=trials.signal, unit="psc", space=space, table=trials.table)


def _masked(image: Any, grid_index: np.ndarray) -> np.ndarray:
    """Float32 (V, S); of an image on disk, one volume at a time."""
    if image.get_filename() is not None and hasattr(image.dataobj, "slope"):
        return read_masked(Path(image.get_filename()), grid_index)
    x, y, z = grid_index.T
    return np.asarray(image.dataobj[x, y, z].T, dtype=np.float32)


def _load(image: Any) -> Any:
    import nibabel

    if hasattr(image, "dataobj"):
        return image
    with reading(Path(image), "NIfTI"):
        return nibabel.load(image)
