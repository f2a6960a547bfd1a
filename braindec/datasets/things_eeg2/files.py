"""The on-disk dialects of THINGS-EEG2, told apart by their files, read into one form.

``raw``  ``sub-01/ses-01/raw_eeg_{training,test}.npy``: pickled dictionaries of continuous EEG at 1000 Hz.
``A``    ``sub-01/preprocessed_eeg_{training,test}.npy`` by ``np.save`` of a dictionary: 17 channels, 100 Hz.
``B``    the same names, but a bare pickle: 63 channels, 250 Hz; its ``times`` still has samples that the data lost.
``C``    bare arrays (session, picture, showing, channel, time) with the picture numbers beside them.
``D``    ``sub-01/{train,test}.pt``: a torch file with half-precision ``eeg`` and the pictures' paths.

Legend: N trials, S channels, T time points.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from braindec.datasets.files import need_file, number_repetitions, reading
from braindec.datasets.safe_pickle import load
from braindec.types import DataError

Dialect = Literal["raw", "A", "B", "C", "D"]
FOLDERS = ("raw_data", "Raw_data", "Preprocessed_data_250Hz_whiten", "Preprocessed_data_250Hz", "preprocessed_data")
PREPROCESSED = {"train": "preprocessed_eeg_training.npy", "test": "preprocessed_eeg_test.npy"}
RAW = {"train": "raw_eeg_training.npy", "test": "raw_eeg_test.npy"}
TORCH = {"train": "train.pt", "test": "test.pt"}
ARRAYS = {"train": "train_eeg.npy", "test": "test_eeg.npy"}
CONDITIONS = {"train": "train_conditions.npy", "test": "test_conditions.npy"}
METADATA = "metadata.json"
TARGET_TRIAL = 99999
WINDOW_S = (-0.2, 0.8)
RAW_RATE_HZ = 250.0
TEST_SESSIONS = 4
REMEDY = (
    "download THINGS-EEG2 from osf.io/3jk45 (CC BY 4.0; 1 to 10 GB a person), or set the data set's root to where it "
    "lies"
)


@dataclass(frozen=True)
class Part:
    """Trials of the training or test part.

    Attributes
    ----------
    signal : (N, S, T) of any float type.
    image : int (N,), 0-based number of the picture within the part; unused where ``paths`` names it.
    session, run, repetition : int (N,).
    paths : per trial the picture's path, or None.
    """

    signal: np.ndarray
    image: np.ndarray
    session: np.ndarray
    run: np.ndarray
    repetition: np.ndarray
    paths: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Recording:
    """One subject's parts, with channel names and seconds from onset."""

    dialect: Dialect
    parts: dict[str, Part]
    channel_names: tuple[str, ...]
    times_s: np.ndarray


def find(root: Path) -> tuple[Dialect, tuple[str, ...], Path]:
    """Which dialect lies below ``root``, its subjects, and the folder that holds them.

    Raises
    ------
    DataError
        If no subject folder holds a known file.
    """
    for folder in (root, *(root / name for name in FOLDERS)):
        found = sorted(p for p in folder.glob("sub-*") if p.is_dir())
        dialects = [(path.name, _dialect(path)) for path in found]
        known = [(name, dialect) for name, dialect in dialects if dialect is not None]
        if known:
            different = sorted({dialect for _, dialect in known})
            if len(different) > 1:
                raise DataError(f"{folder}: its subjects are in different dialects ({different}); keep one a folder")
            return known[0][1], tuple(name for name, _ in known), folder
    raise DataError(
        f"{root}: no sub-XX folder with {RAW['train']}, {PREPROCESSED['train']} or {TORCH['train']}; {REMEDY}"
    )


def _dialect(folder: Path) -> Dialect | None:
    if (folder / TORCH["train"]).is_file():
        return "D"
    if (folder / ARRAYS["train"]).is_file():
        return "C"
    if (folder / "ses-01" / RAW["train"]).is_file():
        return "raw"
    path = folder / PREPROCESSED["train"]
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return "A" if file.read(6) == b"\x93NUMPY" else "B"


def signal_files(root: Path, subject: str) -> list[Path]:
    """Files that hold a subject's signal."""
    dialect, subjects, folder = find(root)
    if subject not in subjects:
        raise DataError(f"things_eeg2: unknown subject {subject!r}; {folder} holds {', '.join(subjects)}")
    names = {"D": TORCH, "C": ARRAYS, "A": PREPROCESSED, "B": PREPROCESSED}.get(dialect)
    if names is None:
        return sorted((folder / subject).glob("ses-*/raw_eeg_*.npy"))
    return [folder / subject / name for name in names.values()]


