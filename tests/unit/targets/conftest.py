from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from braindec.types import Stimuli


@pytest.fixture(scope="session")
def make_stimuli() -> Callable[..., Stimuli]:
    """Smooth random pictures (a few low frequencies), so that resizing and components mean something."""

    def make(n: int = 12, size: int = 16, seed: int = 0, **fields: object) -> Stimuli:
        rng = np.random.default_rng(seed)
        x = np.linspace(0, np.pi, size)
        waves = np.cos(np.arange(4)[:, None] * x)
        pictures = np.einsum("nabc,ax,by->nxyc", rng.normal(size=(n, 4, 4, 3)), waves, waves)
        pictures = 255 * (pictures - pictures.min()) / (pictures.max() - pictures.min())
        return Stimuli(tuple(f"s{seed}-{i}" for i in range(n)), images=pictures.astype(np.uint8), **fields)

    return make
