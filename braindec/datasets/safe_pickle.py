"""Read pickles that hold numpy arrays and plain containers, and nothing else.

Several public EEG sets are distributed as pickled dictionaries. An ordinary unpickler runs whatever code the file
names; this one resolves only the handful of names that numpy arrays need and refuses all others before they run.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from braindec.datasets.files import need_file, reading
from braindec.types import DataError

_ALLOWED = {
    (module, name)
    for package in ("numpy.core", "numpy._core")
    for module, name in ((f"{package}.multiarray", "_reconstruct"), (f"{package}.multiarray", "scalar"))
} | {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.numeric", "_frombuffer"),
    ("collections", "OrderedDict"),
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, path: Path) -> None:
        super().__init__(file, encoding="latin1")
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED and not (module == "numpy.dtypes" and name.endswith("DType")):
            raise DataError(
                f"{self._path}: the pickle asks for {module}.{name}; only numpy arrays and plain containers are read, "
                "nothing was executed; get the file from its publisher again"
            )
        if name == "scalar":
            return _scalar
        if name == "encode":
            return _encode
        # numpy renamed its private package; both names mean the same functions.
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _scalar(dtype: np.dtype[Any], value: Any = None) -> Any:
    if dtype.hasobject:
        raise DataError("a pickle holds a scalar of object type; nothing was executed")
    return np.frombuffer(value, dtype=dtype)[0] if value is not None else dtype.type()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    # Protocol 2 stores bytes as text plus this call; only the encoding that pickle itself writes is honoured.
    if not isinstance(text, str) or encoding != "latin1":
        raise DataError(f"a pickle asks to encode with {encoding!r}; nothing was executed")
    return text.encode("latin1")


def load(path: Path) -> Any:
    """The object in a pickle, or in an ``.npy`` file, pickled or not; a 0-d object array gives its content.

    Raises
    ------
    DataError
        If the file is missing, cut, or names anything but numpy arrays and plain containers.
    """
    need_file(path, "a data file", "download it again or set the data set's root to where it lies")
    with reading(path, "pickle"), path.open("rb") as file:
        magic = file.read(6)
        file.seek(0)
        if magic != b"\x93NUMPY":
            content = _Unpickler(file, path).load()
        else:
            shape, dtype = _npy_header(file)
            if not dtype.hasobject:
                file.seek(0)
                return np.lib.format.read_array(file, allow_pickle=False)
            content = _Unpickler(file, path).load()
            if isinstance(content, np.ndarray):
                content = content.reshape(shape)
    if isinstance(content, np.ndarray) and content.dtype.hasobject and content.ndim == 0:
        return content.item()
    return content


def _npy_header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype
