"""Checkpoints: weights as safetensors, optimiser state, and where training stood; whole or not at all.

A checkpoint is a folder ``step-N``; ``latest.json`` names the last whole one and is replaced in one move, so that a
kill at any moment leaves a checkpoint that can be taken up. Random numbers are a function of seed and step, and so are
batches: neither needs saving.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from braindec.artifacts import ArtifactError, read_json, write_json
from braindec.types import DataError

LATEST = "latest.json"
_SPARE_BYTES = 1 << 20


@dataclass(frozen=True)
class Standing:
    """Where training stands: updates done, best validation score so far, its epoch, epochs without improvement."""

    step: int = 0
    best_score: float | None = None
    best_epoch: int | None = None
    epochs_without: int = 0


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write named tensors as safetensors, whole or not at all. Raises `ArtifactError` when the disk is full."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    needed = sum(t.numel() * t.element_size() for t in tensors.values())
    _check_space(path, needed)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file({name: t.detach().contiguous().cpu() for name, t in tensors.items()}, temporary)
        _flush(temporary)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        _raise_if_full(path, error)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read named tensors. Raises `ArtifactError` when the file is missing or not whole."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{path}: not readable safetensors ({error}); delete its folder and fit again") from error


def save_checkpoint(
    folder: Path,
    fingerprint: str,
    standing: Standing,
    weights: Mapping[str, torch.Tensor],
    averaged: Mapping[str, torch.Tensor] | None,
    best: Mapping[str, torch.Tensor] | None,
    optimiser: torch.optim.Optimizer,
) -> None:
    """Write a checkpoint and drop the one before it. Raises `ArtifactError` when the disk is full."""
    name = f"step-{standing.step}"
    target = folder / name
    shutil.rmtree(target, ignore_errors=True)
    save_tensors(target / "weights.safetensors", weights)
    if averaged is not None:
        save_tensors(target / "averaged.safetensors", averaged)
    if best is not None:
        save_tensors(target / "best.safetensors", best)
    state = optimiser.state_dict()
    path = target / "optimiser.pt"
    _check_space(path, sum(t.numel() * t.element_size() for s in state["state"].values() for t in s.values()))
    try:
        torch.save(state, path)
        _flush(path)
    except (OSError, RuntimeError) as error:
        _raise_if_full(path, error)
        raise
    write_json(folder / LATEST, {"checkpoint": name, "fingerprint": fingerprint, **asdict(standing)})
    for old in folder.glob("step-*"):
        if old.name != name:
            shutil.rmtree(old, ignore_errors=True)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read back."""

    standing: Standing
    weights: dict[str, torch.Tensor]
    averaged: dict[str, torch.Tensor] | None
    best: dict[str, torch.Tensor] | None
    optimiser: dict[str, Any]


def load_checkpoint(folder: Path, fingerprint: str) -> Checkpoint | None:
    """The last whole checkpoint in a folder, or None.

    Raises
    ------
    DataError
        If it was written by a fit with other settings, shapes or data.
    """
    if not (folder / LATEST).exists():
        return None
    latest = read_json(folder / LATEST)
    if latest["fingerprint"] != fingerprint:
        raise DataError(
            f"{folder}: holds a checkpoint of a fit with other settings, shapes or trials (fingerprint "
            f"{latest['fingerprint'][:12]}, this fit is {fingerprint[:12]}); delete the folder to start anew"
        )
    source = folder / latest["checkpoint"]
    averaged, best = source / "averaged.safetensors", source / "best.safetensors"
    standing = Standing(**{name: latest[name] for name in Standing.__dataclass_fields__})
    return Checkpoint(
        standing,
        load_tensors(source / "weights.safetensors"),
        load_tensors(averaged) if averaged.exists() else None,
        load_tensors(best) if best.exists() else None,
        torch.load(source / "optimiser.pt", map_location="cpu", weights_only=True),
    )


def _flush(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _check_space(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < needed + _SPARE_BYTES:
        raise ArtifactError(_full(path, f"{needed / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free"))


def _raise_if_full(path: Path, error: Exception) -> None:
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or "No space left" in str(error) or "os error 28" in str(error):
        raise ArtifactError(_full(path, "the disk is full")) from error


def _full(path: Path, found: str) -> str:
    return (
        f"{path}: no room for a checkpoint ({found}); the one before it is kept. Free some space and run the same "
        "command again: training goes on from there"
    )
