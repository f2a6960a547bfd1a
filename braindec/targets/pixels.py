"""The picture itself as the target: its pixels at a small size."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from braindec.targets.images import check_size, small_images, to_uint8
from braindec.targets.tokens import flat_values
from braindec.types import DataError, Stimuli


class Pixels:
    """Pixels of the resized picture, one token of D = size * size * channels values in [0, 1]. Nothing is fitted.

    Parameters
    ----------
    size : pixels a side; None keeps the pictures' own size, which must be square.
    grey : one luma channel rather than three of colour.
    """

    def __init__(self, size: int | None = None, grey: bool = False) -> None:
        if size is not None:
            check_size(size, "Pixels")
        self.size = size
        self.grey = grey

    def fit(self, stimuli: Stimuli) -> None:
        """Nothing to learn."""

    def embed(self, stimuli: Stimuli) -> np.ndarray:
        """Float32 (n, 1, D), row by row of the picture. Raises `DataError` without pictures."""
        size = self._own_size(stimuli) if self.size is None else self.size
        return small_images(stimuli, size, self.grey, "Pixels").reshape(len(stimuli), 1, -1)

    def decode(self, values: np.ndarray) -> np.ndarray:
        """Embeddings (n, 1, D) -> uint8 (n, size, size, 3); values outside [0, 1] are clipped.

        Raises
        ------
        DataError
            If D is not that of a square picture of the given size.
        """
        channels = 1 if self.grey else 3
        size = math.isqrt(values.shape[-1] // channels) if self.size is None else self.size
        flat = flat_values(values, size**2 * channels, "Pixels")
        return to_uint8(flat.reshape(-1, size, size, channels))

    @staticmethod
    def _own_size(stimuli: Stimuli) -> int:
        shape = None if stimuli.images is None else tuple(stimuli.images.shape[1:3])
        if shape is None or shape[0] != shape[1]:
            raise DataError(f"target Pixels: size=None needs square pictures, found {shape}; give a size")
        return int(shape[0])

    def state(self) -> dict[str, np.ndarray]:
        """Empty: nothing is fitted."""
        return {}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Nothing to take over."""
