"""The picture itself as the target: its pixels at a small size."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from braindec.targets.images import check_size, small_images, to_uint8
from braindec.targets.tokens import flat_values
from braindec.types import Stimuli


class Pixels:
    """Pixels of the resized picture, one token of D = size * size * channels values in [0, 1]. Nothing is fitted.

    Parameters
    ----------
    size : pixels a side.
    grey : one luma channel rather than three of colour.
    """

    def __init__(self, size: int, grey: bool = False) -> None:
        check_size(size, "Pixels")
        self.size = size
        self.grey = grey

    def fit(self, stimuli: Stimuli) -> None:
        """Nothing to learn."""

    def embed(self, stimuli: Stimuli) -> np.ndarray:
        """Float32 (n, 1, D), row by row of the picture. Raises `DataError` without pictures."""
        return small_images(stimuli, self.size, self.grey, "Pixels").reshape(len(stimuli), 1, -1)

    def decode(self, values: np.ndarray) -> np.ndarray:
        """Embeddings (n, 1, D) -> uint8 (n, size, size, 3); values outside [0, 1] are clipped."""
        channels = 1 if self.grey else 3
        flat = flat_values(values, self.size**2 * channels, "Pixels")
        return to_uint8(flat.reshape(-1, self.size, self.size, channels))

    def state(self) -> dict[str, np.ndarray]:
        """Empty: nothing is fitted."""
        return {}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Nothing to take over."""
