"""Finding and fetching the weights of frozen networks: nothing is downloaded unless asked for.

``weights`` in a configuration is a file, a folder, or a hub id such as ``openai/clip-vit-large-patch14``. An id is
looked for in the weights root (environment variable ``BRAINDEC_WEIGHTS``, a folder that mirrors hub ids), then among
the networks that braindec ships (``tiny/tiny_clip`` and its family), then in the Hugging Face cache. ``weights.yaml``
beside this file lists what the experiments need.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import os
import shutil
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Literal

import yaml

from braindec.artifacts import atomic_write
from braindec.contracts import Progress, no_progress
from braindec.locations import data_folder
from braindec.types import DataError

ROOT_VARIABLE = "BRAINDEC_WEIGHTS"
_CHUNK_BYTES = 1 << 22

Status = Literal["present", "missing", "damaged"]


@dataclass(frozen=True)
class KnownWeights:
    """One entry of the table of weights.

    Attributes
    ----------
    id : hub id, or the id under which a file with a plain address is kept.
    title : what it is.
    size_gb : approximate size of the files, in gigabytes.
    licence : the weights' licence.
    files : names or glob patterns of the files that are needed.
    experiments : the published systems that need them.
    url : folder address of the files when they are not on the hub.
    sha256 : file name -> published checksum, where there is one.
    shipped : whether they come with braindec itself.
    """

    id: str
    title: str
    size_gb: float
    licence: str
    files: tuple[str, ...]
    experiments: tuple[str, ...] = ()
    url: str | None = None
    sha256: Mapping[str, str] | None = None
    shipped: bool = False


@dataclass(frozen=True)
class WeightsStatus:
    """Where known weights stand: ``path`` when present, ``detail`` in words."""

    known: KnownWeights
    status: Status
    path: Path | None
    detail: str


@lru_cache(maxsize=1)
def known_weights() -> dict[str, KnownWeights]:
    """The table of weights, by id, in the order of ``weights.yaml``."""
    text = (importlib.resources.files("braindec.frozen") / "weights.yaml").read_text(encoding="utf-8")
    table: dict[str, KnownWeights] = {}
    for identifier, entry in yaml.safe_load(text).items():
        fields: dict[str, Any] = dict(entry)
        for name in ("files", "experiments"):
            fields[name] = tuple(fields.get(name, ()))
        table[identifier] = KnownWeights(id=identifier, **fields)
    return table


def weights_root() -> Path | None:
    """The folder named by ``BRAINDEC_WEIGHTS``, or None when the variable is not set.

    Raises
    ------
    DataError
        If the variable names something that is not a folder.
    """
    value = os.environ.get(ROOT_VARIABLE)
    if not value:
        return None
    root = Path(value).expanduser()
    if not root.is_dir():
        raise DataError(f"{ROOT_VARIABLE}: expected a folder, found {value!r}; create it or correct the variable")
    return root


def resolve(weights: str) -> Path:
    """The file or folder that holds ``weights``.

    Raises
    ------
    DataError
        If they are nowhere: says what is missing, where it was looked for, its size and licence, and how to get it.
    """
    direct = Path(weights).expanduser()
    if direct.exists():
        return direct.resolve()
    if direct.is_absolute() or weights.startswith((".", "~")):
        raise DataError(f"weights {weights!r}: no such file or folder")
    searched = [f"the path {weights!r}"]
    root = weights_root()
    if root is None:
        searched.append(f"no weights root ({ROOT_VARIABLE} is not set)")
    else:
        if (root / weights).exists():
            return root / weights
        searched.append(f"the weights root {root / weights}")
    if (data_folder() / weights).exists():
        return data_folder() / weights
    cached = _in_hub_cache(weights)
    if cached is not None:
        return cached
    searched.append("the Hugging Face cache")
    raise DataError(f"weights {weights!r} are missing (searched {'; '.join(searched)}). {_how_to_get(weights)}")


def needed_by(experiment: str) -> Sequence[KnownWeights]:
    """The weights that a published system needs."""
    return [known for known in known_weights().values() if experiment in known.experiments]


def status(identifier: str, verify: bool = False) -> WeightsStatus:
    """Whether known weights are present, complete and (``verify``) equal to their published checksums."""
    known = _known(identifier)
    try:
        path = resolve(identifier)
    except DataError as error:
        return WeightsStatus(known, "missing", None, str(error))
    folder = path if path.is_dir() else path.parent
    absent = [pattern for pattern in known.files if not any(folder.glob(pattern))]
    if absent:
        return WeightsStatus(known, "damaged", path, f"{folder} lacks {', '.join(absent)}")
    for name, expected in (known.sha256 or {}).items():
        if verify and file_sha256(folder / name) != expected:
            return WeightsStatus(known, "damaged", path, f"{folder / name} does not have its published checksum")
    return WeightsStatus(known, "present", path, str(path))


def fetch(identifier: str, progress: Progress = no_progress) -> Path:
    """Download known weights into the weights root; the only function here that uses the network.

    Raises
    ------
    DataError
        If the id is unknown, there is no weights root, the disk is too small, there is no network, or a checksum
        differs.
    """
    known = _known(identifier)
    if known.shipped:
        raise DataError(f"fetching {identifier!r}: these weights come with braindec; reinstall it if they are missing")
    root = weights_root()
    if root is None:
        raise DataError(f"fetching {identifier!r}: set {ROOT_VARIABLE} to the folder that shall hold weights")
    free_gb = shutil.disk_usage(root).free / 1e9
    if free_gb < 1.1 * known.size_gb:
        raise DataError(f"fetching {identifier!r} needs about {known.size_gb:g} GB; {root} has {free_gb:.1f} GB free")
    folder = root / identifier
    try:
        if known.url is None:
            from huggingface_hub import snapshot_download

            snapshot_download(identifier, local_dir=folder, allow_patterns=list(known.files))
        else:
            for name in known.files:
                if not (folder / name).exists():
                    _download(f"{known.url}/{name}", folder / name, (known.sha256 or {}).get(name), progress)
    except OSError as error:
        raise DataError(
            f"fetching {identifier!r}: the download failed ({error}); try again with a network, or copy "
            f"{', '.join(known.files)} from elsewhere into {folder}"
        ) from error
    found = status(identifier, verify=True)
    if found.status != "present":
        raise DataError(f"fetched {identifier!r}, but {found.detail}; delete {folder} and fetch again")
    return folder


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hex; remembered by path, size and time of change in the user's cache folder."""
    path = path.resolve()
    stat = path.stat()
    key = f"{path}:{stat.st_size}:{stat.st_mtime_ns}"
    store = _hash_store()
    remembered = _read_hashes(store)
    if key not in remembered:
        with path.open("rb") as file:
            remembered = {**_read_hashes(store), key: _hash_stream(file)}
        try:
            with atomic_write(store) as out:
                out.write(json.dumps(remembered, indent=0).encode())
        except OSError:
            # A home that cannot be written only costs hashing again next time.
            return remembered[key]
    return remembered[key]