def read(root: Path, subject: str) -> Recording:
    """One subject's recording, whatever its dialect.

    Raises
    ------
    DataError
        If a file is missing, cut, unsafe (a pickle that asks for code) or inconsistent.
    """
    signal_files(root, subject)
    dialect, _, folder = find(root)
    reader = {"A": _read_dictionary, "B": _read_dictionary, "C": _read_arrays, "D": _read_torch, "raw": _read_raw}
    return reader[dialect](folder / subject, dialect)


def fields(path: Path, content: Any, names: tuple[str, ...]) -> list[Any]:
    """The named entries of a file's dictionary; `DataError` when one is missing."""
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a dictionary with {list(names)}, found {type(content).__name__}")
    missing = [name for name in names if name not in content]
    if missing:
        raise DataError(f"{path}: expected the fields {list(names)}, found {sorted(content)}")
    return [content[name] for name in names]


def _repeated(path: Path, array: np.ndarray, split: str) -> Part:
    """A part from (picture, showing, channel, time)."""
    if array.ndim != 4:
        raise DataError(f"{path}: expected (picture, showing, channel, time), found shape {array.shape}")
    n_images, n_repetitions = array.shape[:2]
    repetition = np.tile(np.arange(n_repetitions), n_images)
    session = np.zeros(len(repetition), dtype=np.int64)
    if split == "test" and n_repetitions % TEST_SESSIONS == 0:
        session = repetition // (n_repetitions // TEST_SESSIONS) + 1  # the publishers joined sessions along showings
    return Part(
        signal=array.reshape(-1, *array.shape[2:]),
        image=np.repeat(np.arange(n_images), n_repetitions),
        session=session,
        run=np.zeros(len(repetition), dtype=np.int64),
        repetition=repetition,
    )


def _read_dictionary(folder: Path, dialect: Dialect) -> Recording:
    parts, names, times = {}, [], []
    for split, name in PREPROCESSED.items():
        path = folder / name
        signal, channels, seconds = fields(path, load(path), ("preprocessed_eeg_data", "ch_names", "times"))
        signal = np.asarray(signal)
        parts[split] = _repeated(path, signal, split)
        channels = [str(channel) for channel in channels]
        seconds = np.asarray(seconds, dtype=np.float64).ravel()
        if len(channels) == signal.shape[2] + 1 and channels[-1] == "stim":
            channels = channels[:-1]
        if len(channels) != signal.shape[2]:
            raise DataError(f"{path}: {signal.shape[2]} channels in the data, {len(channels)} names")
        surplus = len(seconds) - signal.shape[3]
        if surplus < 0 or (surplus > 0 and dialect == "A"):
            raise DataError(f"{path}: {signal.shape[3]} samples in the data, {len(seconds)} in times")
        # Dialect B cut the baseline's samples from the front of the data but not from times.
        names.append(channels)
        times.append(seconds[surplus:])
    _same(folder, names, times)
    return Recording(dialect, parts, tuple(names[0]), times[0])


def _same(folder: Path, names: list[list[str]], times: list[np.ndarray]) -> None:
    if any(other != names[0] for other in names[1:]):
        raise DataError(f"{folder}: the training and test files have different channels")
    if any(len(other) != len(times[0]) or not np.allclose(other, times[0], atol=1e-6) for other in times[1:]):
        raise DataError(f"{folder}: the training and test files have different time points or sampling rates")


