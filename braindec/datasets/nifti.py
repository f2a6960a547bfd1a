"""Volumes of a NIfTI file, masked while they are read: memory holds one volume, never nibabel's float64 copy of all.

Legend: V volumes, S masked voxels, X Y Z grid.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from braindec.artifacts import atomic_write
from braindec.datasets.files import need_file, reading
from braindec.types import DataError, Space


def read_grid(path: Path, what: str, remedy: str) -> tuple[np.ndarray, np.ndarray]:
    """A volume (X, Y, Z) as stored, and its voxel-to-world matrix (4, 4), in mm.

    Raises
    ------
    DataError
        If the file is missing, cut, or has not three axes.
    """
    import nibabel

    need_file(path, what, remedy)
    with reading(path, "NIfTI"):
        image: Any = nibabel.load(path)
        values = np.asarray(image.dataobj)
    if values.ndim != 3:
        raise DataError(f"{path}: expected {what} of three axes, found shape {values.shape}")
    return values, np.asarray(image.affine, dtype=np.float64)


def n_volumes(path: Path, grid_shape: tuple[int, ...], what: str, remedy: str) -> int:
    """Number of volumes V of a file, whose grid must be ``grid_shape``. Reads the header only.

    Raises
    ------
    DataError
        If the file is missing or unreadable, or its grid is another one.
    """
    import nibabel

    need_file(path, what, remedy)
    with reading(path, "NIfTI"):
        shape = tuple(nibabel.load(path).shape)  # type: ignore[attr-defined]
    if len(shape) != 4 or shape[:3] != tuple(grid_shape):
        raise DataError(
            f"{path}: expected volumes of {tuple(grid_shape)} as the mask's, found {shape}; the mask or the volumes "
            "belong to another subject or preparation"
        )
    return int(shape[3])


def read_masked(path: Path, grid_index: np.ndarray) -> np.ndarray:
    """Float32 (V, S): the voxels ``grid_index`` int (S, 3) of every volume, scaled as the header says.

    Raises
    ------
    DataError
        If the file is cut; the message names the volume at which it ends.
    """
    with reading(path, "NIfTI"):
        flat: np.ndarray | None = None
        rows = []
        for volume in iterate_volumes(path):
            if flat is None:
                flat = np.ravel_multi_index(tuple(grid_index.T), volume.shape, order="F")
            rows.append(volume.ravel(order="F")[flat].astype(np.float32))
        return np.stack(rows)


def iterate_volumes(path: Path) -> Iterator[np.ndarray]:
    """The volumes (X, Y, Z) of a file one after the other, decoded as they are asked for.

    They have the stored type, or float32 where the header scales them. Use it inside `reading`, which names the file
    in the errors of the libraries.
    """
    import nibabel
    from nibabel.openers import ImageOpener

    image: Any = nibabel.load(path)
    # The proxy knows the offset and scale of the file; the loaded header has them reset.
    proxy = image.dataobj
    grid, count = proxy.shape[:3], int(np.prod(proxy.shape[3:]))
    n_bytes = int(np.prod(grid)) * proxy.dtype.itemsize
    slope, intercept = np.float32(proxy.slope), np.float32(proxy.inter)
    with ImageOpener(str(path)) as file:
        file.seek(int(proxy.offset))
        for volume in range(count):
            raw = file.read(n_bytes)
            if len(raw) != n_bytes:
                raise DataError(f"{path}: cut short in volume {volume + 1} of {count}; download it again")
            values = np.frombuffer(raw, dtype=proxy.dtype).reshape(grid, order="F")
            yield values if slope == 1 and intercept == 0 else values.astype(np.float32) * slope + intercept


def voxel_space(grid_index: np.ndarray, grid_shape: tuple[int, ...], affine: np.ndarray) -> Space:
    """The `Space` of voxels ``grid_index`` int (S, 3) of a grid whose matrix to the world is ``affine``, in mm."""
    return Space(
        kind="voxels",
        size=len(grid_index),
        positions_m=(grid_index @ affine[:3, :3].T + affine[:3, 3]) / 1000,
        grid_index=grid_index,
        grid_shape=(int(grid_shape[0]), int(grid_shape[1]), int(grid_shape[2])),
        affine=affine,
    )


def write_map(path: Path, values: np.ndarray, space: Space) -> Path:
    """Write float32 values (S,) or (S, T) at their voxels as NIfTI, 0 elsewhere; the file appears whole or not at all.

    Raises
    ------
    DataError
        If the space has no grid, or the number of values is not that of its positions.
    """
    import nibabel

    if space.grid_index is None or space.grid_shape is None or space.affine is None:
        raise DataError(f"{path}: a map of {space.kind} without a grid cannot be written as NIfTI")
    if len(values) != space.size:
        raise DataError(f"{path}: {len(values)} values for {space.size} {space.kind}")
    volume = np.zeros((*space.grid_shape, *values.shape[1:]), dtype=np.float32)
    volume[tuple(space.grid_index.T)] = values
    with atomic_write(path) as file:
        file.write(gzip.compress(nibabel.Nifti1Image(volume, space.affine).to_bytes(), mtime=0))
    return path
