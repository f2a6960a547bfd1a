"""Rows of arrays that are too large for a device: read ahead by threads into pinned memory, uploaded beside the step.

Legend: N rows of an array, B rows of a batch.
"""

from __future__ import annotations

import itertools
import mmap
import os
import queue
import threading
from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch

from braindec.types import DataError

PREFETCHED_BATCHES = 3
READERS = 4
"""Threads that copy rows of one batch; copying lets other threads run."""

T = TypeVar("T")


class RowReader:
    """Copies rows of an array (N, ...).

    A whole memory map of a file is read by position instead of through its pages: the process's resident memory then
    does not grow with what was read, and a row costs one call rather than a fault a page.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self._file = None
        if isinstance(values, np.memmap) and isinstance(values.base, mmap.mmap) and values.flags.c_contiguous:
            self._file = open(str(values.filename), "rb", buffering=0)  # noqa: SIM115 - as long as the array is in use

    def copy(self, rows_B: np.ndarray, out_B: np.ndarray) -> None:
        """Copy rows into ``out_B`` (B, ...) of the same type.

        Raises
        ------
        DataError
            If the file ends before a row does.
        """
        if self._file is None:
            np.take(self.values, rows_B, axis=0, out=out_B, mode="clip")
            return
        start, row_bytes = int(self.values.offset), self.values[0].nbytes
        bytes_B = out_B.reshape(len(rows_B), -1).view(np.uint8)
        for position in np.argsort(rows_B, kind="stable"):
            found = os.preadv(self._file.fileno(), [bytes_B[position]], start + int(rows_B[position]) * row_bytes)
            if found != row_bytes:
                raise DataError(
                    f"{self._file.name}: row {rows_B[position]} should have {row_bytes} bytes, found {found}; the file "
                    "was cut since it was opened: make it anew"
                )

    def rows(self, rows_B: np.ndarray) -> np.ndarray:
        """Rows in an array of their own."""
        out_B = np.empty((len(rows_B), *self.values.shape[1:]), dtype=self.values.dtype)
        self.copy(rows_B, out_B)
        return out_B


def prefetched(items: Iterable[T]) -> Generator[T, None, None]:
    """The same items, made ahead by a thread; an exception of the thread is raised here."""
    waiting: queue.Queue[tuple[T | None, BaseException | None] | None] = queue.Queue(PREFETCHED_BATCHES)
    stop = threading.Event()

    def put(entry: tuple[T | None, BaseException | None] | None) -> bool:
        while not stop.is_set():
            try:
                waiting.put(entry, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    break
            else:
                put(None)
        except BaseException as error:  # handed to the consumer, which raises it
            put((None, error))
        finally:
            if isinstance(items, Generator):
                items.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (entry := waiting.get()) is not None:
            item, error = entry
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()


class _Slot:
    """Pinned memory of one batch, free again when its upload is over."""

    def __init__(self) -> None:
        self.buffers: dict[str, torch.Tensor] = {}
        self.uploaded: torch.cuda.Event | None = None

    def buffer(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> torch.Tensor:
        """Memory for one array's rows."""
        if name not in self.buffers or tuple(self.buffers[name].shape) != shape:
            like = torch.from_numpy(np.empty(0, dtype=dtype))
            self.buffers[name] = torch.empty(shape, dtype=like.dtype, pin_memory=True)
        return self.buffers[name]


def uploaded(
    readers: Mapping[str, RowReader], plan: Iterable[Mapping[str, np.ndarray]], device: torch.device
) -> Generator[dict[str, torch.Tensor], None, None]:
    """Rows of named arrays on a GPU, one mapping for each of ``plan``; copies run beside the computation."""
    for tensors, event in prefetched(_uploads(readers, plan, device)):
        current = torch.cuda.current_stream(device)
        current.wait_event(event)
        for tensor in tensors.values():
            tensor.record_stream(current)
        yield tensors


def _uploads(
    readers: Mapping[str, RowReader], plan: Iterable[Mapping[str, np.ndarray]], device: torch.device
) -> Generator[tuple[dict[str, torch.Tensor], torch.cuda.Event], None, None]:
    stream = torch.cuda.Stream(device)
    slots = [_Slot() for _ in range(PREFETCHED_BATCHES + 1)]
    with ThreadPoolExecutor(READERS) as pool:
        for number, chosen in enumerate(plan):
            slot = slots[number % len(slots)]
            if slot.uploaded is not None:
                slot.uploaded.synchronize()
            for name, rows_B in chosen.items():
                values = readers[name].values
                buffer = slot.buffer(name, (len(rows_B), *values.shape[1:]), values.dtype)
                copy_parts(pool, readers[name], rows_B, buffer.numpy())
            with torch.cuda.stream(stream):
                tensors = {name: slot.buffers[name].to(device, non_blocking=True) for name in chosen}
                event = torch.cuda.Event()
                event.record(stream)
            slot.uploaded = event
            yield tensors, event


def copy_parts(pool: ThreadPoolExecutor, reader: RowReader, rows_B: np.ndarray, out_B: np.ndarray) -> None:
    """Copy rows by several threads, each a part of them."""
    edges = np.linspace(0, len(rows_B), READERS + 1).astype(int)
    parts = [slice(a, b) for a, b in itertools.pairwise(edges) if b > a]
    for _ in pool.map(lambda part: reader.copy(rows_B[part], out_B[part]), parts):
        pass
