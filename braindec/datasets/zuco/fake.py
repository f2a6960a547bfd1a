"""Fakes of ZuCo 1 (MATLAB 5.0) and ZuCo 2 (MATLAB 7.3)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from braindec.datasets.simulated.sentences import SENTIMENT_TASK, Sentence, draw_sentences
from braindec.datasets.zuco.matlab import N_CHANNELS
from braindec.datasets.zuco.reader import RATE_HZ

FOLDERS = {
    1: {"SR": "task1-SR", "NR": "task2-NR", "TSR": "task3-TSR"},
    2: {"NR": "task1-NR-2.0", "TSR": "task2-TSR-2.0"},
}
_SENTIMENT = {"negative": "-1", "neutral": "0", "positive": "1"}


def write_fake(
    root: str | Path, release: Literal[1, 2] = 1, n_subjects: int = 2, n_sentences: int = 4, seed: int = 0
) -> None:
    """Write the published tree with ``n_sentences`` a task, one of them skipped; labels and paraphrases."""
    root = Path(root)
    drawn = draw_sentences(12 * n_sentences, seed)
    reviews = [s for s in drawn if s.corpus == SENTIMENT_TASK]
    lives = [s for s in drawn if s.corpus != SENTIMENT_TASK]
    read = {"SR": reviews[:n_sentences], "NR": lives[:n_sentences], "TSR": lives[n_sentences : 2 * n_sentences]}
    for number in range(n_subjects):
        subject = f"{'Z' if release == 1 else 'Y'}A{chr(66 + number)}"
        for task, folder in FOLDERS[release].items():
            rng = np.random.default_rng((seed, number, len(task)))
            signals = [_eeg(len(s.words), rng) for s in read[task]]
            signals[1] = np.array(np.nan)
            path = root / folder / "Matlab_files" / f"results{subject}_{task}.mat"
            path.parent.mkdir(parents=True, exist_ok=True)
            write = write_v5 if release == 1 else write_v73
            write(path, [s.text for s in read[task]], signals)
    _write_texts(root, [s for task in FOLDERS[release] for s in read[task]])


def _eeg(n_words: int, rng: np.random.Generator) -> np.ndarray:
    signal = 5.0 * rng.standard_normal((N_CHANNELS, round(0.3 * n_words * RATE_HZ)))
    signal[-1] = 0
    return np.asarray(signal)


def write_v5(path: Path, texts: list[str], signals: list[np.ndarray]) -> None:
    """A results file in MATLAB's format 5."""
    from scipy.io import savemat

    data = np.empty(len(texts), dtype=[("content", object), ("rawData", object)])
    for row, (text, signal) in enumerate(zip(texts, signals, strict=True)):
        data[row] = (text, signal)
    savemat(path, {"sentenceData": data})


def write_v73(path: Path, texts: list[str], signals: list[np.ndarray]) -> None:
    """A results file in MATLAB's format 7.3: HDF5 behind a header of 512 bytes, cells as references."""
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        group = file.create_group("sentenceData")
        for name in ("content", "rawData"):
            group.create_dataset(name, (len(texts), 1), dtype=h5py.ref_dtype)
        for row, (text, signal) in enumerate(zip(texts, signals, strict=True)):
            codes = np.array([[ord(c)] for c in text] or [[0], [0]], dtype=np.uint16)
            said = file.create_dataset(f"#refs#/c{row}", data=codes)
            if not text:
                said.attrs["MATLAB_empty"] = np.uint8(1)
            group["content"][row, 0] = said.ref
            group["rawData"][row, 0] = file.create_dataset(f"#refs#/r{row}", data=np.atleast_2d(signal).T).ref
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan  1 00:00:00 2020 HDF5 schema 1.00 ."
    with path.open("r+b") as file:
        file.write(header.ljust(116) + b"\0" * 8 + b"\x00\x02IM")


def _write_texts(root: Path, sentences: list[Sentence]) -> None:
    folder = root / "task_materials"
    folder.mkdir(parents=True, exist_ok=True)
    lines = {
        "sentiment": ["sentence_id;sentence;control;sentiment_label"],
        "relation": ["sentence_id;sentence;control;relation_types"],
    }
    for number, s in enumerate(sentences):
        kind, label = ("sentiment", _SENTIMENT[s.sentiment]) if s.sentiment else ("relation", s.relation.upper())
        lines[kind].append(f"{number};{s.text};;{label}")
    (folder / "sentiment_labels_task1.csv").write_text("\n".join(lines["sentiment"]) + "\n")
    (folder / "relations_labels_task3.csv").write_text("\n".join(lines["relation"]) + "\n")
    rows = ["sentence\tparaphrase"] + [f"{s.text}\t{p}" for s in sentences for p in s.paraphrases]
    (root / "paraphrases.tsv").write_text("\n".join(rows) + "\n")
