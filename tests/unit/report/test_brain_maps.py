from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from braindec.report import brain_maps
from braindec.report.brain_maps import direction_labels, draw_map, seen_from_above
from braindec.types import Space

GRID = np.argwhere(np.ones((4, 5, 6), dtype=bool))
VOXELS = Space("voxels", 120, grid_index=GRID, grid_shape=(4, 5, 6), affine=np.diag([20.0, 20, 20, 1]))
HEAD = np.array([[0, 0, 0.1], [0.1, 0, 0.0], [-0.1, 0, 0], [0, 0.1, 0], [0, -0.1, 0], [0.05, 0.05, 0.07]])
CHANNELS = Space("channels", 6, names=tuple("ABCDEF"), positions_m=HEAD)
CENTRES = Space("parcels", 6, positions_m=HEAD)
PARCELS = Space("parcels", 6, names=tuple("ABCDEF"))


def _size(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png)) as picture:
        assert len(np.unique(np.asarray(picture))) > 5
        return picture.size


@pytest.mark.parametrize(
    ("space", "n_times", "style"),
    [(VOXELS, 1, "projections"), (VOXELS, 1, "glass_brain"), (CHANNELS, 5, "projections"), (CHANNELS, 1, "projections"),
     (PARCELS, 1, "projections"), (CENTRES, 3, "projections"),
     (Space("channels", 6, names=tuple("ABCDEF")), 5, "projections")],
)  # fmt: skip
def test_each_space_has_a_picture(space: Space, n_times: int, style) -> None:
    values = np.random.default_rng(0).normal(size=(space.size, n_times))
    times = np.linspace(0, 0.4, n_times) if n_times > 1 else None
    assert min(_size(draw_map(values, space, times, {}, "a map", style))) > 100


def test_a_volume_holds_each_value_at_its_voxel() -> None:
    kept = VOXELS.select(np.array([3, 50]))
    volume = brain_maps._volume(np.array([1.5, -2.0]), kept)
    assert volume[tuple(GRID[3])] == 1.5
    assert volume[tuple(GRID[50])] == -2
    assert np.isnan(volume).sum() == 118


def test_from_above_the_top_is_the_centre_and_right_is_right() -> None:
    flat = seen_from_above(HEAD)
    np.testing.assert_allclose(flat[0], 0, atol=1e-12)
    np.testing.assert_allclose(flat[1], [0.95, 0], atol=1e-12)
    np.testing.assert_allclose(flat[3], [0, 0.95], atol=1e-12)
    assert 0 < np.hypot(*flat[5]) < 0.95


def test_axes_of_a_volume_say_where_they_lead() -> None:
    assert direction_labels(VOXELS) == ("L → R", "P → A", "I → S")
    turned = np.array([[0, 0, 2.0, 0], [-2, 0, 0, 0], [0, -2, 0.1, 0], [0, 0, 0, 1]])
    other = Space("voxels", 120, grid_index=GRID, grid_shape=(4, 5, 6), affine=turned)
    assert direction_labels(other) == ("A → P", "S → I", "L → R")
    assert direction_labels(CHANNELS) == ("", "", "")
