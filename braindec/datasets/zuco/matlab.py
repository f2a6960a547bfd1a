"""The sentences of a ZuCo results file, in MATLAB's format 5 (release 1) or 7.3, which is HDF5 (release 2).

Which format a file has is read from its first bytes, not from its name or release.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from braindec.datasets.files import need_file, reading
from braindec.types import DataError

N_CHANNELS = 105
"""Rows of ``rawData``; the last one is the reference, Cz, and zero throughout."""

Sentence = tuple[str, np.ndarray | None]
"""Text, and the EEG in microvolt (105, n) or None where the sentence was not recorded."""


def read_sentences(path: Path, remedy: str) -> Iterator[Sentence]:
    """Every sentence of ``sentenceData`` in order.

    Raises
    ------
    DataError
        If the file is missing, in neither format, lacks a field, holds an empty sentence, or EEG of another shape.
    """
    need_file(path, "a results file", remedy)
    header = path.open("rb").read(128)
    if header.startswith(b"MATLAB 7.3") or header.startswith(b"\x89HDF"):
        found = _of_hdf5(path)
    elif header.startswith(b"MATLAB 5.0"):
        found = _of_v5(path)
    else:
        raise DataError(
            f"{path}: expected a MATLAB file of format 5.0 or 7.3, found {header[:12]!r}; download it again"
        )
    for number, (text, signal) in enumerate(found, start=1):
        if not text.strip():
            raise DataError(f"{path}: sentenceData({number}).content is empty; the file is damaged, download it again")
        yield text.strip(), _checked(signal, path, number)


def _checked(signal: Any, path: Path, number: int) -> np.ndarray | None:
    values = np.asarray(signal, dtype=np.float64)
    if values.size <= 1:
        return None  # a sentence that was skipped has the single value NaN
    if values.ndim != 2 or values.shape[0] != N_CHANNELS:
        raise DataError(
            f"{path}: sentenceData({number}).rawData: expected ({N_CHANNELS}, samples), found {values.shape}"
        )
    if np.nan_to_num(values[-1]).any():
        raise DataError(
            f"{path}: sentenceData({number}).rawData: the last channel is not zero as published; see its order"
        )
    return values


def _of_v5(path: Path) -> Iterator[tuple[str, Any]]:
    from scipy.io import loadmat

    with reading(path, "MATLAB 5.0"):
        content = loadmat(path, squeeze_me=True, struct_as_record=False, variable_names=["sentenceData"])
    if "sentenceData" not in content:
        raise DataError(f"{path}: expected the variable sentenceData, found none")
    for entry in np.atleast_1d(content["sentenceData"]):
        missing = [name for name in ("content", "rawData") if not hasattr(entry, name)]
        if missing:
            raise DataError(f"{path}: sentenceData has no field {missing}")
        text = entry.content
        yield (text if isinstance(text, str) else ""), entry.rawData


def _of_hdf5(path: Path) -> Iterator[tuple[str, Any]]:
    import h5py

    with reading(path, "MATLAB 7.3"):
        file = h5py.File(path, "r")
    with file:
        group = file.get("sentenceData")
        missing = ["sentenceData"] if group is None else [name for name in ("content", "rawData") if name not in group]
        if missing or group is None:
            raise DataError(f"{path}: no {missing} in this MATLAB 7.3 file")
        with reading(path, "MATLAB 7.3"):
            pairs = list(zip(group["content"][:].ravel(), group["rawData"][:].ravel(), strict=True))
        for text, signal in pairs:
            with reading(path, "MATLAB 7.3"):
                codes, values = file[text], file[signal][:]
                # MATLAB marks an empty array and stores its shape in place of its values.
                empty = bool(codes.attrs.get("MATLAB_empty", 0))
                said = "" if empty else "".join(chr(int(code)) for code in codes[:].ravel())
            yield said, values.T
