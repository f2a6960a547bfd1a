"""Rendering of training and held-out scenes by a pool of processes; imports no PyTorch, so that they start at once."""

from __future__ import annotations

import json
import multiprocessing
import time
from pathlib import Path
from typing import Any

import numpy as np

from braindec.datasets.simulated.scenes import SceneBatch, render_scenes
from braindec.datasets.simulated.vocabulary import CATEGORIES, PLACES

from .plan import HELD_OUT_SEED, SIZE, TEXT_LENGTH, TRAIN_SEED, Run
from .words import save_tokenizer

N_CAPTIONS = 6
_CHUNK = 500
FIELDS = {
    "images": ("uint8", (SIZE, SIZE, 3)),
    "depth": ("float16", (SIZE, SIZE)),
    "mask": ("uint8", (SIZE // 8, SIZE // 8)),
    "tokens": ("int16", (N_CAPTIONS, TEXT_LENGTH)),
    "labels": ("uint8", (3,)),
}


def render_all(run: Run, n_train: int, n_held_out: int, workers: int, tokenizer: Any) -> None:
    """Render both sets, unless they are there; ``work/scenes/done.json`` appears when they are whole."""
    folder = run.work / "scenes"
    done = folder / "done.json"
    if done.exists():
        found = json.loads(done.read_text(encoding="utf-8"))
        if (found["train"], found["held_out"]) == (n_train, n_held_out):
            return
        done.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    save_tokenizer(tokenizer, run.work / "tokenizer")
    jobs = []
    for part, seed, n in (("held_out", HELD_OUT_SEED, n_held_out), ("train", TRAIN_SEED, n_train)):
        for field, (dtype, shape) in FIELDS.items():
            np.lib.format.open_memmap(folder / f"{part}_{field}.npy", mode="w+", dtype=dtype, shape=(n, *shape))
        jobs += [(run.work, part, seed, start, min(_CHUNK, n - start)) for start in range(0, n, _CHUNK)]
    began = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for _ in pool.imap_unordered(_render_chunk, jobs):
            pass
    found = {"train": n_train, "held_out": n_held_out, "seconds": round(time.monotonic() - began, 1)}
    done.write_text(json.dumps(found), encoding="utf-8")


def _render_chunk(job: tuple[Path, str, int, int, int]) -> None:
    from tokenizers import Tokenizer

    work, part, seed, start, n = job
    batch = render_scenes(n, seed, SIZE, start)
    tokenizer = Tokenizer.from_file(str(work / "tokenizer" / "tokenizer.json"))
    tokenizer.enable_truncation(TEXT_LENGTH)
    tokenizer.no_padding()
    end = tokenizer.token_to_id("<|endoftext|>")
    tokens = np.full((n, N_CAPTIONS, TEXT_LENGTH), end, dtype=np.int16)
    encoded = tokenizer.encode_batch([text for captions in batch.captions for text in captions])
    for place, entry in enumerate(encoded):
        tokens[place // N_CAPTIONS, place % N_CAPTIONS, : len(entry.ids)] = entry.ids
    values = {
        "images": batch.images,
        "depth": batch.depth.astype(np.float16),
        "mask": (batch.instances > 0).reshape(n, SIZE // 8, 8, SIZE // 8, 8).mean(axis=(2, 4)) > 0.25,
        "tokens": tokens,
        "labels": labels_of(batch),
    }
    for field, value in values.items():
        array = np.lib.format.open_memmap(work / "scenes" / f"{part}_{field}.npy", mode="r+")
        array[start : start + n] = value
        array.flush()


def labels_of(batch: SceneBatch) -> np.ndarray:
    """Object and place of each scene as numbers, and whether there is a second object, uint8 (n, 3)."""
    rows = [
        (CATEGORIES.index(a["object"]), PLACES.index(a["place"]), a["second_object"] != "none")
        for a in batch.attributes
    ]
    return np.array(rows, dtype=np.uint8)
