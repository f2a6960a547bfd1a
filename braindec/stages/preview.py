"""A grid of the pictures that were made so far, drawn again as they come.

Legend: H W picture height and width.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from PIL import Image

from braindec.artifacts import write_image
from braindec.types import Reconstructions


class Preview:
    """Keeps ``path`` a PNG of the newest pictures, newest first; a viewer that reloads shows progress.

    Parameters
    ----------
    path : the file, replaced as a whole each time.
    columns, rows : size of the grid in pictures.
    tile_px : side of a picture.
    every_s : least time between two drawings in seconds; the first pictures are drawn at once.
    """

    def __init__(self, path: Path, columns: int = 8, rows: int = 4, tile_px: int = 96, every_s: float = 2.0) -> None:
        self.path = path
        self.columns = columns
        self.rows = rows
        self.tile_px = tile_px
        self.every_s = every_s
        self._tiles: list[np.ndarray] = []
        self._drawn_at: float | None = None

    def add(self, made: Reconstructions) -> None:
        """Take up the pictures of a chunk."""
        if made.images is None:
            return
        side = (self.tile_px, self.tile_px)
        newest = [np.asarray(Image.fromarray(image).resize(side)) for image in made.images[-self.columns * self.rows :]]
        self._tiles = (newest[::-1] + self._tiles)[: self.columns * self.rows]
        now = time.monotonic()
        if self._drawn_at is None or now - self._drawn_at >= self.every_s:
            self._drawn_at = now
            self.draw()

    def draw(self) -> None:
        """Write the grid, if there is a picture."""
        if not self._tiles:
            return
        blank = np.full((self.tile_px, self.tile_px, 3), 255, np.uint8)
        filled = self._tiles + [blank] * (-len(self._tiles) % self.columns)
        lines = [np.concatenate(filled[i : i + self.columns], axis=1) for i in range(0, len(filled), self.columns)]
        write_image(self.path, np.concatenate(lines))
