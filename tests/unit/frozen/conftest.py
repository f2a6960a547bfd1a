"""Small networks and pictures for the tests of frozen networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.frozen.tiny_networks import OPEN_CLIP_CONFIG, save_clip, save_open_clip, smooth_pictures


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("weights") / "clip")


@pytest.fixture(scope="session")
def open_clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_open_clip(tmp_path_factory.mktemp("weights") / "open_clip", OPEN_CLIP_CONFIG)


@pytest.fixture(scope="session")
def open_clip_resnet_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    vision = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None, "head_width": 8}
    return save_open_clip(
        tmp_path_factory.mktemp("weights") / "open_clip_rn", {**OPEN_CLIP_CONFIG, "vision_cfg": vision}
    )


@pytest.fixture(scope="session")
def photographs() -> np.ndarray:
    return smooth_pictures()