def _read_arrays(folder: Path, dialect: Dialect) -> Recording:
    path = need_file(folder / METADATA, "the arrays' description", REMEDY)
    with reading(path, "JSON"):
        metadata = json.loads(path.read_text())
    channels, seconds = fields(path, metadata, ("ch_names", "times"))
    times = np.asarray(seconds, dtype=np.float64)
    parts = {}
    for split, name in ARRAYS.items():
        array, conditions = load(folder / name), load(folder / CONDITIONS[split])
        if array.ndim != 5 or array.shape[3:] != (len(channels), len(times)):
            raise DataError(
                f"{folder / name}: expected (session, picture, showing, {len(channels)}, {len(times)}), "
                f"found {array.shape}"
            )
        if conditions.shape != array.shape[:2] or conditions.min() < 1:
            raise DataError(
                f"{folder / CONDITIONS[split]}: expected 1-based picture numbers {array.shape[:2]}, found "
                f"{conditions.shape} from {conditions.min()}"
            )
        if any(len(np.unique(row)) != len(row) for row in conditions):
            raise DataError(f"{folder / CONDITIONS[split]}: a picture occurs twice in one session")
        image = np.repeat(conditions.ravel() - 1, array.shape[2])
        session = np.repeat(np.arange(1, len(array) + 1), array.shape[1] * array.shape[2])
        parts[split] = Part(
            signal=array.reshape(-1, *array.shape[3:]),
            image=image,
            session=session,
            run=np.zeros_like(session),
            repetition=number_repetitions(image.tolist()),
        )
    return Recording(dialect, parts, tuple(map(str, channels)), times)


def _read_torch(folder: Path, dialect: Dialect) -> Recording:
    import torch

    allowed = [np.ndarray, np.dtype, np._core.multiarray._reconstruct, np._core.multiarray.scalar]  # type: ignore[attr-defined]
    allowed += [type(np.dtype(code)) for code in ("f2", "f4", "f8", "i4", "i8", "U1", "O")]
    parts, names, times = {}, [], []
    for split, name in TORCH.items():
        path = need_file(folder / name, "a part of the recording", REMEDY)
        with reading(path, "torch (weights only)"), torch.serialization.safe_globals(allowed):
            content = torch.load(path, map_location="cpu", weights_only=True)
        eeg, images, channels, seconds = fields(path, content, ("eeg", "img", "ch_names", "times"))
        signal = np.asarray(eeg)
        part = _repeated(path, signal, split)
        n_images, n_repetitions = signal.shape[:2]
        paths = _flat_paths(path, images, n_images, n_repetitions)
        session = np.asarray(content.get("session", part.session))
        if session.size == n_images:
            session = np.repeat(session.ravel(), n_repetitions)
        if session.size != len(part.signal):
            raise DataError(f"{path}: {session.size} entries in session for {n_images} x {n_repetitions} trials")
        repetition = np.asarray(number_repetitions(paths))
        parts[split] = Part(part.signal, part.image, session.ravel().astype(int), part.run, repetition, tuple(paths))
        names.append([str(channel) for channel in channels])
        times.append(np.asarray(seconds, dtype=np.float64).ravel()[-signal.shape[3] :])
        if len(names[-1]) != signal.shape[2] or len(times[-1]) != signal.shape[3]:
            raise DataError(f"{path}: eeg {signal.shape} but {len(names[-1])} channel names and {len(seconds)} times")
    _same(folder, names, times)
    return Recording(dialect, parts, tuple(names[0]), times[0])


def _flat_paths(path: Path, images: Any, n_images: int, n_repetitions: int) -> list[str]:
    values = np.asarray(images, dtype=object)
    if values.ndim == 2 and values.shape == (n_images, n_repetitions):
        return [str(value) for value in values.ravel()]
    if values.size != n_images:
        raise DataError(f"{path}: {values.size} picture paths for {n_images} pictures")
    return [str(value) for value in values.ravel() for _ in range(n_repetitions)]


def _read_raw(folder: Path, dialect: Dialect) -> Recording:
    from braindec.datasets.things_eeg2.raw import read_session

    sessions = sorted(p for p in folder.glob("ses-*") if p.is_dir())
    numbers = [int(session.name.split("-")[1]) for session in sessions]
    if numbers != list(range(1, len(numbers) + 1)):
        raise DataError(f"{folder}: sessions {numbers} are there; a session before {max(numbers)} is missing; {REMEDY}")
    parts: dict[str, Part] = {}
    names: list[list[str]] = []
    times: list[np.ndarray] = []
    for split, name in RAW.items():
        read_parts = [read_session(session / name) for session in sessions]
        names += [part[2] for part in read_parts]
        times += [part[3] for part in read_parts]
        _same(folder, names, times)
        image = np.concatenate([part[1] for part in read_parts]) - 1
        session_number = np.concatenate([np.full(len(part[1]), n) for n, part in zip(numbers, read_parts)])
        parts[split] = Part(
            signal=np.concatenate([part[0] for part in read_parts]),
            image=image,
            session=session_number,
            run=np.zeros_like(session_number),
            repetition=number_repetitions(image.tolist()),
        )
    return Recording(dialect, parts, tuple(names[0]), times[0])
