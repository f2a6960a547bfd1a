"""Reading checkpoints: never executing what is in them, never accepting one that does not fit."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from braindec.frozen.weights import weight_files, weights_sha256
from braindec.types import DataError


@dataclass(frozen=True)
class LoadReport:
    """What a checkpoint gave: matched keys, and the mismatches that were declared beforehand."""

    path: str
    sha256: str
    matched: int
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values, for a result file."""
        return asdict(self)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Named tensors of a safetensors file, a sharded safetensors folder or a PyTorch checkpoint.

    A folder must hold one weight file, or safetensors shards with their index. Pickled code is never executed.

    Raises
    ------
    DataError
        If a file is truncated, is not a checkpoint, or is a pickle that holds more than tensors.
    """
    if path.is_dir():
        index = sorted(path.glob("*.safetensors.index.json"))
        files = [path / name for name in _shards(index[0])] if index else weight_files(path)
        if not index and len(files) > 1:
            names = ", ".join(str(file.relative_to(path)) for file in files)
            raise DataError(f"{path}: expected one weight file, found {names}; name the file")
        state: dict[str, Tensor] = {}
        for file in files:
            state.update(read_checkpoint(file))
        return state
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    state = _read_pickled(path)
    prefix = "module."
    if state and all(key.startswith(prefix) for key in state):
        return {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def load_strictly(
    module: nn.Module,
    state: Mapping[str, Tensor],
    path: Path,
    allow_missing: Sequence[str] = (),
    allow_unexpected: Sequence[str] = (),
) -> LoadReport:
    """Copy ``state`` into ``module``; every key and shape must agree, but for declared exceptions.

    Parameters
    ----------
    allow_missing, allow_unexpected : glob patterns of keys that may be absent, or present without use.

    Raises
    ------
    DataError
        Naming how many keys matched, and which are missing, unexpected or of another shape.
    """
    own = module.state_dict()
    shapes = [
        f"{key}: {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    missing = tuple(key for key in own if key not in state)
    unexpected = tuple(key for key in state if key not in own)
    matched = len(own) - len(missing) - len(shapes)
    check_keys(type(module).__name__, path, matched, missing, unexpected, shapes, allow_missing, allow_unexpected)
    module.load_state_dict({key: value for key, value in state.items() if key in own}, strict=False)
    return LoadReport(str(path), weights_sha256(path), matched, missing, unexpected)


def check_keys(
    network: str,
    path: Path,
    matched: int,
    missing: Sequence[str],
    unexpected: Sequence[str],
    shapes: Sequence[str],
    allow_missing: Sequence[str] = (),
    allow_unexpected: Sequence[str] = (),
) -> None:
    """Refuse a checkpoint whose keys differ from the network's other than declared.

    Raises
    ------
    DataError
        Naming how many keys matched, and which are missing, unexpected or of another shape.
    """
    bad_missing = [key for key in missing if not _declared(key, allow_missing)]
    bad_unexpected = [key for key in unexpected if not _declared(key, allow_unexpected)]
    if matched and not bad_missing and not bad_unexpected and not shapes:
        return
    raise DataError(
        f"{path}: does not fit {network}: {matched} keys matched, {len(bad_missing)} missing{_some(bad_missing)}, "
        f"{len(bad_unexpected)} unexpected{_some(bad_unexpected)}, {len(shapes)} of another shape{_some(shapes)}; "
        "give the checkpoint of this architecture"
    )


def _declared(key: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def _some(keys: Sequence[str]) -> str:
    return f" ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})" if keys else ""


def _shards(index: Path) -> list[str]:
    try:
        return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, json.JSONDecodeError, KeyError) as error:
        raise DataError(f"{index}: expected an index of safetensors shards, could not read it ({error!r})") from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"{path}: cannot be read as safetensors, it may be truncated ({error}); fetch it again"
        ) from error


def _read_pickled(path: Path) -> dict[str, Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path) or None)
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error) or "Unsupported" in str(error):
            raise DataError(
                f"{path}: holds pickled objects other than tensors and was not executed; "
                "convert it to safetensors where it comes from"
            ) from error
        raise DataError(f"{path}: is not a PyTorch checkpoint or is truncated; fetch it again") from error
    except (OSError, EOFError, RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()[:1]
        raise DataError(f"{path}: cannot be read, it may be truncated ({' '.join(first)}); fetch it again") from error
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise DataError(f"{path}: expected named tensors, found {type(loaded).__name__} with other values")
    return loaded
