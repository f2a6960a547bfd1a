"""Sheets of sample pictures, one row a kind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np


def write_sheet(path: Path, rows: Mapping[str, np.ndarray], columns: int = 16, zoom: int = 2) -> None:
    """Write rows of uint8 images (n, H, W, 3) as one PNG; names go, in order, into a text file beside it."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [np.concatenate(list(images[:columns]), axis=1) for images in rows.values()]
    width = min(line.shape[1] for line in lines)
    sheet = np.concatenate([line[:, :width] for line in lines])
    picture = Image.fromarray(sheet)
    picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST).save(path)
    path.with_suffix(".txt").write_text("\n".join(rows) + "\n", encoding="utf-8")


def psnr(found: np.ndarray, truth: np.ndarray) -> float:
    """Mean over images of the peak signal-to-noise ratio in dB."""
    error = ((found.astype(np.float64) - truth.astype(np.float64)) ** 2).mean(axis=(1, 2, 3))
    return float(np.mean(10 * np.log10(255**2 / np.maximum(error, 1e-9))))


def grey(values: np.ndarray) -> np.ndarray:
    """Maps (n, H, W) in [0, 1] -> uint8 (n, H, W, 3)."""
    return np.repeat((np.clip(values, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=3)
