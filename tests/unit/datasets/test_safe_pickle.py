"""Pickled numpy data is read; a pickle that names code is refused before anything runs."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from braindec.datasets.safe_pickle import load
from braindec.types import DataError


class Malicious:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


class Builder:
    def __reduce__(self) -> Any:
        return eval, ("__import__('os').getcwd()",)


CONTENT = {
    "data": np.arange(24, dtype=np.float64).reshape(2, 3, 4),
    "half": np.ones(3, dtype=np.float16)[::-1],
    "names": ["O1", "Oz"],
    "text": np.array(["a", "bcd"]),
    "objects": np.array([[1, 2], [3]], dtype=object),
    "rate": np.float64(250),
    "whole": np.int64(3),
    "ordered": OrderedDict(a=1),
    "raw": b"\x00\xff",
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_containers_of_every_protocol_are_read(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(pickle.dumps(CONTENT, protocol=protocol))
    found = load(path)
    assert found.keys() == CONTENT.keys()
    np.testing.assert_array_equal(found["data"], CONTENT["data"])
    np.testing.assert_array_equal(found["text"], CONTENT["text"])
    assert found["half"].dtype == np.float16
    assert found["objects"][0] == [1, 2]
    assert (found["rate"], found["whole"], found["raw"]) == (250.0, 3, b"\x00\xff")


def test_np_save_of_a_dictionary_and_of_an_array(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.array(CONTENT, dtype=object), allow_pickle=True)
    np.testing.assert_array_equal(load(tmp_path / "d.npy")["data"], CONTENT["data"])
    np.save(tmp_path / "a.npy", CONTENT["data"])
    np.testing.assert_array_equal(load(tmp_path / "a.npy"), CONTENT["data"])


@pytest.mark.parametrize("wrapped", [False, True])
def test_malicious_pickle_is_refused_and_never_run(tmp_path: Path, wrapped: bool) -> None:
    marker, path = tmp_path / "ran", tmp_path / "bad.npy"
    content = {"data": np.zeros(2), "evil": Malicious(marker)}
    if wrapped:
        np.save(path, np.array(content, dtype=object), allow_pickle=True)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=r"asks for (posix|os)\.system"):
        load(path)
    assert not marker.exists()


@pytest.mark.parametrize("value", [Builder(), np.load, np.memmap, pickle.loads, getattr, np.lib.format.open_memmap])
def test_any_other_global_is_refused(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "bad.pkl"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(DataError, match="nothing was executed"):
        load(path)


def test_dotted_names_cannot_reach_through_an_allowed_module(tmp_path: Path) -> None:
    path = tmp_path / "bad.pkl"
    path.write_bytes(b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.")
    with pytest.raises(DataError, match="nothing was executed"):
        load(path)


def test_truncated_and_missing_files(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(pickle.dumps(CONTENT)[:-40])
    with pytest.raises(DataError, match="truncated"):
        load(path)
    with pytest.raises(DataError, match="missing"):
        load(tmp_path / "none.npy")
