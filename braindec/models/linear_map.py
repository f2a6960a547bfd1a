"""A fitted linear decoder of one subject and one target: what it reads, its numbers, and its prediction.

Legend: N trials, S space, T time or targets, P features (S x T of the positions read), U distinct training stimuli,
Q maps, R rows of ``values``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from braindec.models.column_blocks import ColumnSink, TargetColumns, column_spans, stream_columns
from braindec.models.ridge import Precision, as_features, matmul_precision
from braindec.models.ridge_targets import ColumnStream, apply_maps
from braindec.types import DataError, Trials

MEMORY_MAP_BYTES = 2**28
"""Fitted arrays larger than this are written to files of the decoder's folder instead of memory."""


@dataclass(frozen=True)
class FeatureFrame:
    """Which part of a subject's signal a decoder reads.

    Attributes
    ----------
    n_space, n_times : sizes S and T of the signal it was fitted on.
    positions : int64, the positions of space that it reads.
    """

    n_space: int
    n_times: int
    positions: np.ndarray

    @classmethod
    def of(cls, trials: Trials, rois: Sequence[str] | None) -> FeatureFrame:
        """All of space, or the union of the named ROIs. Raises `DataError` on an unknown or empty ROI."""
        _, n_space, n_times = trials.signal.shape
        if rois is None:
            return cls(n_space, n_times, np.arange(n_space))
        unknown = [name for name in rois if name not in trials.rois]
        if unknown:
            raise DataError(f"subject {trials.subject!r} has no ROI {unknown}; it has {sorted(trials.rois)}")
        positions = np.flatnonzero(np.any([trials.rois[name] for name in rois], axis=0))
        if len(positions) == 0:
            raise DataError(f"subject {trials.subject!r}: the ROIs {list(rois)} are empty")
        return cls(n_space, n_times, positions)

    def features(self, trials: Trials) -> np.ndarray:
        """Float32 (N, P), time fastest. Raises `DataError` when the signal has another shape than in training."""
        found = trials.signal.shape[1:]
        if found != (self.n_space, self.n_times):
            raise DataError(
                f"signal of subject {trials.subject!r}: expected {self.n_space} positions x {self.n_times} time points "
                f"as in training, found {found[0]} x {found[1]}"
            )
        everything = len(self.positions) == self.n_space
        signal = trials.signal if everything else trials.signal[:, self.positions]
        return np.ascontiguousarray(signal).reshape(len(signal), -1)


