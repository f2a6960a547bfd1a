"""Target columns that travel from host memory to a device, and predictions that travel back, in blocks.

Legend: U distinct rows of a target array, T targets (its columns), B columns of one block, M predicted rows.

On CUDA three pinned buffers are filled by copy threads while the copy engine sends an earlier one and the compute
stream works on one earlier still, so the time to stream an array is that of the slowest of the three.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import torch

from braindec.types import DataError

BLOCK_BYTES = 64 * 2**20
N_BUFFERS = 3


@dataclass(frozen=True)
class TargetColumns:
    """A target array of which some rows are used.

    Attributes
    ----------
    name : named in errors.
    values : float16, float32 or float64 (rows, T), may be memory-mapped.
    rows : int (U,), the rows in use; row u of every block is ``values[rows[u]]``.
    """

    name: str
    values: np.ndarray
    rows: np.ndarray

    def __post_init__(self) -> None:
        if self.values.ndim != 2:
            raise DataError(f"target {self.name!r}: expected (row, target), found shape {self.values.shape}")
        if self.values.dtype not in (np.float16, np.float32, np.float64):
            raise DataError(f"target {self.name!r}: expected float16, float32 or float64, found {self.values.dtype}")
        if len(self.rows) and not (self.rows.min() >= 0 and self.rows.max() < len(self.values)):
            raise DataError(
                f"target {self.name!r}: rows {self.rows.min()} to {self.rows.max()} are used but values has "
                f"{len(self.values)}"
            )

    @classmethod
    def whole(cls, name: str, values: np.ndarray) -> TargetColumns:
        """All rows of ``values``, in order."""
        return cls(name, values, np.arange(len(values)))

    def runs(self, start: int, stop: int) -> list[tuple[int, int, int]]:
        """Entries start..stop of ``rows`` as (first entry, first row of ``values``, length) of contiguous runs."""
        rows = self.rows[start:stop]
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        edges = [0, *breaks.tolist(), len(rows)]
        return [(start + a, int(rows[a]), b - a) for a, b in itertools.pairwise(edges) if b > a]


def column_spans(n_columns: int, n_rows: int, itemsize: int, group_width: int | None = None) -> list[tuple[int, int]]:
    """Column ranges of about ``BLOCK_BYTES``, none of which crosses a multiple of ``group_width``."""
    group_width = n_columns if group_width is None else group_width
    width = max(256, BLOCK_BYTES // max(1, n_rows * itemsize) // 256 * 256)
    spans = []
    for group in range(0, n_columns, group_width):
        end = min(group + group_width, n_columns)
        spans += [(a, min(a + width, end)) for a in range(group, end, width)]
    return spans


def stream_columns(
    target: TargetColumns, spans: list[tuple[int, int]], device: torch.device, dtype: torch.dtype
) -> Iterator[torch.Tensor]:
    """Yield the blocks (U, B) of the given column ranges on ``device``, in order, each a tensor of its own."""
    if device.type != "cuda":
        for start, stop in spans:
            block = np.empty((len(target.rows), stop - start), target.values.dtype)
            _fill(target, start, stop, block, 0, len(target.rows))
            yield torch.from_numpy(block).to(device=device, dtype=dtype)
        return
    with _PinnedFeed(target, spans) as feed:
        stream, current = torch.cuda.Stream(device), torch.cuda.current_stream(device)
        computing: list[torch.cuda.Event] = []
        for index in range(len(spans)):
            staged = feed.ready(index)
            with torch.cuda.stream(stream):
                sent = staged.to(device, non_blocking=True)
                feed.sent(index, stream.record_event())
            current.wait_stream(stream)
            sent.record_stream(current)
            yield sent.to(dtype)
            # Blocks whose computation has not ended hold memory: a host far ahead would fill the device.
            computing.append(current.record_event())
            if len(computing) > N_BUFFERS:
                computing.pop(0).synchronize()


def _fill(target: TargetColumns, start: int, stop: int, out: np.ndarray, first: int, last: int) -> None:
    """Copy columns start..stop of the used rows first..last into the same rows of ``out``."""
    for entry, row, length in target.runs(first, last):
        np.copyto(out[entry : entry + length], target.values[row : row + length, start:stop])


def _copy_threads() -> int:
    return max(1, min(8, (os.cpu_count() or 2) // 2))


class _PinnedFeed:
    """Fills pinned buffers ahead of their use; a buffer is refilled only after its transfer has ended."""

    def __init__(self, target: TargetColumns, spans: list[tuple[int, int]]) -> None:
        self.target, self.spans = target, spans
        n_rows, widest = len(target.rows), max((b - a for a, b in spans), default=0)
        kind = torch.from_numpy(np.empty(0, target.values.dtype)).dtype
        self.buffers = [torch.empty(n_rows * widest, dtype=kind, pin_memory=True) for _ in range(N_BUFFERS)]
        self.transfers: dict[int, torch.cuda.Event] = {}
        self.filling: dict[int, list[Future[None]]] = {}
        self.n_threads = _copy_threads()
        self.pool = ThreadPoolExecutor(self.n_threads, thread_name_prefix="columns")

    def __enter__(self) -> _PinnedFeed:
        for index in range(min(N_BUFFERS - 1, len(self.spans))):
            self._start(index)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)

    def _view(self, index: int) -> torch.Tensor:
        start, stop = self.spans[index]
        n_rows = len(self.target.rows)
        return self.buffers[index % N_BUFFERS][: n_rows * (stop - start)].view(n_rows, stop - start)

    def _start(self, index: int) -> None:
        earlier = self.transfers.pop(index - N_BUFFERS, None)
        if earlier is not None:
            earlier.synchronize()
        out = self._view(index).numpy()
        edges = np.linspace(0, len(out), self.n_threads + 1).astype(int)
        self.filling[index] = [
            self.pool.submit(_fill, self.target, *self.spans[index], out, int(a), int(b))
            for a, b in itertools.pairwise(edges)
        ]

    def ready(self, index: int) -> torch.Tensor:
        """The filled buffer of a block."""
        for part in self.filling.pop(index):
            part.result()
        return self._view(index)

    def sent(self, index: int, transfer: torch.cuda.Event) -> None:
        """Note the transfer of a block and start filling a later one."""
        self.transfers[index] = transfer
        if index + N_BUFFERS - 1 < len(self.spans):
            self._start(index + N_BUFFERS - 1)


class ColumnSink:
    """Writes device blocks into columns of a host array, behind the computation; leave its context to finish.

    Parameters
    ----------
    out : float array (M, T) in host memory, may be memory-mapped.
    """

    def __init__(self, out: np.ndarray) -> None:
        self.out = out
        self.writing: list[Future[None]] = []
        self.pool = ThreadPoolExecutor(max(1, _copy_threads() // 2), thread_name_prefix="predictions")

    def __enter__(self) -> ColumnSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pool.shutdown(wait=True, cancel_futures=kind is not None)
        if kind is None:
            for part in self.writing:
                part.result()

    def write(self, start: int, stop: int, block: torch.Tensor) -> None:
        """Put ``block`` (M, B) into columns start..stop."""
        if block.device.type != "cuda":
            self.out[:, start:stop] = block.numpy()
            return
        while len(self.writing) > 2 * N_BUFFERS:
            self.writing.pop(0).result()
        staged = torch.empty(block.shape, dtype=block.dtype, pin_memory=True)
        staged.copy_(block, non_blocking=True)
        arrived = torch.cuda.current_stream(block.device).record_event()
        self.writing.append(self.pool.submit(self._land, start, stop, staged, arrived))

    def _land(self, start: int, stop: int, staged: torch.Tensor, arrived: torch.cuda.Event) -> None:
        arrived.synchronize()
        np.copyto(self.out[:, start:stop], staged.numpy(), casting="same_kind")