def weights_sha256(files: Sequence[Path]) -> str:
    """SHA-256 of one weight file, or of several by name and content."""
    if len(files) == 1:
        return file_sha256(files[0])
    lines = "".join(f"{file.name}:{file_sha256(file)}\n" for file in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def weight_files(
    path: Path, patterns: Sequence[str] = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.th")
) -> list[Path]:
    """The weight files that ``path`` stands for: itself, or a folder's files of the first pattern that matches any.

    Raises
    ------
    DataError
        If a folder has none.
    """
    if path.is_file():
        return [path]
    for pattern in patterns:
        found = sorted(file for file in path.glob(pattern) if file.is_file())
        if found:
            return found
    raise DataError(f"{path}: expected weights named {' or '.join(patterns)}, found none")


def _known(identifier: str) -> KnownWeights:
    table = known_weights()
    if identifier not in table:
        raise DataError(f"weights {identifier!r} are not in the table; known are {', '.join(table)}")
    return table[identifier]


def _how_to_get(identifier: str) -> str:
    known = known_weights().get(identifier)
    if known is None:
        return (
            f"Give a file or folder, or download {identifier!r} from the Hugging Face hub into "
            f"${ROOT_VARIABLE}/{identifier}."
        )
    if known.shipped:
        return "They come with braindec; reinstall it, or restore the folder data of the checkout."
    return (
        f"They are {known.title}: about {known.size_gb:g} GB, licence {known.licence}. Get them with "
        f"`braindec weights fetch {identifier}`, or place {', '.join(known.files)} in ${ROOT_VARIABLE}/{identifier}."
    )


def _in_hub_cache(identifier: str) -> Path | None:
    if identifier.count("/") != 1:
        return None
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    except ImportError:
        return None
    try:
        return Path(snapshot_download(identifier, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def _download(url: str, path: Path, expected: str | None, progress: Progress) -> None:
    digest = hashlib.sha256()
    with urllib.request.urlopen(url) as source, atomic_write(path) as out:
        announced = source.headers.get("Content-Length")
        received = 0
        for chunk in progress(iter(lambda: source.read(_CHUNK_BYTES), b""), f"fetching {path.name}"):
            digest.update(chunk)
            out.write(chunk)
            received += len(chunk)
        if announced is not None and received != int(announced):
            raise DataError(f"{url}: expected {announced} bytes, received {received}; fetch again")
        if expected is not None and digest.hexdigest() != expected:
            raise DataError(f"{url}: expected SHA-256 {expected}, found {digest.hexdigest()}; nothing was kept")


def _hash_stream(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _hash_store() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "braindec" / "weight_hashes.json"


def _read_hashes(store: Path) -> dict[str, str]:
    try:
        found = json.loads(store.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}
