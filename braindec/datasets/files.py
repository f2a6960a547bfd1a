"""What every reader needs: find files, read tables, name bad values, fingerprint data, read pictures lazily."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from braindec.types import DataError

BadPositions = Literal["raise", "drop"]
_EDGE_BYTES = 1 << 16


def need_file(path: Path, what: str, remedy: str) -> Path:
    """``path``, which must be a file; else `DataError` saying what it is and what to do."""
    if not path.is_file():
        raise DataError(f"{path}: {what} is missing; {remedy}")
    return path


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turn any failure of a third-party reader into one `DataError` that names the file.

    File libraries raise many unrelated types on foreign or cut bytes, some derived from Exception directly.
    """
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path}: not a readable {kind} file, or truncated ({type(error).__name__}: {text}); download it again"
        ) from error


def read_table(path: Path, columns: Sequence[str], what: str, remedy: str, separator: str = "\t") -> pd.DataFrame:
    """A text table with a header line that has at least ``columns``."""
    need_file(path, what, remedy)
    with reading(path, "text table"):
        table = pd.read_csv(path, sep=separator)
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise DataError(f"{path}: expected the columns {list(columns)}, found no {missing}; is this {what}?")
    return table


def number_repetitions(ids: Sequence[Hashable]) -> np.ndarray:
    """0-based number of the showing of each entry, in order of presentation; int64 of the length of ``ids``."""
    return pd.Series(list(ids), dtype=object).groupby(list(ids)).cumcount().to_numpy(dtype=np.int64)


def bad_positions(signal: np.ndarray) -> np.ndarray:
    """Boolean (S,): positions of ``signal`` (N, S, ...) that hold a non-finite value or never vary over axis 0."""
    rest = tuple(axis for axis in range(signal.ndim) if axis != 1)
    if signal.dtype.kind == "f":
        low, high = signal.min(axis=rest), signal.max(axis=rest)  # a NaN or an infinity survives min and max
        return ~(np.isfinite(low) & np.isfinite(high) & (high > low))
    return signal.max(axis=rest) == signal.min(axis=rest)


def check_positions(
    bad: np.ndarray, where: str, kind: str, names: Sequence[str] | None, policy: BadPositions
) -> np.ndarray:
    """Boolean (S,) of the positions to keep.

    Raises
    ------
    DataError
        If some are bad and ``policy`` is ``"raise"``, or none is left.
    """
    if bad.any() and policy == "raise":
        first = np.flatnonzero(bad)[:5]
        listed = [names[i] for i in first] if names is not None else first.tolist()
        raise DataError(
            f"{where}: {int(bad.sum())} of {bad.size} {kind} are dead or not finite (constant over the recording, NaN "
            f"or infinite), e.g. {listed}; check the file and the mask, or set bad_positions=drop to leave them out"
        )
    if bad.all():
        raise DataError(f"{where}: all {bad.size} {kind} are dead or not finite; the file holds no signal")
    return ~bad


def fingerprint(paths: Iterable[Path], extra: str = "") -> str:
    """12 hexadecimal digits that change with the files' names, sizes, or first and last 64 KiB.

    Raises
    ------
    DataError
        If a file is missing.
    """
    digest = hashlib.sha256(extra.encode())
    for path in sorted(paths):
        need_file(path, "a file of the data set", "download it, or set the data set's root to where it lies")
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}".encode())
        with path.open("rb") as file:
            digest.update(file.read(_EDGE_BYTES))
            if size > _EDGE_BYTES:
                file.seek(-min(_EDGE_BYTES, size - _EDGE_BYTES), os.SEEK_END)
                digest.update(file.read(_EDGE_BYTES))
    return digest.hexdigest()[:12]


class ImageFiles:
    """Pictures of a data set, decoded when asked for: an `braindec.types.ImageArray` over image files.

    Parameters
    ----------
    paths : one file a stimulus.
    size_px : every picture is resized (bicubic) to ``size_px`` x ``size_px``; None: all must have the first's size.
    """

    def __init__(self, paths: Sequence[Path], size_px: int | None = None) -> None:
        self.paths = tuple(paths)
        self.size_px = size_px
        self._shape: tuple[int, int, int, int] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, H, W, 3)."""
        if self._shape is None:
            if self.size_px is not None:
                height = width = self.size_px
            else:
                height, width = self._read(0).shape[:2]
            self._shape = (len(self.paths), height, width, 3)
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8."""
        return np.dtype(np.uint8)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Pictures uint8: (H, W, 3) for an int, (n, H, W, 3) for a slice, int indices or a boolean mask."""
        picked = np.arange(len(self.paths))[rows]
        if picked.ndim == 0:
            return self._checked(int(picked))
        out = np.empty((len(picked), *self.shape[1:]), dtype=np.uint8)
        for i, row in enumerate(picked):
            out[i] = self._checked(int(row))
        return out

    def digests(self, rows: np.ndarray) -> np.ndarray:
        """SHA-256 of each file and of the size it is brought to, uint8 (len(rows), 32); nothing is decoded."""
        digests = np.empty((len(rows), 32), dtype=np.uint8)
        for i, row in enumerate(rows):
            path = need_file(self.paths[row], "a stimulus picture", "restore it from the data set's image archive")
            content = f"{self.size_px}|".encode() + path.read_bytes()
            digests[i] = np.frombuffer(hashlib.sha256(content).digest(), dtype=np.uint8)
        return digests

    def _checked(self, row: int) -> np.ndarray:
        image = self._read(row)
        if image.shape != self.shape[1:]:
            raise DataError(
                f"{self.paths[row]}: expected a picture of {self.shape[1:]} as the first one, found {image.shape}; "
                "set the data set's image_size_px to bring all to one size"
            )
        return image

    def _read(self, row: int) -> np.ndarray:
        from PIL import Image

        path = need_file(self.paths[row], "a stimulus picture", "restore it from the data set's image archive")
        with reading(path, "picture"), Image.open(path) as file:
            image = file.convert("RGB")
            if self.size_px is not None and image.size != (self.size_px, self.size_px):
                image = image.resize((self.size_px, self.size_px), Image.Resampling.BICUBIC)
            return np.asarray(image, dtype=np.uint8)
