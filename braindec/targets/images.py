"""Stimulus pictures as small float arrays, and back. Legend: n stimuli, H W picture size, C channels (1 or 3)."""

from __future__ import annotations

import numpy as np
from PIL import Image

from braindec.types import DataError, Stimuli

_CHUNK = 64


def small_images(stimuli: Stimuli, size: int, grey: bool, target: str) -> np.ndarray:
    """Pictures resized to ``size`` x ``size``, float32 (n, size, size, C) in [0, 1].

    Resizing is Pillow's antialiased bicubic filter (the shape is forced to a square); a picture that has the size
    already is not touched. Grey is ITU-R 601-2 luma. Pictures are read a few at a time, so that a lazy array is never
    loaded whole.

    Raises
    ------
    DataError
        If the stimuli have no pictures; ``target`` names who asked.
    """
    if stimuli.images is None:
        raise DataError(f"target {target}: needs Stimuli.images, but these {len(stimuli)} stimuli have none")
    result = np.empty((len(stimuli), size, size, 1 if grey else 3), dtype=np.float32)
    for start in range(0, len(stimuli), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(stimuli)))
        for row, pixels in zip(rows, np.asarray(stimuli.images[rows])):
            picture = Image.fromarray(pixels)
            if grey:
                picture = picture.convert("L")
            if picture.size != (size, size):
                picture = picture.resize((size, size), Image.Resampling.BICUBIC)
            result[row] = np.asarray(picture, dtype=np.float32).reshape(size, size, -1) / 255
    return result


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Float pictures (n, H, W, C) in [0, 1] -> uint8 (n, H, W, 3): clipped, rounded, grey repeated over channels.

    Raises
    ------
    DataError
        If a value is not finite: it has no colour.
    """
    if not np.isfinite(images).all():
        raise DataError("pictures: NaN or infinite values cannot be shown; check the decoder's predictions")
    rounded = np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
    return np.repeat(rounded, 3, axis=3) if rounded.shape[3] == 1 else rounded


def check_size(size: int, target: str) -> None:
    """Refuse a picture size below one pixel with a `DataError`."""
    if size < 1:
        raise DataError(f"target {target}: expected size >= 1 pixel, found {size}")
