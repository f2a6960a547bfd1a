"""NSD's pictures, read by rows from the 39.6 GB file, and their COCO captions.

Legend: n pictures, H height, W width.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from braindec.datasets.files import need_file, reading
from braindec.datasets.nsd.layout import N_IMAGES, REMEDY
from braindec.types import DataError

KEY = "imgBrick"


class Hdf5Images:
    """Rows of an HDF5 picture array (total, H, W, 3) uint8, read when asked for; an `braindec.types.ImageArray`.

    Parameters
    ----------
    path : the file. It is opened for each read, so the object can be sent to worker processes.
    numbers : 0-based rows of the file that make up this array; None: all.
    key : name of the data set in the file.
    n_expected : rows that the whole file must have, or None.
    """

    def __init__(
        self, path: Path, numbers: np.ndarray | None = None, key: str = KEY, n_expected: int | None = N_IMAGES
    ) -> None:
        self.path = path
        self.key = key
        self.numbers = numbers
        self.n_expected = n_expected
        self._shape: tuple[int, ...] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, H, W, 3)."""
        if self._shape is None:
            import h5py

            need_file(self.path, "the stimulus pictures", REMEDY)
            with reading(self.path, "HDF5"), h5py.File(self.path, "r") as file:
                self._shape = self._checked(file)
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8."""
        return np.dtype(np.uint8)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Pictures uint8: (H, W, 3) for an int, (n, H, W, 3) for a slice, int indices or a boolean mask."""
        import h5py

        picked = np.arange(len(self))[rows]
        numbers = picked if self.numbers is None else self.numbers[picked]
        with reading(self.path, "HDF5"), h5py.File(self.path, "r") as file:
            stored = file[self.key]
            if numbers.ndim == 0:
                return np.asarray(stored[int(numbers)])
            # h5py wants increasing, distinct rows; ours may repeat and come in any order.
            distinct, back = np.unique(numbers, return_inverse=True)
            out = np.empty((len(distinct), *self.shape[1:]), dtype=np.uint8)
            for row, number in enumerate(distinct.tolist()):
                out[row] = stored[number]
        return out[back]

    def _checked(self, file: Any) -> tuple[int, ...]:
        if self.key not in file:
            raise DataError(f"{self.path}: expected the data set {self.key!r}, found {sorted(file)}")
        stored = file[self.key]
        total = stored.shape[0] if stored.ndim == 4 else 0
        if stored.ndim != 4 or stored.shape[3] != 3 or stored.dtype != np.uint8:
            raise DataError(f"{self.path}: expected uint8 pictures (n, H, W, 3), found {stored.dtype} {stored.shape}")
        if self.n_expected is not None and total != self.n_expected:
            raise DataError(f"{self.path}: expected {self.n_expected} pictures, found {total}")
        if self.numbers is not None and self.numbers.max(initial=0) >= total:
            raise DataError(f"{self.path}: has {total} pictures, row {int(self.numbers.max())} is asked for")
        return (total if self.numbers is None else len(self.numbers), *stored.shape[1:])


def read_captions(path: Path, info: pd.DataFrame, numbers: np.ndarray) -> tuple[tuple[str, ...], ...]:
    """Captions of the pictures ``numbers`` (0-based 73k).

    Parameters
    ----------
    path : a COCO ``captions_*.json``, or a folder that holds ``captions_train2017.json`` and ``captions_val2017.json``.
    info : `braindec.datasets.nsd.design.read_stim_info`'s table, for the picture's COCO id.

    Raises
    ------
    DataError
        If the files lack a caption for a picture.
    """
    names = ("captions_train2017.json", "captions_val2017.json")
    files = [path / name for name in names] if path.is_dir() else [path]
    by_image: dict[int, list[str]] = {}
    for file in files:
        need_file(file, "COCO captions", "download annotations_trainval2017.zip from cocodataset.org and unpack it")
        with reading(file, "JSON"):
            for entry in json.loads(file.read_text())["annotations"]:
                by_image.setdefault(int(entry["image_id"]), []).append(" ".join(str(entry["caption"]).split()))
    coco = dict(zip(info["nsdId"].to_numpy().tolist(), info["cocoId"].to_numpy().tolist()))
    lacking = [number for number in numbers.tolist() if coco.get(number) not in by_image]
    if lacking:
        raise DataError(
            f"{path}: no caption for {len(lacking)} of {len(numbers)} pictures, e.g. nsdId {lacking[0]} "
            f"(cocoId {coco.get(lacking[0])}); NSD draws from both train2017 and val2017"
        )
    return tuple(tuple(by_image[coco[number]]) for number in numbers.tolist())
