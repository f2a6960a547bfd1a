"""A contact sheet: what was shown over what was decoded, as one PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from braindec.artifacts import atomic_write
from braindec.report.pictures import TINY_SIDE
from braindec.types import DataError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


def _tile(image: np.ndarray, tile_px: int) -> Picture:
    """Fit a picture into a tile: tiny ones by whole factors without smoothing, others by Lanczos resampling."""
    from PIL import Image

    picture = Image.fromarray(image)
    side = max(picture.size)
    if side <= min(TINY_SIDE, tile_px):
        factor = tile_px // side
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    scale = tile_px / side
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def contact_sheet(
    truth: Sequence[np.ndarray | None],
    decoded: Sequence[np.ndarray | None],
    columns: int = 8,
    tile_px: int = 96,
    gap_px: int = 8,
    background: tuple[int, int, int] = (255, 255, 255),
) -> Picture:
    """Rows of ``columns`` pairs, each pair the shown picture over the decoded one.

    Parameters
    ----------
    truth, decoded : uint8 (H, W, 3) each, in the same order; None leaves a tile empty.

    Raises
    ------
    DataError
        If the two differ in length or are empty.
    """
    from PIL import Image

    if len(truth) != len(decoded) or not truth:
        raise DataError(
            f"Contact sheet: expected as many shown as decoded pictures, found {len(truth)}, {len(decoded)}"
        )
    columns = min(columns, len(truth))
    rows = -(-len(truth) // columns)
    width = gap_px + columns * (tile_px + gap_px)
    # Half a gap joins a pair; a full gap and a half separate one pair from the next.
    pair_px = 2 * tile_px + gap_px // 2
    height = gap_px + rows * (pair_px + gap_px + gap_px // 2)
    sheet = Image.new("RGB", (width, height), background)
    for i, pair in enumerate(zip(truth, decoded)):
        left = gap_px + (i % columns) * (tile_px + gap_px)
        top = gap_px + (i // columns) * (pair_px + gap_px + gap_px // 2)
        for k, image in enumerate(pair):
            if image is None:
                continue
            tile = _tile(image, tile_px)
            offset = ((tile_px - tile.width) // 2, (tile_px - tile.height) // 2)
            sheet.paste(tile, (left + offset[0], top + k * (tile_px + gap_px // 2) + offset[1]))
    return sheet


def write_contact_sheet(
    path: Path,
    truth: Sequence[np.ndarray | None],
    decoded: Sequence[np.ndarray | None],
    columns: int = 8,
    tile_px: int = 96,
) -> Path:
    """Write `contact_sheet` as PNG, atomically."""
    buffer = io.BytesIO()
    contact_sheet(truth, decoded, columns, tile_px).save(buffer, "PNG", optimize=True)
    with atomic_write(path) as file:
        file.write(buffer.getvalue())
    return path
