"""Targets that stream past a ridge system: predictions and weights, block of columns by block.

Legend: N training trials, P features, U distinct target rows (stimuli), T targets, B targets of one block, M test rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from braindec.models.column_blocks import ColumnSink, TargetColumns, column_spans, stream_columns
from braindec.models.ridge import RidgeSystem, hat, matmul_precision, operator
from braindec.types import DataError


@dataclass
class ColumnStream:
    """Centred blocks of one target array for one system; may stay on the device for a second pass.

    Attributes
    ----------
    group_width : blocks never cross a multiple of this number of columns.
    keep : hold the blocks on the device after the first pass.
    """

    system: RidgeSystem
    target: TargetColumns
    group_width: int | None = None
    keep: bool = False
    _kept: list[tuple[int, int, torch.Tensor, torch.Tensor]] = field(default_factory=list)
    _means_T: np.ndarray | None = None

    def __post_init__(self) -> None:
        if len(self.target.rows) != self.system.n_rows:
            raise DataError(
                f"target {self.target.name!r}: {len(self.target.rows)} rows for {self.system.n_rows} distinct "
                f"rows of the training trials"
            )

    @property
    def n_columns(self) -> int:
        """Number of targets T."""
        return int(self.target.values.shape[1])

    def __iter__(self) -> Iterator[tuple[int, int, torch.Tensor, torch.Tensor]]:
        """Yield (start, stop, block (U, B) minus mean, mean (B,)); `DataError` at the end if a value is not finite."""
        if self._kept:
            yield from self._kept
            return
        system = self.system
        seen: list[torch.Tensor] = []
        spans = column_spans(self.n_columns, system.n_rows, self.target.values.dtype.itemsize, self.group_width)
        kept = []
        for (start, stop), block in zip(spans, stream_columns(self.target, spans, system.device, system.dtype)):
            with matmul_precision("float32"):
                mean = system.counts_U @ block / len(system.position_N)
            seen.append(mean)
            if system.intercept:
                block -= mean
            else:
                mean = torch.zeros_like(mean)
            if self.keep:
                kept.append((start, stop, block, mean))
            yield start, stop, block, mean
        means_T = torch.cat(seen).cpu().numpy() if seen else np.zeros(0)
        bad = np.flatnonzero(~np.isfinite(means_T))
        if len(bad):
            raise DataError(
                f"target {self.target.name!r}: {len(bad)} of {self.n_columns} columns hold NaN or infinite values, "
                f"the first is column {bad[0]}; remove or repair them"
            )
        self._kept, self._means_T = kept, means_T if system.intercept else np.zeros_like(means_T)

    def means(self) -> np.ndarray:
        """Training mean of each target (T,), zeros without intercept; costs a pass if none was made."""
        if self._means_T is None:
            for _ in self:
                pass
        assert self._means_T is not None
        return self._means_T


def alpha_runs(alphas_T: np.ndarray, start: int, stop: int) -> list[tuple[float, slice | torch.Tensor]]:
    """The distinct alphas of columns start..stop, each with its columns counted from start."""
    here = alphas_T[start:stop]
    distinct = np.unique(here)
    if len(distinct) == 1:
        return [(float(distinct[0]), slice(None))]
    return [(float(alpha), torch.from_numpy(np.flatnonzero(here == alpha))) for alpha in distinct]


def apply_maps(
    maps: Mapping[float, torch.Tensor], alphas_T: np.ndarray, stream: ColumnStream, add_mean: bool, out: np.ndarray
) -> np.ndarray:
    """Multiply each target column by the map of its alpha, block by block, into ``out``.

    Parameters
    ----------
    maps : alpha -> (M, U).
    alphas_T : the alpha of each column.
    add_mean : add the column's training mean (predictions) or not (weights).
    out : float (M, T) host array.

    Returns
    -------
    ``out``.
    """
    n_out = len(next(iter(maps.values())))
    if out.shape != (n_out, stream.n_columns):
        raise DataError(f"out of {stream.target.name!r}: expected {(n_out, stream.n_columns)}, found {out.shape}")
    with ColumnSink(out) as sink:
        for start, stop, block, mean in stream:
            result = block.new_empty(n_out, stop - start)
            with matmul_precision(stream.system.precision):
                for alpha, run in alpha_runs(alphas_T, start, stop):
                    columns = run if isinstance(run, slice) else run.to(block.device)
                    result[:, columns] = maps[alpha] @ block[:, columns]
            sink.write(start, stop, result.add_(mean) if add_mean else result)
    return out


def predict(
    system: RidgeSystem,
    x_test: np.ndarray | torch.Tensor,
    streams: Sequence[ColumnStream],
    alphas: Mapping[str, float | np.ndarray],
    out: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Fit and predict in one pass over the targets.

    Parameters
    ----------
    x_test : (M, P).
    streams : one a target array.
    alphas : target name -> one alpha, or one a column (T,).
    out : target name -> host array (M, T) to write into; None allocates it.

    Returns
    -------
    Target name -> (M, T), float64 when the system is, else float32.
    """
    per_column = {s.target.name: columns_alpha(alphas[s.target.name], s.n_columns) for s in streams}
    maps = {
        float(alpha): hat(system, x_test, float(alpha)) for alpha in np.unique(np.concatenate([*per_column.values()]))
    }
    dtype = np.float64 if system.dtype == torch.float64 else np.float32
    predictions = {}
    for stream in streams:
        name = stream.target.name
        place = np.empty((len(x_test), stream.n_columns), dtype) if out is None else out[name]
        predictions[name] = apply_maps(maps, per_column[name], stream, True, place)
    return predictions


def columns_alpha(alpha: float | np.ndarray, n_columns: int) -> np.ndarray:
    """One alpha a column: float64 (T,)."""
    return np.broadcast_to(np.asarray(alpha, dtype=np.float64), (n_columns,))


def weights(
    system: RidgeSystem, stream: ColumnStream, alpha: float | np.ndarray, out: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (P, T) and intercepts (T,): predictions are ``X_test @ weights + intercepts``.

    ``out`` is a host array (P, T) to write the weights into, or None.
    """
    alphas_T = columns_alpha(alpha, stream.n_columns)
    maps = {float(a): operator(system, float(a)) for a in np.unique(alphas_T)}
    dtype = np.float64 if system.dtype == torch.float64 else np.float32
    place = np.empty((len(system.mean_P), stream.n_columns), dtype) if out is None else out
    apply_maps(maps, alphas_T, stream, False, place)
    intercepts = stream.means() - system.mean_P.cpu().numpy() @ place
    return place, intercepts.astype(dtype)
