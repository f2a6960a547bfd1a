"""Run folders and files: atomic writes, content hashes, named arrays, manifests, resume.

Every write goes to a temporary name in the same folder, is flushed to disk and then renamed, so that a killed process
or a full disk never leaves a half-written file under a final name. Nothing is pickled.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from braindec import __version__
from braindec.types import DataError

LIBRARIES = (
    "torch",
    "numpy",
    "scipy",
    "scikit-learn",
    "scikit-image",
    "hydra-core",
    "diffusers",
    "transformers",
    "mne",
)
_CHUNK_BYTES = 1 << 24


class ArtifactError(DataError):
    """A run folder or one of its files cannot be read or written."""


@contextmanager
def atomic_write(path: Path, wait: bool = True) -> Iterator[BinaryIO]:
    """Open ``path`` for binary writing so that it appears whole or not at all.

    Parameters
    ----------
    wait : until the file is on the disk. Without it a loss of power, but no killed process, may leave it cut.

    Raises
    ------
    ArtifactError
        When the disk is full; nothing is left behind under any name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            if wait:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if _is_full(error):
            free_mb = shutil.disk_usage(path.parent).free / 1e6
            raise ArtifactError(
                f"{path}: the disk is full ({free_mb:.0f} MB free); nothing was half-written. "
                "Free some space and run the same command again: finished parts are kept."
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _is_full(error: OSError) -> bool:
    # numpy's tofile says only how much it could write, without the system's error number.
    cut = error.errno is None and "requested and" in str(error) and "written" in str(error)
    return cut or error.errno in (errno.ENOSPC, errno.EDQUOT)


def write_json(path: Path, content: Any, wait: bool = True) -> Path:
    """Write JSON (NaN and infinities are refused: they are not JSON and hide errors); see `atomic_write`."""
    text = json.dumps(content, indent=2, allow_nan=False, default=_jsonable) + "\n"
    with atomic_write(path, wait) as file:
        file.write(text.encode())
    return path


def _jsonable(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def read_json(path: Path) -> Any:
    """Read JSON; an `ArtifactError` names the file when it is missing or broken."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file; was the step that writes it run?") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: not valid JSON ({error}); delete it and run the step again") from error


def write_array(path: Path, array: np.ndarray) -> Path:
    """Write one array as .npy; memory-mapped input is streamed, not copied."""
    if array.dtype == object:
        raise ArtifactError(f"{path}: object arrays are never written (they would need pickle)")
    with atomic_write(path) as file:
        np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)
    return path


def read_array(path: Path, mmap: bool = True) -> np.ndarray:
    """Read a .npy array, memory-mapped read-only by default; pickled content is refused."""
    try:
        return np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file; was the step that writes it run?") from error
    except (ValueError, EOFError, OSError) as error:
        raise ArtifactError(f"{path}: not a whole .npy array ({error}); delete it and run the step again") from error


def write_table(path: Path, table: pd.DataFrame) -> Path:
    """Write a table as CSV."""
    with atomic_write(path) as file:
        file.write(table.to_csv(index=False).encode())
    return path


def read_table(path: Path, text_columns: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read a CSV table; ``text_columns`` stay strings (an id such as ``007`` keeps its zeros)."""
    try:
        return pd.read_csv(path, dtype=dict.fromkeys(text_columns, str), keep_default_na=False, na_values=["nan"])
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file; was the step that writes it run?") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: not a readable table ({error}); delete it and run the step again") from error


def write_image(path: Path, image: np.ndarray, compress_level: int = 6) -> Path:
    """Write a uint8 (H, W, 3) image as PNG; ``compress_level`` 1 (fast) to 9 (small), always lossless."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=compress_level)
    with atomic_write(path) as file:
        file.write(buffer.getvalue())
    return path


def read_image(path: Path) -> np.ndarray:
    """Read an image file as uint8 (H, W, 3)."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such image") from error
    except (UnidentifiedImageError, OSError) as error:
        raise ArtifactError(f"{path}: not a readable image ({error})") from error


def image_hash(image: np.ndarray) -> str:
    """SHA-256 of a picture's pixels, row by row."""
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()


def safe_name(identifier: str) -> str:
    """An identifier as a file name: letters, digits, ``.``, ``-`` and ``_``; others become ``__``."""
    return re.sub(r"[^A-Za-z0-9._-]+", "__", identifier).lstrip(".") or "_"