@dataclass(frozen=True)
class LinearMap:
    """Predictions are ``(X - mean_P) A (values - centre_T) + intercept_T``, A by target; without maps, A is identity.

    The smaller of two forms is kept: weights (``values`` is (P, T), no maps), or maps from features to training
    stimuli and the training targets themselves.

    Attributes
    ----------
    maps_QPU : float (Q, P, U); Q = 0 for weights.
    map_of_T : int, the map of each target.
    values_RT : float (P or U, T), may be memory-mapped.
    shape_KD : tokens and dimensions of the target.
    """

    frame: FeatureFrame
    mean_P: np.ndarray
    maps_QPU: np.ndarray
    map_of_T: np.ndarray
    values_RT: np.ndarray
    centre_T: np.ndarray
    intercept_T: np.ndarray
    shape_KD: tuple[int, int]

    @classmethod
    def from_weights(
        cls, frame: FeatureFrame, mean_P: np.ndarray, weights_PT: np.ndarray, intercept_T: np.ndarray, shape_KD: tuple
    ) -> LinearMap:
        """The map ``(X - mean_P) weights_PT + intercept_T``."""
        n_targets = weights_PT.shape[1]
        no_maps = np.zeros((0, *weights_PT.shape[:1], 0), np.float32)
        nowhere = np.zeros(n_targets, np.int32)
        zero = np.zeros(n_targets, np.float32)
        return cls(frame, mean_P, no_maps, nowhere, weights_PT, zero, intercept_T, shape_KD)

    @classmethod
    def from_operators(
        cls,
        frame: FeatureFrame,
        mean_P: np.ndarray,
        stream: ColumnStream,
        operators: Mapping[float, torch.Tensor],
        keys_T: np.ndarray,
        shape_KD: tuple[int, int],
        path: Path,
    ) -> LinearMap:
        """From operators (P, U) by key, and the key of each target; large arrays go to ``path`` + a suffix."""
        n_features, n_rows, n_targets = len(mean_P), stream.system.n_rows, stream.n_columns
        kind = np.float64 if stream.system.dtype == torch.float64 else np.float32
        if n_features * n_targets <= n_rows * (len(operators) * n_features + n_targets):
            out = _place((n_features, n_targets), kind, path.with_name(path.name + "-weights.npy"))
            weights_PT = apply_maps(operators, keys_T, stream, False, out)
            return cls.from_weights(frame, mean_P, weights_PT, stream.means(), shape_KD)
        keys = sorted(operators)
        maps_QPU = np.stack([operators[key].cpu().numpy() for key in keys])
        values = _used_values(stream.target, path.with_name(path.name + "-targets.npy"))
        which = np.searchsorted(keys, keys_T).astype(np.int32)
        return cls(frame, mean_P, maps_QPU, which, values, stream.means(), stream.means(), shape_KD)

    def predict(self, trials: Trials, device: str, precision: Precision) -> np.ndarray:
        """Float32 (N, K, D)."""
        where = torch.device(device)
        dtype = torch.float64 if self.mean_P.dtype == np.float64 else torch.float32
        x_NP = as_features(self.frame.features(trials), f"signal of {trials.subject!r}", where, dtype)
        x_NP = x_NP - torch.tensor(self.mean_P, dtype=dtype, device=where)
        centre, intercept = (torch.tensor(a, dtype=dtype, device=where) for a in (self.centre_T, self.intercept_T))
        with matmul_precision("float32"):
            maps = [x_NP @ torch.tensor(a, dtype=dtype, device=where) for a in self.maps_QPU] or [x_NP]
        out = np.empty((len(x_NP), self.values_RT.shape[1]), np.float32)
        target = TargetColumns.whole("fitted values", self.values_RT)
        spans = column_spans(self.values_RT.shape[1], len(self.values_RT), self.values_RT.dtype.itemsize)
        with ColumnSink(out) as sink:
            for (start, stop), block in zip(spans, stream_columns(target, spans, where, dtype)):
                block -= centre[start:stop]
                result = block.new_empty(len(x_NP), stop - start)
                here = self.map_of_T[start:stop]
                for index in np.unique(here):
                    columns = torch.from_numpy(np.flatnonzero(here == index)).to(where)
                    part = block if len(columns) == stop - start else block[:, columns]
                    with matmul_precision(precision):
                        result[:, columns] = maps[index] @ part
                sink.write(start, stop, (result + intercept[start:stop]).float())
        return out.reshape(len(out), *self.shape_KD)

    def state(self) -> dict[str, np.ndarray]:
        """Flat named arrays for `from_state`."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("frame", "shape_KD")}
        sizes = np.array([self.frame.n_space, self.frame.n_times, *self.shape_KD], np.int64)
        return {**arrays, "positions": self.frame.positions, "sizes": sizes}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray]) -> LinearMap:
        """The map whose `state` this was. Raises `DataError` when an array is missing."""
        names = [f.name for f in fields(cls) if f.name not in ("frame", "shape_KD")]
        missing = sorted({*names, "positions", "sizes"} - set(state))
        if missing:
            raise DataError(f"state of a linear decoder: the arrays {missing} are missing; found {sorted(state)}")
        n_space, n_times, n_tokens, n_dims = (int(i) for i in state["sizes"])
        frame = FeatureFrame(n_space, n_times, state["positions"])
        return cls(frame=frame, shape_KD=(n_tokens, n_dims), **{name: state[name] for name in names})


def _place(shape: tuple[int, int], dtype: type, path: Path) -> np.ndarray:
    """An array to fill: in memory, or a new file when large."""
    if shape[0] * shape[1] * np.dtype(dtype).itemsize <= MEMORY_MAP_BYTES:
        return np.empty(shape, dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def _used_values(target: TargetColumns, path: Path) -> np.ndarray:
    """The used rows: a view when they are contiguous, else a copy."""
    runs = target.runs(0, len(target.rows))
    if len(runs) == 1:
        return target.values[runs[0][1] : runs[0][1] + runs[0][2]]
    out = _place((len(target.rows), target.values.shape[1]), target.values.dtype.type, path)
    for entry, row, length in runs:
        out[entry : entry + length] = target.values[row : row + length]
    return out
