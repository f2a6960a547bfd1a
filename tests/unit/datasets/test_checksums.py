"""Published checksums: lists, git-annex keys, and files that differ."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from braindec.datasets.checksums import published, verify
from braindec.types import DataError

REAL = Path(os.environ.get("BRAINDEC_DATA", "../shared/data"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    (root / "sub").mkdir(parents=True)
    for name in ("a.txt", "sub/b.bin", "unlisted"):
        (root / name).write_bytes(name.encode() * 1000)
    return root


def sums(root: Path, algorithm: str) -> str:
    names = ("a.txt", "sub/b.bin")
    return "".join(f"{hashlib.new(algorithm, (root / n).read_bytes()).hexdigest()}  ./{n}\n" for n in names)


@pytest.mark.parametrize(("name", "algorithm"), [("SHA256SUMS", "sha256"), ("MD5SUMS", "md5")])
def test_list_of_sums(root: Path, name: str, algorithm: str) -> None:
    (root / name).write_text(sums(root, algorithm) + "0" * (64 if algorithm == "sha256" else 32) + "  not/downloaded\n")
    assert verify(root) == 2
    (root / "sub/b.bin").write_bytes(b"other")
    with pytest.raises(DataError, match=r"1 of 2 files differ.*b\.bin"):
        verify(root)


def test_list_in_the_folder_above_counts_for_files_below_only(root: Path) -> None:
    (root.parent / "outside").write_text("x")
    text = sums(root, "sha256").replace("./", "./set/") + "0" * 64 + "  ./outside\n"
    (root.parent / "SHA256SUMS").write_text(text)
    assert verify(root) == 2


def test_git_annex_keys(root: Path) -> None:
    content = b"signal" * 500
    key = f"MD5E-s{len(content)}--{hashlib.md5(content).hexdigest()}.fif"
    store = root / ".git/annex/objects" / key
    store.mkdir(parents=True)
    (store / key).write_bytes(content)
    (root / "run.fif").symlink_to(os.path.relpath(store / key, root))
    (root / "absent.fif").symlink_to(".git/annex/objects/x/MD5E-s1--" + "0" * 32 + ".fif")
    assert list(published(root)) == [root / "run.fif"]
    assert verify(root) == 1
    (store / key).write_bytes(content[:-1])
    with pytest.raises(DataError, match=r"run\.fif"):
        verify(root)


def test_nothing_published_and_a_damaged_list(root: Path) -> None:
    assert verify(root) == 0
    (root / "SHA256SUMS").write_text("abc  a.txt\n")
    with pytest.raises(DataError, match="line 1"):
        verify(root)


@pytest.mark.skipif(not (REAL / "SHA256SUMS").is_file(), reason=f"needs the published list in {REAL}")
def test_real_files_agree() -> None:
    assert verify((REAL / "things_meg").resolve()) > 100
