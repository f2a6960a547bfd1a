"""Single-trial betas of one NSD session, masked while they are read.

The HDF5 file stores each voxel's 750 trials as one uncompressed chunk, so the cost of a read is the number of voxels
touched: we fetch the mask's chunks and nothing else. The NIfTI file is one gzip stream: we decode it volume by volume
and keep int16, so memory never holds the whole session, let alone nibabel's float64 copy of it.

Legend: N trials, S masked voxels, X Y Z grid.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from braindec.datasets.files import need_file, reading
from braindec.datasets.nsd.layout import BETA_SCALE, REMEDY
from braindec.types import DataError

KEY = "betas"
_SLAB_BYTES = 64 << 20


def read_hdf5(path: Path, grid_index: np.ndarray, grid_shape: Sequence[int], n_trials: int) -> np.ndarray:
    """Betas int16 (N, S) of the voxels ``grid_index`` int (S, 3), as stored (percent signal change x 300).

    The stored axes are (trial, z, y, x): reversed against the NIfTI grid.

    Raises
    ------
    DataError
        If the file is missing, cut, or its shape or type is not that of ``grid_shape`` (wrong subject).
    """
    import h5py

    need_file(path, "a session's betas", REMEDY)
    expected = (n_trials, *reversed(tuple(grid_shape)))
    with reading(path, "HDF5"), h5py.File(path, "r") as file:
        if KEY not in file:
            raise DataError(f"{path}: expected the data set {KEY!r}, found {sorted(file)}")
        stored = file[KEY]
        _check(path, stored.shape, stored.dtype, expected)
        if stored.chunks == (n_trials, 1, 1, 1):
            plain = not stored.id.get_create_plist().get_nfilters() and stored.dtype == np.dtype("<i2")
            return _read_chunks(stored, grid_index) if plain else _read_voxels(stored, grid_index)
        return _read_slabs(stored, grid_index)


def _read_chunks(stored: Any, grid_index: np.ndarray) -> np.ndarray:
    """Raw chunks, one a voxel; past h5py's selection machinery, which costs more than the read itself."""
    n_bytes = stored.shape[0] * 2
    out = np.empty((len(grid_index), stored.shape[0]), dtype="<i2")
    read = stored.id.read_direct_chunk
    for row, (x, y, z) in _in_file_order(grid_index):
        chunk = read((0, z, y, x))[1]
        if len(chunk) != n_bytes:
            raise DataError(f"{stored.file.filename}: voxel {(x, y, z)} has {len(chunk)} bytes, expected {n_bytes}")
        out[row] = np.frombuffer(chunk, dtype="<i2")
    return out.T.astype(np.int16, copy=False)


def _read_voxels(stored: Any, grid_index: np.ndarray) -> np.ndarray:
    out = np.empty((len(grid_index), stored.shape[0]), dtype=np.int16)
    for row, (x, y, z) in _in_file_order(grid_index):
        out[row] = stored[:, z, y, x]
    return out.T


def _in_file_order(grid_index: np.ndarray) -> Iterator[tuple[int, list[int]]]:
    # x runs fastest in the file: in this order each node of the chunk index is visited once.
    order = np.lexsort(grid_index.T)
    return zip(order.tolist(), grid_index[order].tolist())


def _read_slabs(stored: Any, grid_index: np.ndarray) -> np.ndarray:
    n_trials, *grid = stored.shape
    step = max(1, _SLAB_BYTES // (int(np.prod(grid)) * 2))
    x, y, z = grid_index.T
    out = np.empty((n_trials, len(grid_index)), dtype=np.int16)
    for start in range(0, n_trials, step):
        out[start : start + step] = stored[start : start + step][:, z, y, x]
    return out


def read_nifti(path: Path, grid_index: np.ndarray, grid_shape: Sequence[int], n_trials: int) -> np.ndarray:
    """Betas int16 (N, S) from a NIfTI file, streamed volume by volume; arguments and errors as in `read_hdf5`."""
    from nibabel.openers import ImageOpener

    need_file(path, "a session's betas", REMEDY)
    with reading(path, "NIfTI"):
        # The proxy knows the offset and scale of the file; the loaded header has them reset.
        proxy = _proxy(path)
        dtype = proxy.dtype
        _check(path, proxy.shape, dtype, (*grid_shape, n_trials))
        if proxy.slope != 1 or proxy.inter != 0:
            raise DataError(f"{path}: expected unscaled betas, found slope {proxy.slope} and intercept {proxy.inter}")
        flat = np.ravel_multi_index(tuple(grid_index.T), tuple(grid_shape), order="F")
        n_bytes = int(np.prod(grid_shape)) * dtype.itemsize
        out = np.empty((n_trials, len(flat)), dtype=np.int16)
        with ImageOpener(str(path)) as file:
            file.seek(int(proxy.offset))
            for trial in range(n_trials):
                raw = file.read(n_bytes)
                if len(raw) != n_bytes:
                    raise DataError(f"{path}: cut short in trial {trial + 1} of {n_trials}; download it again")
                out[trial] = np.frombuffer(raw, dtype=dtype)[flat]
    return out


def read_surface(paths: Sequence[Path], masks: Sequence[np.ndarray], n_trials: int) -> np.ndarray:
    """Betas float32 (N, S) in percent signal change from the two hemispheres' ``.mgh`` (vertex, 1, 1, trial)."""
    parts = []
    for path, mask in zip(paths, masks):
        need_file(path, "a hemisphere's betas", REMEDY)
        with reading(path, "MGH"):
            proxy = _proxy(path)
            if proxy.shape != (mask.size, 1, 1, n_trials):
                raise DataError(
                    f"{path}: expected {(mask.size, 1, 1, n_trials)} (vertex, 1, 1, trial), found {proxy.shape}; "
                    "is it of another surface or session?"
                )
            # The file is memory-mapped with the trial axis slowest: one contiguous read a trial.
            parts.append(np.stack([np.asarray(proxy[:, 0, 0, t], dtype=np.float32)[mask] for t in range(n_trials)]))
    return np.concatenate(parts, axis=1)


def _proxy(path: Path) -> Any:
    import nibabel

    image: Any = nibabel.load(path)
    return image.dataobj


def to_psc(stored: np.ndarray) -> np.ndarray:
    """Percent signal change, float32, from betas as stored: int16 is divided by 300, float is already in percent."""
    if stored.dtype == np.int16:
        return np.divide(stored, np.float32(BETA_SCALE), dtype=np.float32, order="C")
    return np.ascontiguousarray(stored, dtype=np.float32)


def _check(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], expected: tuple[int, ...]) -> None:
    if tuple(shape) != expected:
        raise DataError(
            f"{path}: expected betas of shape {expected} from the subject's mask, found {tuple(shape)}; the "
            "mask or the betas belong to another subject or preparation"
        )
    if dtype.kind != "i" or dtype.itemsize != 2:
        raise DataError(f"{path}: expected int16 betas (percent signal change x 300), found {dtype}")
