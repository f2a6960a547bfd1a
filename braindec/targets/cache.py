"""Target embeddings computed once and kept on disk, found again by content.

A cache entry is ``KEY.npy`` with the values and ``KEY.json`` with what they are. KEY hashes everything that the values
depend on: the target's class, its constructor's arguments, its fitted state and the stimuli. The JSON is written last,
so that an entry without one is unfinished and is made anew.

An object that is too large or too remote to hash by content (a frozen network's weights, a lazy image store) may have a
method ``fingerprint() -> str`` that changes when the content does; it is used instead.
"""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from braindec.artifacts import ArtifactError, array_hash, read_array, read_json, text_hash, write_array, write_json
from braindec.contracts import Target
from braindec.types import DataError, Stimuli, TargetEmbeddings

logger = logging.getLogger(__name__)

_CHUNK_STIMULI = 256


def load_or_compute(target: Target, stimuli: Stimuli, cache_dir: Path | None, name: str) -> TargetEmbeddings:
    """The target embeddings of all given stimuli, from the cache where it has them.

    Parameters
    ----------
    target : a fitted target.
    stimuli : what to embed.
    cache_dir : folder of the cache, made when missing; None computes and keeps nothing.
    name : name of the result (the key of the target in the configuration); not part of the cache's key.

    Returns
    -------
    TargetEmbeddings
        Values float32 (n, K, D), memory-mapped read-only when there is a cache; ``source`` holds the target's class,
        its arguments, the hash of its fitted state, and the key.

    Raises
    ------
    DataError
        If there are no stimuli, the target gives a wrong shape or dtype, NaN or infinities (nothing is cached then),
        or it holds something that cannot be described.
    """
    if not len(stimuli):
        raise DataError(f"target {name}: no stimuli to embed")
    source = _description(target, f"target {name}")
    if cache_dir is None:
        return TargetEmbeddings(name, stimuli.ids, _embedded(target, stimuli, name), source)
    key = text_hash(json.dumps({"target": source, "stimuli": stimuli_hash(stimuli)}, sort_keys=True))
    source = {**source, "key": key}
    values_path, sidecar_path = cache_dir / f"{key}.npy", cache_dir / f"{key}.json"
    if sidecar_path.exists():
        try:
            return TargetEmbeddings(name, stimuli.ids, _verified(values_path, sidecar_path, key, len(stimuli)), source)
        except ArtifactError as error:
            logger.warning("target %s: the cached embeddings are not usable and are made anew: %s", name, error)
    values = _embedded(target, stimuli, name)
    write_array(values_path, values)
    content = {"shape": values.shape, "dtype": values.dtype.str, "sha256": array_hash({"values": values})}
    write_json(sidecar_path, {**source, **content})
    return TargetEmbeddings(name, stimuli.ids, read_array(values_path), source)


def stimuli_hash(stimuli: Stimuli) -> str:
    """Hexadecimal SHA-256 of stimulus ids and content; pictures are read a few at a time."""
    fields: dict[str, Any] = {
        "ids": stimuli.ids,
        "captions": stimuli.captions,
        "concepts": stimuli.concepts,
        "texts": stimuli.texts,
        "audio_rate_hz": stimuli.audio_rate_hz,
        "audio": None if stimuli.audio is None else [_array_description(wave) for wave in stimuli.audio],
        "images": None if stimuli.images is None else _images_hash(stimuli),
        "extras": {name: _description(values, f"Stimuli.extras[{name}]") for name, values in stimuli.extras.items()},
    }
    return text_hash(json.dumps(fields, sort_keys=True))


def _images_hash(stimuli: Stimuli) -> str:
    images = stimuli.images
    assert images is not None
    if hasattr(images, "fingerprint"):
        return str(images.fingerprint())
    chunks = [
        array_hash({"images": np.asarray(images[np.arange(start, min(start + _CHUNK_STIMULI, len(stimuli)))])})
        for start in range(0, len(stimuli), _CHUNK_STIMULI)
    ]
    return text_hash(" ".join(chunks))


def _embedded(target: Target, stimuli: Stimuli, name: str) -> np.ndarray:
    values = target.embed(stimuli)
    if values.ndim != 3 or len(values) != len(stimuli) or values.dtype != np.float32:
        raise DataError(
            f"target {name}: expected float32 ({len(stimuli)}, token, dim) of {_class_name(target)}.embed, "
            f"found {values.dtype} {values.shape}"
        )
    bad = _rows_not_finite(values)
    if len(bad):
        raise DataError(
            f"target {name}: NaN or infinite values for {len(bad)} of {len(stimuli)} stimuli, first "
            f"{stimuli.ids[bad[0]]!r}; nothing was cached"
        )
    return values


def _verified(values_path: Path, sidecar_path: Path, key: str, n_stimuli: int) -> np.ndarray:
    """Cached values, memory-mapped, if they are what the sidecar says."""
    sidecar, values = read_json(sidecar_path), read_array(values_path)
    found = {"key": key, "shape": [*values.shape], "dtype": values.dtype.str}
    for field, value in found.items():
        stated = sidecar.get(field) if isinstance(sidecar, dict) else None
        if stated != value:
            raise ArtifactError(f"{sidecar_path}: expected {field} {value}, found {stated}")
    if values.ndim != 3 or len(values) != n_stimuli:
        raise ArtifactError(f"{values_path}: expected ({n_stimuli}, token, dim), found {values.shape}")
    if len(_rows_not_finite(values)):
        raise ArtifactError(f"{values_path}: holds NaN or infinite values")
    if array_hash({"values": values}) != sidecar.get("sha256"):
        raise ArtifactError(f"{values_path}: its content does not have the hash in {sidecar_path.name}")
    return values


def _rows_not_finite(values: np.ndarray) -> np.ndarray:
    starts = range(0, len(values), _CHUNK_STIMULI)
    finite = [np.isfinite(values[start : start + _CHUNK_STIMULI]).all(axis=(1, 2)) for start in starts]
    return np.flatnonzero(~np.concatenate(finite)) if finite else np.empty(0, dtype=np.int64)


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
