"""What was recorded: trials or runs of a subject, their space, and their partition.

Legend: N trials, V scans of a run, S positions in space (voxels, parcels, vertices, channels), T time points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd

from braindec.types.errors import DataError
from braindec.types.rows import row_numbers

Unit = Literal["psc", "V", "T", "z"]
SpaceKind = Literal["voxels", "parcels", "vertices", "channels"]

TRIAL_COLUMNS = ("stimulus_id", "concept", "session", "run", "repetition", "split")


@dataclass(frozen=True)
class Space:
    """The axis S of a recording.

    Attributes
    ----------
    kind : what one position is.
    size : number of positions S.
    names : one name a position (channel or parcel names), or None.
    positions_m : float (S, 3), metres in head or scanner coordinates, or None.
    grid_index : int (S, 3), 0-based voxel indices into ``grid_shape``, or None.
    grid_shape, affine : shape and voxel-to-world matrix (4, 4) of the volume.
    """

    kind: SpaceKind
    size: int
    names: tuple[str, ...] | None = None
    positions_m: np.ndarray | None = None
    grid_index: np.ndarray | None = None
    grid_shape: tuple[int, int, int] | None = None
    affine: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name, value in (
            ("names", self.names),
            ("positions_m", self.positions_m),
            ("grid_index", self.grid_index),
        ):
            if value is not None and len(value) != self.size:
                raise DataError(f"Space.{name}: expected {self.size} entries (size), found {len(value)}")

    def select(self, positions: np.ndarray) -> Space:
        """Keep the given positions: int indices or a boolean mask over S."""
        kept = row_numbers(positions)
        return replace(
            self,
            size=len(kept),
            names=None if self.names is None else tuple(self.names[i] for i in kept),
            positions_m=None if self.positions_m is None else self.positions_m[kept],
            grid_index=None if self.grid_index is None else self.grid_index[kept],
        )


@dataclass(frozen=True)
class Trials:
    """All trials of one subject.

    Attributes
    ----------
    subject : e.g. ``"subj01"``.
    signal : float32 (N, S, T), may be memory-mapped; betas have T = 1.
    unit : ``psc`` percent signal change, ``V`` volt, ``T`` tesla, ``z`` standardised.
    space : what the axis S is.
    rois : name -> boolean mask (S,).
    times_s : float (T,), seconds from stimulus onset, or None when T = 1 has no time.
    table : one row a trial, in the order of ``signal``; columns ``TRIAL_COLUMNS``
        (``split`` holds the data set's own partition: train, validation, test, unused).
    noise_ceiling : float (S,), noise-ceiling SNR per position (NSD's ncsnr), or None.
    """

    subject: str
    signal: np.ndarray
    unit: Unit
    space: Space
    table: pd.DataFrame
    rois: Mapping[str, np.ndarray] = field(default_factory=dict)
    times_s: np.ndarray | None = None
    noise_ceiling: np.ndarray | None = None

    def __post_init__(self) -> None:
        where = f"Trials of subject {self.subject!r}"
        if self.signal.ndim != 3:
            raise DataError(f"{where}: signal must be (trial, space, time), found shape {self.signal.shape}")
        if self.signal.dtype != np.float32:
            raise DataError(f"{where}: signal must be float32, found {self.signal.dtype}")
        n_trials, n_space, n_times = self.signal.shape
        if len(self.table) != n_trials:
            raise DataError(f"{where}: {n_trials} trials in signal but {len(self.table)} rows in table")
        if self.space.size != n_space:
            raise DataError(f"{where}: {n_space} positions in signal but space.size is {self.space.size}")
        missing = [c for c in TRIAL_COLUMNS if c not in self.table.columns]
        if missing:
            raise DataError(f"{where}: table lacks the columns {missing}")
        if self.times_s is not None and len(self.times_s) != n_times:
            raise DataError(f"{where}: {n_times} time points in signal but {len(self.times_s)} in times_s")
        for name, mask in self.rois.items():
            if mask.dtype != bool or mask.shape != (n_space,):
                raise DataError(f"{where}: roi {name!r} must be a boolean mask of shape ({n_space},)")
        if self.noise_ceiling is not None and self.noise_ceiling.shape != (n_space,):
            raise DataError(f"{where}: noise_ceiling must have shape ({n_space},)")

    def __len__(self) -> int:
        return len(self.table)

    def select(self, rows: np.ndarray) -> Trials:
        """Keep the given trials (int indices, or a boolean mask over N), in that order."""
        kept = row_numbers(rows)
        return replace(self, signal=self.signal[kept], table=self.table.iloc[kept].reset_index(drop=True))

    def select_space(self, positions: np.ndarray) -> Trials:
        """Keep the given positions of space (int indices, or a boolean mask over S)."""
        kept = row_numbers(positions)
        return replace(
            self,
            signal=self.signal[:, kept],
            space=self.space.select(kept),
            rois={name: mask[kept] for name, mask in self.rois.items()},
            noise_ceiling=None if self.noise_ceiling is None else self.noise_ceiling[kept],
        )


@dataclass(frozen=True)
class Series:
    """One run of scans in a row, of which nobody says what was shown: what encoders are pre-trained on.

    Attributes
    ----------
    subject, run : whose, and the run's name, unique for the subject.
    signal : float32 (V, S), scans x positions.
    space : what the axis S is.
    repetition_time_s : seconds from scan to scan.
    holds_test : whether test trials lie in this run; such a run is never trained on.
    """

    subject: str
    run: str
    signal: np.ndarray
    space: Space
    repetition_time_s: float
    holds_test: bool = False

    def __post_init__(self) -> None:
        where = f"Series {self.run!r} of subject {self.subject!r}"
        if self.signal.ndim != 2 or self.signal.dtype != np.float32:
            raise DataError(
                f"{where}: signal must be float32 (scan, space), found {self.signal.dtype} {self.signal.shape}"
            )
        if self.signal.shape[1] != self.space.size:
            raise DataError(f"{where}: {self.signal.shape[1]} positions in signal but space.size is {self.space.size}")
        if self.repetition_time_s <= 0:
            raise DataError(f"{where}: repetition_time_s must be positive, found {self.repetition_time_s}")


@dataclass(frozen=True)
class Fold:
    """One partition of a subject's trials into rows of its table; ``unused`` rows are in none of the three.

    ``allow_leak`` is the reason for which the leak check may let this partition pass (e.g. repetitions of one
    stimulus on both sides, by design); it is stamped on every result. None: no exception.
    """

    name: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    allow_leak: str | None = None

    def __post_init__(self) -> None:
        parts = (self.train, self.validation, self.test)
        joined = np.concatenate(parts)
        if len(np.unique(joined)) != len(joined):
            raise DataError(f"Fold {self.name!r}: a trial is in more than one of train, validation and test")
        if len(self.train) == 0 or len(self.test) == 0:
            raise DataError(f"Fold {self.name!r}: {len(self.train)} training and {len(self.test)} test trials")
