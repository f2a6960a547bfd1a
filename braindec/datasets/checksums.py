"""Compare a data set's files with the checksums that were published with them.

Two kinds are understood: a list as ``sha256sum`` or ``md5sum`` writes it, in the data set's folder or the one above;
and the keys of git-annex, under which ``datalad`` stores OpenNeuro's files (``MD5E-s5120--<md5>.fif``).
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from braindec.contracts import Progress, no_progress
from braindec.datasets.files import need_file
from braindec.types import DataError

LISTS = {"SHA256SUMS": "sha256", "sha256sums.txt": "sha256", "MD5SUMS": "md5", "md5sums.txt": "md5"}
_ANNEX = re.compile(r"(MD5|SHA256)E?-s\d+--([0-9a-f]{32,64})(?:\.|$)")
_BYTES_AT_ONCE = 1 << 22


def published(root: Path) -> dict[Path, tuple[str, str]]:
    """(algorithm, digest) of every file below ``root`` that has a published checksum and is on disk.

    Raises
    ------
    DataError
        If a list has a line that is no checksum and name.
    """
    sums: dict[Path, tuple[str, str]] = {}
    for folder in (root, root.parent):
        for name, algorithm in LISTS.items():
            if (folder / name).is_file():
                sums.update(_listed(folder / name, algorithm, root))
    for folder_name, _, files in os.walk(root):
        for name in files:
            path = Path(folder_name) / name
            match = _ANNEX.match(os.path.basename(os.readlink(path))) if path.is_symlink() else None
            if match is not None and path.is_file():
                sums[path] = (match[1].lower(), match[2])
    return sums


def verify(root: Path, progress: Progress = no_progress) -> int:
    """Hash every file that has a published checksum; returns how many agree (0 where none was published).

    Raises
    ------
    DataError
        Naming the files that differ.
    """
    differs = []
    sums = published(root)
    for path, (algorithm, expected) in progress(sorted(sums.items()), "checksums"):
        found = digest(path, algorithm)
        if found != expected:
            differs.append(f"{path} ({algorithm} {found[:12]}, published {expected[:12]})")
    if differs:
        more = f" and {len(differs) - 3} more" if len(differs) > 3 else ""
        raise DataError(
            f"{len(differs)} of {len(sums)} files differ from their published checksums: {', '.join(differs[:3])}"
            f"{more}; download them again"
        )
    return len(sums)


def digest(path: Path, algorithm: str) -> str:
    """Hexadecimal digest of a file's content, read in pieces."""
    content = hashlib.new(algorithm)
    with need_file(path, "a file of the data set", "download it again").open("rb") as file:
        while piece := file.read(_BYTES_AT_ONCE):
            content.update(piece)
    return content.hexdigest()


def _listed(path: Path, algorithm: str, root: Path) -> dict[Path, tuple[str, str]]:
    n_digits = hashlib.new(algorithm).digest_size * 2
    sums = {}
    for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        match = re.fullmatch(rf"([0-9a-fA-F]{{{n_digits}}}) [ *](.+)", line)
        if match is None:
            raise DataError(f"{path}: line {number} is not '<{algorithm} digest>  <file>' but {line[:60]!r}")
        file = Path(os.path.normpath(path.parent / match[2]))
        if file.is_file() and file.is_relative_to(root):
            sums[file] = (algorithm, match[1].lower())
    return sums
