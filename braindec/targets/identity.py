"""What identifies target embeddings: the target with all that it was given and fitted, and each stimulus' content."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from braindec.artifacts import array_hash, text_hash
from braindec.types import DataError, ImageRows, Stimuli

DIGEST_BYTES = 32
_PICTURES_AT_ONCE = 64


def target_description(target: Any, where: str) -> dict[str, Any]:
    """A target's class, arguments and fitted state as JSON that changes when its embeddings do.

    An object that is too large or too remote to describe by content (a frozen network's weights) may have a method
    ``fingerprint() -> str`` that changes when the content does; it is used instead.

    Parameters
    ----------
    where : how an error names the target.

    Raises
    ------
    DataError
        If the target holds something that cannot be described.
    """
    return _description(target, where)


def stimulus_digests(stimuli: Stimuli) -> np.ndarray:
    """SHA-256 of each stimulus' id and content, uint8 (n, 32); pictures are read a few at a time.

    A lazy picture store may have a method ``digests(rows) -> uint8 (len(rows), 32)`` of its pictures' content, which
    spares decoding them.
    """
    fields: dict[str, Sequence[Any] | None] = {
        "ids": stimuli.ids,
        "captions": stimuli.captions,
        "concepts": stimuli.concepts,
        "texts": stimuli.texts,
        "audio": None if stimuli.audio is None else [_array_description(wave) for wave in stimuli.audio],
        **{
            f"extras.{name}": [_description(value, f"Stimuli.extras[{name}]") for value in values]
            for name, values in sorted(stimuli.extras.items())
        },
    }
    pictures = None if stimuli.images is None else _picture_digests(stimuli.images, len(stimuli))
    digests = np.empty((len(stimuli), DIGEST_BYTES), np.uint8)
    for row in range(len(stimuli)):
        own = {name: None if values is None else values[row] for name, values in fields.items()}
        own["audio_rate_hz"] = stimuli.audio_rate_hz
        own["picture"] = None if pictures is None else pictures[row].tobytes().hex()
        digests[row] = _bytes_of(hashlib.sha256(json.dumps(own, sort_keys=True).encode()))
    return digests


def digests_hash(digests: np.ndarray) -> str:
    """One text for the digests of several stimuli, in their order."""
    return hashlib.sha256(digests.tobytes()).hexdigest()


def description_hash(description: Mapping[str, Any]) -> str:
    """Hexadecimal SHA-256 of a description."""
    return text_hash(json.dumps(description, sort_keys=True))


def _picture_digests(images: Any, n: int) -> np.ndarray:
    rows = np.arange(n)
    store, stored_rows = (images.base, images.rows) if isinstance(images, ImageRows) else (images, rows)
    if hasattr(store, "digests"):
        return store.digests(stored_rows)
    digests = np.empty((n, DIGEST_BYTES), np.uint8)
    for start in range(0, n, _PICTURES_AT_ONCE):
        for row, picture in enumerate(np.asarray(images[rows[start : start + _PICTURES_AT_ONCE]]), start):
            digest = hashlib.sha256(f"{picture.dtype.str}|{picture.shape}|".encode())
            digest.update(picture.tobytes())
            digests[row] = _bytes_of(digest)
    return digests


def _bytes_of(digest: Any) -> np.ndarray:
    return np.frombuffer(digest.digest(), np.uint8)


def _class_name(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def _description(value: Any, where: str) -> Any:
    """A value as JSON that changes when the value does."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if hasattr(value, "fingerprint"):
        return {"class": _class_name(value), "fingerprint": str(value.fingerprint())}
    if isinstance(value, np.ndarray) and value.dtype != object:
        return _array_description(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _description(item, where) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_description(item, where) for item in value]
    return _object_description(value, where)


def _object_description(thing: Any, where: str) -> dict[str, Any]:
    """Class, fitted state and constructor arguments, which by convention are stored under their own names."""
    parameters = (
        () if inspect.isroutine(thing) or isinstance(thing, type) else inspect.signature(type(thing)).parameters
    )
    if not parameters and not hasattr(thing, "state"):
        raise DataError(f"{where}: cannot tell what {thing!r} holds; give its class a method fingerprint() -> str")
    missing = [parameter for parameter in parameters if not hasattr(thing, parameter)]
    if missing:
        raise DataError(
            f"{where}: {_class_name(thing)} does not store its arguments {missing} under their own names; store them, "
            "or give the class a method fingerprint() -> str that changes when its results do"
        )
    arguments = {name: _description(getattr(thing, name), f"{where}.{name}") for name in parameters}
    state = array_hash(thing.state()) if hasattr(thing, "state") else None
    return {"class": _class_name(thing), "arguments": arguments, "state": state}


def _array_description(array: np.ndarray) -> str:
    return array_hash({"array": np.asarray(array)})
