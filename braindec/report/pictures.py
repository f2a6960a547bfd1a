"""Pictures as data URIs: tiny ones exact, large ones as thumbnails that fit a page's byte budget."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TINY_SIDE = 64
"""Pictures up to this side are embedded pixel for pixel and enlarged by whole factors."""

LADDER: tuple[tuple[int, int], ...] = (
    (384, 84),
    (288, 82),
    (224, 80),
    (160, 78),
    (144, 72),
    (128, 66),
    (112, 58),
    (96, 50),
    (80, 42),
    (72, 34),
)
"""(largest side in pixels, WebP quality), from the best to the smallest; every side is above `TINY_SIDE`."""


@dataclass(frozen=True)
class Picture:
    """A data URI and the size in pixels of what it holds."""

    src: str
    width: int
    height: int

    @property
    def tiny(self) -> bool:
        """Whether it must be enlarged by whole factors, without smoothing."""
        return max(self.width, self.height) <= TINY_SIDE


def encode(image: np.ndarray, side: int, quality: int) -> Picture:
    """One uint8 (H, W, 3) picture: PNG when it is tiny, else WebP no larger than ``side``."""
    from PIL import Image

    picture = Image.fromarray(image)
    buffer = io.BytesIO()
    if max(picture.size) <= TINY_SIDE:
        picture.save(buffer, "PNG", compress_level=9)
        kind = "png"
    else:
        if max(picture.size) > side:
            scale = side / max(picture.size)
            size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
            picture = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
        picture.save(buffer, "WEBP", quality=quality, method=4)
        kind = "webp"
    payload = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(f"data:image/{kind};base64,{payload}", picture.width, picture.height)


def fit_budget(images: Sequence[np.ndarray], budget_bytes: int, sample: int = 24) -> int:
    """The first rung of `LADDER` whose estimated total, from an even sample, fits; the last one when none does."""
    if not images:
        return 0
    picked = [images[i] for i in np.unique(np.linspace(0, len(images) - 1, min(sample, len(images))).astype(int))]
    for rung, (side, quality) in enumerate(LADDER):
        mean_bytes = sum(len(encode(image, side, quality).src) for image in picked) / len(picked)
        if 1.1 * mean_bytes * len(images) <= budget_bytes:
            return rung
    return len(LADDER) - 1
