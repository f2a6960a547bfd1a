"""A float32 array on disk, built block by block and then memory-mapped: resumable, atomic, bounded in memory.

A finished array is ``signal.npy`` beside ``manifest.json``; while it grows it is ``signal.partial.npy`` beside
``progress.json``. The final name appears only when every block is written, so a reader never sees half an array.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from braindec.contracts import Progress, no_progress
from braindec.types import DataError

FINAL, PARTIAL, MANIFEST, PROGRESS = "signal.npy", "signal.partial.npy", "manifest.json", "progress.json"


def memory_map(
    folder: Path,
    shape: tuple[int, ...],
    blocks: Sequence[tuple[int, int, Callable[[], np.ndarray]]],
    source: Mapping[str, Any],
    progress: Progress = no_progress,
    caption: str = "cache",
) -> np.ndarray:
    """The array (N, ...) float32, read-only and memory-mapped; built first where the folder lacks it.

    Parameters
    ----------
    folder : the array's own folder.
    shape : shape of the whole.
    blocks : (first row, end row, function that returns those rows); together they cover all N rows, in order.
    source : what the array is made of, JSON-able (file fingerprints, mask hash). A folder that was built, or begun,
        from another source is built anew.
    progress, caption : progress bar.

    Raises
    ------
    DataError
        If the blocks do not tile the rows, a block has another shape, or the disk is too small.
    """
    folder.mkdir(parents=True, exist_ok=True)
    expected = {"source": json.loads(json.dumps(dict(source))), "shape": list(shape), "dtype": "float32"}
    if _read(folder / MANIFEST) == expected and (folder / FINAL).is_file():
        return _open(folder / FINAL, shape)
    bounds = [row for start, end, _ in blocks for row in (start, end)]
    if bounds[0] != 0 or bounds[-1] != shape[0] or bounds[1:-1:2] != bounds[2::2]:
        raise DataError(f"{folder}: the cache's blocks must tile its {shape[0]} rows, found {bounds}")
    done = _begun(folder, expected)
    if not done:
        _reserve(folder, shape)
    array = np.lib.format.open_memmap(folder / PARTIAL, mode="r+")
    for start, end, fill in progress([b for b in blocks if b[0] not in done], caption):
        rows = fill()
        if rows.shape != (end - start, *shape[1:]):
            raise DataError(f"{folder}: block {start}:{end} must be {(end - start, *shape[1:])}, found {rows.shape}")
        array[start:end] = rows
        array.flush()
        done.append(start)
        write_json(folder / PROGRESS, {**expected, "done": done})
    del array
    os.replace(folder / PARTIAL, folder / FINAL)
    write_json(folder / MANIFEST, expected)
    (folder / PROGRESS).unlink(missing_ok=True)
    return _open(folder / FINAL, shape)


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that the file is either the old one or the whole new one."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(content, indent=1))
    os.replace(temporary, path)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _begun(folder: Path, expected: Mapping[str, Any]) -> list[int]:
    """First rows of the blocks that an interrupted build of the same source has written."""
    state = _read(folder / PROGRESS)
    if not isinstance(state, dict) or not (folder / PARTIAL).is_file():
        return []
    done = state.pop("done", [])
    return list(done) if state == expected else []


def _reserve(folder: Path, shape: tuple[int, ...]) -> None:
    import shutil

    needed = int(np.prod(shape)) * 4
    for name in (FINAL, PARTIAL, MANIFEST, PROGRESS):
        (folder / name).unlink(missing_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(f"{folder}: the cache needs {needed / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB free")
    np.lib.format.open_memmap(folder / PARTIAL, mode="w+", dtype=np.float32, shape=shape).flush()


def _open(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: the cache is not readable ({error}); delete its folder and prepare again") from error
    if array.shape != shape or array.dtype != np.float32:
        raise DataError(f"{path}: expected float32 {shape}, found {array.dtype} {array.shape}; delete its folder")
    return array