def array_hash(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of named arrays, in name order; streamed."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        flat = array.reshape(-1) if array.flags.c_contiguous else np.ascontiguousarray(array).reshape(-1)
        step = max(1, _CHUNK_BYTES // max(1, array.itemsize))
        for start in range(0, flat.size, step):
            digest.update(flat[start : start + step].tobytes())
    return digest.hexdigest()


def text_hash(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def write_state(folder: Path, state: Mapping[str, np.ndarray]) -> str:
    """Write named arrays, one .npy each, and last ``state.json`` with their hash; returns the hash.

    A folder without ``state.json`` is unfinished and is written anew.
    """
    index = {name: f"{safe_name(name)}.npy" for name in sorted(state)}
    if len(set(index.values())) != len(index):
        raise ArtifactError(f"{folder}: two arrays of the state would share a file name: {sorted(index)}")
    for name, file_name in index.items():
        write_array(folder / file_name, state[name])
    digest = array_hash(state)
    write_json(folder / "state.json", {"arrays": index, "sha256": digest})
    return digest


def read_state(folder: Path, verify: bool = False) -> dict[str, np.ndarray]:
    """Named arrays of `write_state`, memory-mapped; ``verify`` recomputes their hash."""
    content = read_json(folder / "state.json")
    state = {name: read_array(folder / file_name) for name, file_name in content["arrays"].items()}
    if verify and array_hash(state) != content["sha256"]:
        raise ArtifactError(f"{folder}: the arrays do not have the hash in state.json; delete the folder and run again")
    return state


def git_revision() -> str | None:
    """Revision of the source tree braindec runs from (``-dirty`` when changed), or None outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        revision = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{revision}-dirty" if changed else revision


def library_versions() -> dict[str, str]:
    """Installed versions of Python and of the libraries that can change a number."""
    versions = {"python": platform.python_version(), "braindec": __version__}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


class RunFolder:
    """One run: config, manifest, fitted decoder, predictions, reconstructions, scores, report.

    Parameters
    ----------
    path : the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @classmethod
    def create(cls, path: Path, config_yaml: str, manifest: Mapping[str, Any], config_hash: str) -> RunFolder:
        """Start a run, or take up an unfinished or finished one that has the same configuration.

        Raises
        ------
        ArtifactError
            When the folder belongs to a run with another configuration, or holds foreign files.
        """
        run = cls(path)
        if run.manifest_path.exists():
            found = run.manifest()["config_hash"]
            if found != config_hash:
                raise ArtifactError(
                    f"{path}: holds a run with another configuration (config hash {found[:12]}, this one is "
                    f"{config_hash[:12]}); choose another run_dir, or delete the folder"
                )
            return run
        foreign = [] if not run.path.exists() else [p.name for p in run.path.iterdir() if not p.name.startswith(".")]
        foreign = [name for name in foreign if name not in ("config.yaml", "train.log")]
        if foreign:
            raise ArtifactError(f"{path}: not empty and not a run folder (found {sorted(foreign)[:3]}); choose another")
        with atomic_write(run.path / "config.yaml") as file:
            file.write(config_yaml.encode())
        now = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(run.manifest_path, {"created": now, "config_hash": config_hash, **manifest})
        return run

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run. Raises `ArtifactError` when ``path`` is none."""
        run = cls(Path(path))
        if not run.manifest_path.exists():
            raise ArtifactError(f"run={path}: no run there (manifest.json is missing); give a folder that train wrote")
        return run

    @property
    def manifest_path(self) -> Path:
        """Where the manifest lies."""
        return self.path / "manifest.json"

    def manifest(self) -> dict[str, Any]:
        """The manifest's content."""
        return read_json(self.manifest_path)

    def update_manifest(self, **fields: Any) -> None:
        """Add or replace fields of the manifest."""
        write_json(self.manifest_path, {**self.manifest(), **fields})

    def decoder(self, fold: str) -> Path:
        """Folder of one fold's fitted decoder, targets and transforms."""
        return self.path / "decoder" / safe_name(fold)

    def predictions(self, source: str, fold: str) -> Path:
        """Folder of one fold's predictions; ``source`` is ``decoded`` or a control."""
        return self.path / "predictions" / safe_name(source) / safe_name(fold)

    def reconstructions(self, source: str) -> Path:
        """Folder of the reconstructions; those of controls lie beneath ``controls/``."""
        base = self.path / "reconstructions"
        return base if source == "decoded" else base / "controls" / safe_name(source)

    def made_alike(self, source: str) -> bool:
        """Whether a source was reconstructed by the same stages with the same settings as the decoded items."""
        made = self.manifest().get("reconstructed", {})
        return made.get(source) == made.get("decoded")

    def stages(self, fold: str) -> Path:
        """Folder of what stages fit for one fold."""
        return self.path / "stages" / safe_name(fold)

    def sources(self) -> tuple[str, ...]:
        """Sources of predictions present, ``decoded`` first."""
        base = self.path / "predictions"
        found = sorted(p.name for p in base.iterdir() if p.is_dir()) if base.exists() else []
        return tuple(sorted(found, key=lambda name: (name != "decoded", name)))

    def folds(self) -> tuple[str, ...]:
        """Names of the folds, in order."""
        return tuple(self.manifest()["folds"])
