"""A float32 array in memory or on disk, built block by block; on disk it is resumable, atomic and memory-mapped.

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
from braindec.datasets.files import bad_positions
from braindec.types import DataError

Block = tuple[int, int, Callable[[], np.ndarray]]
FINAL, PARTIAL, MANIFEST, PROGRESS = "signal.npy", "signal.partial.npy", "manifest.json", "progress.json"


def assemble(
    folder: Path | None,
    shape: tuple[int, ...],
    blocks: Sequence[Block],
    source: Mapping[str, Any],
    progress: Progress = no_progress,
    caption: str = "cache",
) -> tuple[np.ndarray, np.ndarray]:
    """The array (N, S, ...) float32, and boolean (S,) of its positions that are dead or not finite in some block.

    Parameters
    ----------
    folder : the array's own folder, from which it is memory-mapped read-only, built first where it lacks it; None: the
        array is read into memory.
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
    bounds = [row for start, end, _ in blocks for row in (start, end)]
    if not bounds or bounds[0] != 0 or bounds[-1] != shape[0] or bounds[1:-1:2] != bounds[2::2]:
        raise DataError(f"{caption}: the blocks must tile the {shape[0]} rows, found {bounds}")
    bad = np.zeros(shape[1], dtype=bool)
    if folder is None:
        array = np.empty(shape, dtype=np.float32)
        for start, end, fill in progress(blocks, caption):
            array[start:end] = _checked(caption, shape, start, end, fill)
            bad |= bad_positions(array[start:end])
        return array, bad
    folder.mkdir(parents=True, exist_ok=True)
    expected = {"source": json.loads(json.dumps(dict(source))), "shape": list(shape), "dtype": "float32"}
    manifest = _read(folder / MANIFEST)
    if not _is_of(manifest, expected) or not (folder / FINAL).is_file():
        manifest = _build(folder, shape, blocks, expected, progress, caption)
    bad[manifest["bad"]] = True
    return _open(folder / FINAL, shape), bad


def finished(folder: Path, source: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """What `assemble` would return from a finished array of this source; None when there is none."""
    manifest = _read(folder / MANIFEST)
    if not _is_of(manifest, {"source": json.loads(json.dumps(dict(source)))}) or not (folder / FINAL).is_file():
        return None
    array = _open(folder / FINAL, tuple(manifest["shape"]))
    bad = np.zeros(array.shape[1], dtype=bool)
    bad[manifest["bad"]] = True
    return array, bad


def _build(
    folder: Path,
    shape: tuple[int, ...],
    blocks: Sequence[Block],
    expected: Mapping[str, Any],
    progress: Progress,
    caption: str,
) -> dict[str, Any]:
    state = _read(folder / PROGRESS)
    if not _is_of(state, expected) or not (folder / PARTIAL).is_file():
        _reserve(folder, shape)
        state = {**expected, "done": [], "bad": []}
    array = np.lib.format.open_memmap(folder / PARTIAL, mode="r+")
    for start, end, fill in progress([b for b in blocks if b[0] not in state["done"]], caption):
        rows = _checked(caption, shape, start, end, fill)
        array[start:end] = rows
        array.flush()
        bad = set(state["bad"]) | set(np.flatnonzero(bad_positions(rows)).tolist())
        state = {**expected, "done": [*state["done"], start], "bad": sorted(bad)}
        write_json(folder / PROGRESS, state)
    del array
    os.replace(folder / PARTIAL, folder / FINAL)
    manifest = {**expected, "bad": state["bad"]}
    write_json(folder / MANIFEST, manifest)
    (folder / PROGRESS).unlink(missing_ok=True)
    return manifest


def _checked(caption: str, shape: tuple[int, ...], start: int, end: int, fill: Callable[[], np.ndarray]) -> np.ndarray:
    rows = fill()
    if rows.shape != (end - start, *shape[1:]):
        raise DataError(f"{caption}: block {start}:{end} must be {(end - start, *shape[1:])}, found {rows.shape}")
    return rows


def _is_of(content: Any, expected: Mapping[str, Any]) -> bool:
    return isinstance(content, dict) and all(content.get(key) == value for key, value in expected.items())


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
