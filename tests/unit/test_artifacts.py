"""Files appear whole or not at all; runs are never mixed; nothing is unpickled."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from braindec import artifacts
from braindec.artifacts import (
    ArtifactError,
    RunFolder,
    array_hash,
    atomic_write,
    read_array,
    read_image,
    read_json,
    read_state,
    read_table,
    safe_name,
    write_array,
    write_image,
    write_json,
    write_state,
    write_table,
)


def test_round_trips(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    np.testing.assert_array_equal(read_array(write_array(tmp_path / "a.npy", array)), array)
    assert read_json(write_json(tmp_path / "a.json", {"x": np.float32(1.5), "p": Path("q")})) == {"x": 1.5, "p": "q"}
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(read_image(write_image(tmp_path / "i.png", image)), image)


def test_ids_that_look_like_numbers_stay_text(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.csv", pd.DataFrame({"stimulus_id": ["007", "1e3", "NA"]}))
    assert read_table(path, ("stimulus_id",))["stimulus_id"].tolist() == ["007", "1e3", "NA"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_an_array_that_fills_the_disk_is_told_so(tmp_path: Path, monkeypatch) -> None:
    # numpy's own error of a short write has no error number.
    monkeypatch.setattr(artifacts, "open", lambda *_: open("/dev/full", "wb"), raising=False)  # noqa: SIM115
    with pytest.raises(ArtifactError, match="disk is full"):
        write_array(tmp_path / "x.npy", np.zeros(100_000))


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch) -> None:
    path = write_json(tmp_path / "scores.json", {"old": 1})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArtifactError, match="disk is full.*nothing was half-written"):
        write_json(path, {"new": 2})
    assert read_json(path) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["scores.json"]


def test_an_error_inside_a_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_write(tmp_path / "x") as file:
        file.write(b"half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_kill_in_the_middle_of_a_write_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"old": 1})
    script = textwrap.dedent(f"""
        import os, signal
        from pathlib import Path
        from braindec.artifacts import atomic_write
        with atomic_write(Path({str(tmp_path)!r}) / "a.json") as file:
            file.write(b"half"); file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    done = subprocess.run([sys.executable, "-c", script], check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == -signal.SIGKILL
    assert read_json(tmp_path / "a.json") == {"old": 1}


def test_nan_is_refused_in_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "bad.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ArtifactError, match=r"bad\.npy"):
        read_array(tmp_path / "bad.npy")
    with pytest.raises(ArtifactError, match="object arrays"):
        write_array(tmp_path / "x.npy", np.array([None]))


@pytest.mark.parametrize("mmap", [True, False])
def test_truncated_array_is_refused(tmp_path: Path, mmap: bool) -> None:
    path = write_array(tmp_path / "a.npy", np.ones((100, 100)))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ArtifactError, match="not a whole"):
        read_array(path, mmap)


def test_state_round_trip_and_verification(tmp_path: Path) -> None:
    state = {"ridge/weights": np.ones((3, 2), np.float32), "alphas": np.array([1.0])}
    digest = write_state(tmp_path / "s", state)
    back = read_state(tmp_path / "s", verify=True)
    assert array_hash(back) == digest
    assert set(back) == set(state)
    write_array(tmp_path / "s" / "alphas.npy", np.array([2.0]))
    with pytest.raises(ArtifactError, match="do not have the hash"):
        read_state(tmp_path / "s", verify=True)


def test_array_hash_sees_names_shapes_types_and_values() -> None:
    base = {"a": np.arange(6, dtype=np.float32)}
    others = [
        {"b": base["a"]},
        {"a": base["a"].reshape(2, 3)},
        {"a": base["a"].astype(np.float64)},
        {"a": base["a"] + 1},
    ]
    assert len({array_hash(x) for x in [base, *others]}) == 5
    assert array_hash(base) == array_hash({"a": base["a"].copy()})


def test_safe_names_are_file_names() -> None:
    assert safe_name("aardvark/aardvark_01b.jpg") == "aardvark__aardvark_01b.jpg"
    assert "/" not in safe_name("../../etc/passwd")
    assert not safe_name("..").startswith(".")


def test_a_run_folder_keeps_to_one_configuration(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", "a: 1\n", {"folds": ["published"]}, "hash-a")
    assert RunFolder.create(tmp_path / "run", "a: 1\n", {}, "hash-a").manifest()["created"] == run.manifest()["created"]
    with pytest.raises(ArtifactError, match="another configuration"):
        RunFolder.create(tmp_path / "run", "a: 2\n", {}, "hash-b")
    with pytest.raises(ArtifactError, match="no run there"):
        RunFolder.open(tmp_path / "elsewhere")


def test_a_folder_with_foreign_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("precious")
    with pytest.raises(ArtifactError, match="not a run folder"):
        RunFolder.create(tmp_path, "a: 1\n", {}, "hash")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.doc"]


def test_library_versions_name_python_and_numpy() -> None:
    versions = artifacts.library_versions()
    assert versions["numpy"] == np.__version__
    assert "python" in versions
