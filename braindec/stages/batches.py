"""Work through items in batches that shrink when the device's memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch

from braindec.types import DataError

log = logging.getLogger(__name__)

Made = TypeVar("Made")


def in_batches(
    n: int,
    batch_size: int,
    work: Callable[[np.ndarray, int], Made],
    stage: str,
    halved: Callable[[int], None] | None = None,
) -> list[Made]:
    """Results of ``work(rows, size)`` over rows 0..n-1 in order, at most ``size`` rows at a time.

    A batch that is too large for the device's memory is halved from there on, and a warning says so.

    Parameters
    ----------
    halved : told the size that is gone on with, so that the next call need not find it out by failing again.

    Raises
    ------
    DataError
        If a single item does not fit, or the batch size is below 1.
    """
    if batch_size < 1:
        raise DataError(f"stage {stage}: expected batch_size >= 1, found {batch_size}")
    made = []
    start, size = 0, batch_size
    while start < n:
        rows = np.arange(start, min(start + size, n))
        try:
            made.append(work(rows, size))
        except torch.OutOfMemoryError as error:
            size = _halved(len(rows), stage, error)
            if halved is not None:
                halved(size)
        else:
            start += len(rows)
            continue
        # Outside of the except clause: while the error lives, so do the tensors of its traceback.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return made


def with_smaller_batches(network: Any, work: Callable[[], Made], stage: str) -> Made:
    """What ``work`` returns, of a network that goes through its stimuli by batches of its own.

    Its ``batch_size`` is halved until the work fits into the device's memory, and a warning says so.

    Raises
    ------
    DataError
        If a single item does not fit.
    """
    while True:
        try:
            return work()
        except torch.OutOfMemoryError as error:
            network.batch_size = _halved(getattr(network, "batch_size", 1), stage, error)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _halved(size: int, stage: str, error: torch.OutOfMemoryError) -> int:
    if size == 1:
        raise DataError(
            f"stage {stage}: one item does not fit into the device's memory ({str(error).splitlines()[0]}); "
            "use dtype: bfloat16, or a device with more memory"
        ) from error
    log.warning("stage %s: out of memory with %d items at a time; going on with %d", stage, size, size // 2)
    return size // 2
