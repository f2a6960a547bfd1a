"""Packing: network folders into uncompressed archives of a bounded size, the report into another."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path

LIMIT = 15_000_000


def pack_networks(folders: Sequence[Path], extra: Sequence[Path], out: Path) -> list[Path]:
    """``tiny-1.tar``, ``tiny-2.tar``, ...: whole folders, largest first, each archive below the limit.

    ``extra`` are files for the first archive's root.
    """
    sizes = {folder: sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) for folder in folders}
    bins: list[list[Path]] = []
    for folder in sorted(folders, key=lambda f: -sizes[f]):
        room = [b for b in bins if sum(sizes[f] for f in b) + sizes[folder] < LIMIT]
        (room[0] if room else _new(bins)).append(folder)
    written = []
    for number, members in enumerate(bins or [[]], start=1):
        path = out / f"tiny-{number}.tar"
        with tarfile.open(path, "w") as archive:
            for folder in members:
                archive.add(folder, folder.name, filter=_kept)
            for file in extra if number == 1 else ():
                archive.add(file, file.name)
        written.append(path)
    return written


def pack_report(work: Path, names: Sequence[str], out: Path) -> Path:
    """``report.tar``: the named files and folders of ``work`` that exist."""
    path = out / "report.tar"
    with tarfile.open(path, "w") as archive:
        for name in names:
            if (work / name).exists():
                archive.add(work / name, name)
    return path


def _new(bins: list[list[Path]]) -> list[Path]:
    bins.append([])
    return bins[-1]


def _kept(info: tarfile.TarInfo) -> tarfile.TarInfo:
    # safetensors writes files that only their owner may read.
    info.mode |= 0o644
    return info
