"""A small synthetic THINGS-EEG2 in every on-disk dialect: file names, types, axes, channel and sample counts."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from braindec.datasets.things_eeg2.files import (
    ARRAYS,
    CONDITIONS,
    METADATA,
    PREPROCESSED,
    RAW,
    TARGET_TRIAL,
    TORCH,
    Dialect,
)

POSTERIOR = ("Pz", "P3", "P7", "O1", "Oz", "O2", "P4", "P8", "P1", "P5", "PO7", "PO3", "POz", "PO4", "PO8", "P6", "P2")


def write_fake(
    root: str | Path,
    dialect: Dialect = "A",
    subjects: tuple[str, ...] = ("sub-01",),
    n_concepts: int = 6,
    n_test: int = 5,
    n_test_repetitions: int = 8,
    with_images: bool = True,
    seed: int = 0,
) -> None:
    """Write recordings of one dialect and the picture tree: 10 pictures a training concept, 4 showings each.

    Channels and samples have their true number; a picture's colour drives the channels 0.1 s after onset.
    """
    root = Path(root)
    rng = np.random.default_rng(seed)
    colours = {"train": rng.uniform(0, 255, (n_concepts * 10, 3)), "test": rng.uniform(0, 255, (n_test, 3))}
    paths = _write_images(root, colours, n_concepts, with_images)
    writer: Callable[..., None] = {"A": _write_a, "B": _write_b, "C": _write_c, "D": _write_d, "raw": _write_raw}[
        dialect
    ]
    for subject in subjects:
        writer(root, subject, colours, paths, n_test_repetitions, rng)


def _write_images(
    root: Path, colours: dict[str, np.ndarray], n_concepts: int, with_images: bool
) -> dict[str, list[str]]:
    from PIL import Image

    concepts = [f"{i + 1:05d}_thing{chr(97 + i)}" for i in range(n_concepts)]
    others = [f"{i + 1:05d}_other{chr(97 + i)}" for i in range(len(colours["test"]))]
    names = {
        "train": [f"training_images/{c}/{c[6:]}_{k + 1:02d}b.jpg" for c in concepts for k in range(10)],
        "test": [f"test_images/{c}/{c[6:]}_01b.jpg" for c in others],
    }
    for part, files in names.items():
        for name, colour in zip(files, colours[part]):
            if with_images:
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((10, 10, 3), colour, dtype=np.uint8)).save(root / name)
    root.mkdir(parents=True, exist_ok=True)
    metadata: dict[str, Any] = {}
    for part, files in names.items():
        metadata[f"{part}_img_concepts"] = [f.split("/")[1] for f in files]
        metadata[f"{part}_img_files"] = [f.split("/")[2] for f in files]
    np.save(root / "image_metadata.npy", np.array(metadata, dtype=object), allow_pickle=True)
    return names


def _names(n_channels: int) -> list[str]:
    frontal = [f"{row}{i}" for row in ("F", "FC", "C", "T", "AF", "CP") for i in range(1, 9)]
    return [*POSTERIOR, *frontal][:n_channels]


def _trials(
    colours: np.ndarray, n_repetitions: int, n_channels: int, times: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Float32 (picture, showing, channel, time): noise plus a colour-driven bump at 0.1 s."""
    weights = np.random.default_rng(7).normal(size=(3, n_channels))
    bump = np.exp(-(((times - 0.1) / 0.05) ** 2))
    signal = ((colours / 255 - 0.5) @ weights)[:, None, :, None] * bump
    return (signal + 0.5 * rng.normal(size=(len(colours), n_repetitions, n_channels, len(times)))).astype(np.float32)


def _showings(n_test: int) -> tuple[tuple[str, int], tuple[str, int]]:
    return ("train", 4), ("test", n_test)


def _write_a(root: Path, subject: str, colours: Any, paths: Any, n_test: int, rng: np.random.Generator) -> None:
    times = np.linspace(-0.2, 0.79, 100)
    (root / subject).mkdir(parents=True, exist_ok=True)
    for part, n in _showings(n_test):
        data = _trials(colours[part], n, 17, times, rng).astype(np.float64)
        content = {"preprocessed_eeg_data": data, "ch_names": _names(17), "times": times}
        np.save(root / subject / PREPROCESSED[part], np.array(content, dtype=object), allow_pickle=True)


