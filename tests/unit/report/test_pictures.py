from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from braindec.report.contact_sheet import contact_sheet, write_contact_sheet
from braindec.report.pictures import LADDER, TINY_SIDE, encode, fit_budget
from braindec.types import DataError


def decode(src: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(src.split(",", 1)[1]))).convert("RGB"))


def noise(side: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)


@pytest.mark.parametrize("side", [10, TINY_SIDE])
def test_tiny_pictures_survive_pixel_for_pixel(side: int):
    picture = encode(noise(side), 384, 80)
    assert picture.src.startswith("data:image/png;base64,")
    np.testing.assert_array_equal(decode(picture.src), noise(side))


def test_large_pictures_become_thumbnails_of_the_same_shape():
    image = np.zeros((512, 256, 3), dtype=np.uint8)
    image[:, :, 0] = np.linspace(0, 255, 512, dtype=np.uint8)[:, None]
    picture = encode(image, 128, 80)
    assert (picture.width, picture.height) == (64, 128)
    assert decode(picture.src).shape == (128, 64, 3)
    assert decode(picture.src)[120, 30, 0] > 200 > 60 > decode(picture.src)[8, 30, 0]


def test_every_rung_stays_above_the_side_that_means_exact_pixels():
    assert all(side > TINY_SIDE for side, _ in LADDER)
    assert list(LADDER) == sorted(LADDER, reverse=True)


def test_a_smaller_budget_takes_a_lower_rung():
    images = [noise(256, seed) for seed in range(6)]
    rungs = [fit_budget(images, budget) for budget in (10_000_000, 100_000, 100)]
    assert rungs[0] == 0 < rungs[1] < rungs[2] == len(LADDER) - 1
    side, quality = LADDER[rungs[1]]
    assert sum(len(encode(image, side, quality).src) for image in images) <= 100_000


def test_contact_sheet_puts_truth_over_reconstruction():
    white, red = np.full((10, 10, 3), 255, np.uint8), np.zeros((10, 10, 3), np.uint8)
    red[..., 0] = 255
    sheet = np.asarray(contact_sheet([white] * 3, [red] * 3, columns=2, tile_px=20, gap_px=4, background=(0, 0, 0)))
    assert sheet.shape == (4 + 2 * (42 + 6), 4 + 2 * 24, 3)
    assert sheet[4, 4].tolist() == sheet[23, 23].tolist() == [255, 255, 255]
    assert sheet[26, 4].tolist() == sheet[45, 23].tolist() == [255, 0, 0]
    assert sheet[60, 40].tolist() == [0, 0, 0], "the fourth place is empty"


def test_contact_sheet_is_written_whole_and_refuses_unequal_input(tmp_path):
    path = write_contact_sheet(tmp_path / "deep" / "sheet.png", [noise(64), None], [noise(64), noise(64)])
    assert Image.open(path).format == "PNG"
    assert [p.name for p in path.parent.iterdir()] == ["sheet.png"]
    # Tiny pictures fill their tiles, the second row of which begins half a gap below; names stand at the left.
    sheet = np.asarray(Image.open(write_contact_sheet(tmp_path / "s.png", [noise(64)], [np.zeros((64, 64, 3), "u1")])))
    margin = sheet.shape[1] - (8 + 128 + 8)
    assert sheet.shape[0] == 8 + 2 * 128 + 4 + 8 + 4
    assert not sheet[8 + 128 + 4 : 8 + 2 * 128 + 4, margin + 8 : margin + 8 + 128].any()
    for top in (8, 8 + 128 + 4):
        assert (sheet[top : top + 128, :margin] < 128).any(), "each row has a name"
    with pytest.raises(DataError, match="found 1, 2"):
        contact_sheet([noise(8)], [noise(8), noise(8)])
