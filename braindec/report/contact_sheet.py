"""Contact sheets as one PNG: what was shown over what was decoded, or named rows of pictures."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from braindec.artifacts import atomic_write
from braindec.report.pictures import TINY_SIDE
from braindec.types import DataError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


_GAP_PX = 8


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


def _fitting(images: Sequence[np.ndarray | None], tile_px: int) -> int:
    """The side of tiles that tiny pictures fill by whole factors; ``tile_px`` for others."""
    side = max((max(image.shape[:2]) for image in images if image is not None), default=tile_px)
    return side * max(1, round(tile_px / side)) if side <= TINY_SIDE else tile_px


def contact_sheet(
    truth: Sequence[np.ndarray | None],
    decoded: Sequence[np.ndarray | None],
    columns: int = 8,
    tile_px: int = 96,
    gap_px: int = _GAP_PX,
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
    names: tuple[str, str] = ("shown", "decoded"),
) -> Path:
    """Write `contact_sheet` as PNG, atomically: tiles that tiny pictures fill, and ``names`` beside each two rows."""
    buffer = io.BytesIO()
    tile_px = _fitting([*truth, *decoded], tile_px)
    _named(contact_sheet(truth, decoded, columns, tile_px), names, tile_px).save(buffer, "PNG", optimize=True)
    with atomic_write(path) as file:
        file.write(buffer.getvalue())
    return path


def _named(sheet: Picture, names: tuple[str, str], tile_px: int, gap_px: int = _GAP_PX) -> Picture:
    """A contact sheet with what its rows are at the left."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(13)
    margin = round(max(font.getlength(name) for name in names)) + gap_px
    named = Image.new("RGB", (sheet.width + margin, sheet.height), (255, 255, 255))
    named.paste(sheet, (margin, 0))
    draw = ImageDraw.Draw(named)
    pair_px = 2 * tile_px + gap_px // 2
    for top in range(gap_px, sheet.height - pair_px, pair_px + gap_px + gap_px // 2):
        for k, name in enumerate(names):
            middle = top + k * (tile_px + gap_px // 2) + tile_px // 2
            draw.text((margin, middle), name, (27, 31, 36), font=font, anchor="rm")
    return named


def labelled_sheet(rows: Mapping[str, Sequence[np.ndarray]], tile_px: int = 112, gap_px: int = 6) -> Picture:
    """Named rows of pictures, the name at the left.

    Raises
    ------
    DataError
        If there is no row.
    """
    from PIL import Image, ImageDraw, ImageFont

    if not rows:
        raise DataError("Contact sheet: there is no row of pictures to show")
    side = max(max(image.shape[:2]) for images in rows.values() for image in images)
    if side <= min(TINY_SIDE, tile_px):
        tile_px = side * (tile_px // side)
    font = ImageFont.load_default(15)
    name_px = 14 + round(max(font.getlength(name) for name in rows))
    widest = max(len(images) for images in rows.values())
    # Side by side as long as the sheet stays wider than high, so that it can be read on one screen.
    row_px, pitch = name_px + widest * (tile_px + gap_px), tile_px + gap_px
    beside = max(1, min(len(rows), 3, 1300 // row_px)) if len(rows) > 6 else 1
    deep = -(-len(rows) // beside)
    sheet = Image.new("RGB", (beside * row_px + gap_px, deep * pitch + gap_px), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for i, (name, images) in enumerate(rows.items()):
        left, top = (i // deep) * row_px, gap_px + (i % deep) * pitch
        draw.text((left + name_px - 8, top + tile_px // 2), name, (27, 31, 36), font=font, anchor="rm")
        for k, image in enumerate(images):
            sheet.paste(_tile(image, tile_px), (left + name_px + k * pitch, top))
    return sheet


def write_labelled_sheet(path: Path, rows: Mapping[str, Sequence[np.ndarray]]) -> Path:
    """Write `labelled_sheet` as PNG, atomically."""
    buffer = io.BytesIO()
    labelled_sheet(rows).save(buffer, "PNG", optimize=True)
    with atomic_write(path) as file:
        file.write(buffer.getvalue())
    return path