def _write_b(root: Path, subject: str, colours: Any, paths: Any, n_test: int, rng: np.random.Generator) -> None:
    times = np.arange(-50, 250) / 250
    folder = root / "Preprocessed_data_250Hz" / subject
    folder.mkdir(parents=True, exist_ok=True)
    for part, n in _showings(n_test):
        data = _trials(colours[part], n, 63, times[50:], rng)
        with (folder / PREPROCESSED[part]).open("wb") as file:
            content = {"preprocessed_eeg_data": data, "ch_names": _names(63), "times": times}
            pickle.dump(content, file, protocol=4)


def _write_c(root: Path, subject: str, colours: Any, paths: Any, n_test: int, rng: np.random.Generator) -> None:
    times = np.arange(-50, 251) / 250
    folder = root / subject
    folder.mkdir(parents=True, exist_ok=True)
    (folder / METADATA).write_text(json.dumps({"ch_names": _names(63), "times": times.tolist(), "sfreq": 250}))
    n_images = len(colours["train"])
    halves = [np.arange(n_images)[s % 2 :: 2] for s in range(4)]
    for part, conditions, n in (("train", halves, 2), ("test", [np.arange(len(colours["test"]))] * 4, n_test // 4)):
        data = np.stack([_trials(colours[part][images], n, 63, times, rng) for images in conditions])
        np.save(folder / ARRAYS[part], data)
        np.save(folder / CONDITIONS[part], np.stack(conditions) + 1)


def _write_d(root: Path, subject: str, colours: Any, paths: Any, n_test: int, rng: np.random.Generator) -> None:
    import torch

    times = np.arange(250) / 250
    folder = root / "Preprocessed_data_250Hz_whiten" / subject
    folder.mkdir(parents=True, exist_ok=True)
    for part, n in _showings(n_test):
        order = rng.permutation(len(paths[part]))
        images = [paths[part][i] for i in order]
        data = _trials(colours[part][order], n, 63, times, rng).astype(np.float16)
        content = {
            "eeg": data,
            "img": np.array(images)[:, None].repeat(n, axis=1),
            "label": np.array([int(i.split("/")[1][:5]) - 1 for i in images])[:, None].repeat(n, axis=1),
            "text": np.array([f"a photo of a {i.split('/')[1][6:]}" for i in images])[:, None].repeat(n, axis=1),
            "session": np.tile(np.arange(n) * 4 // n + 1, (len(images), 1)),
            "ch_names": _names(63),
            "times": times,
        }
        torch.save(content, folder / TORCH[part])


def _write_raw(root: Path, subject: str, colours: Any, paths: Any, n_test: int, rng: np.random.Generator) -> None:
    names = [*_names(63), "stim"]
    for session in range(1, 5):
        folder = root / "raw_data" / subject / f"ses-{session:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        halves = np.arange(len(colours["train"]))[(session - 1) % 2 :: 2]
        for part, images, n in (("train", halves, 2), ("test", np.arange(len(colours["test"])), n_test // 4)):
            shown = rng.permutation(np.repeat(images, n))
            data = 1e-6 * rng.normal(size=(64, 2000 + 200 * len(shown)))
            data[63] = 0
            times = np.arange(-200, 800) / 1000
            for k, image in enumerate(shown):
                onset = 1000 + 200 * k
                one = _trials(colours[part][image : image + 1], 1, 63, times, rng)[0, 0]
                data[:63, onset - 200 : onset + 800] += 1e-6 * one
                data[63, onset : onset + 20] = image + 1
            data[63, 100:120] = TARGET_TRIAL
            content = {
                "raw_eeg_data": data,
                "ch_names": names,
                "ch_types": ["eeg"] * 63 + ["stim"],
                "sfreq": 1000,
                "highpass": 0.01,
                "lowpass": 100,
            }
            np.save(folder / RAW[part], np.array(content, dtype=object), allow_pickle=True)
