"""A picture as a Laplacian pyramid: what is coarse first, ever finer detail after it, and exactly back.

Legend: n pictures, H W size, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from braindec.targets.images import check_size, small_images, to_uint8
from braindec.targets.tokens import flat_values
from braindec.types import DataError, Stimuli

_KERNEL = np.array([1, 4, 6, 4, 1], dtype=np.float64) / 16


def reduce(images_nHWC: np.ndarray) -> np.ndarray:
    """Blur with the 5-tap binomial kernel and keep every second pixel: (n, H, W, C) -> (n, H/2, W/2, C)."""
    return _blurred(images_nHWC)[:, ::2, ::2]


def expand(images_nHWC: np.ndarray) -> np.ndarray:
    """Put zeros between pixels and blur them away: (n, H, W, C) -> (n, 2H, 2W, C); a constant stays constant."""
    n, height, width, channels = images_nHWC.shape
    spread = np.zeros((n, 2 * height, 2 * width, channels), dtype=images_nHWC.dtype)
    spread[:, ::2, ::2] = images_nHWC
    return 4 * _blurred(spread)


def laplacian_pyramid(images_nHWC: np.ndarray, n_levels: int) -> list[np.ndarray]:
    """Levels of the pyramid, coarsest picture first, then the detail that each finer size adds.

    Source: Burt & Adelson 1983, "The Laplacian pyramid as a compact image code", eqs. 1, 4 and 5, with the kernel's
    a = 3/8 and mirrored borders.
    """
    details = []
    current = images_nHWC
    for _ in range(n_levels - 1):
        coarser = reduce(current)
        details.append(current - expand(coarser))
        current = coarser
    return [current, *reversed(details)]


def from_pyramid(levels: list[np.ndarray]) -> np.ndarray:
    """The picture of a whole pyramid: expand the coarser, add the finer (Burt & Adelson 1983, eq. 6)."""
    current = levels[0]
    for detail in levels[1:]:
        current = expand(current) + detail
    return current


def _blurred(images_nHWC: np.ndarray) -> np.ndarray:
    from scipy.ndimage import convolve1d

    # "mirror" keeps the zeros that `expand` inserts on odd rows on odd rows beyond the border too.
    return convolve1d(convolve1d(images_nHWC, _KERNEL, axis=1, mode="mirror"), _KERNEL, axis=2, mode="mirror")


class ImagePyramid:
    """The Laplacian pyramid of the resized picture as one token, coarse to fine. Nothing is fitted.

    Like the latents of a hierarchical autoencoder, it lets a decoder predict what the signal supports (the layout) and
    leave the rest out. With every level kept, `decode` gives the resized picture back.

    Parameters
    ----------
    size : pixels a side; a multiple of 2 ** (n_levels - 1).
    n_levels : number of scales, at least 1.
    keep_levels : how many levels are in the embedding, coarsest first; None keeps all. Detail that is not kept decodes
        as absent (a smooth picture).
    grey : one luma channel rather than three of colour.
    """

    def __init__(self, size: int, n_levels: int, keep_levels: int | None = None, grey: bool = False) -> None:
        check_size(size, "ImagePyramid")
        if n_levels < 1 or size % 2 ** (n_levels - 1):
            raise DataError(
                f"target ImagePyramid: expected n_levels >= 1 and a size divisible by 2 ** (n_levels - 1), "
                f"found size {size} and n_levels {n_levels}"
            )
        if keep_levels is not None and not 1 <= keep_levels <= n_levels:
            raise DataError(f"target ImagePyramid: expected keep_levels of 1 to {n_levels}, found {keep_levels}")
        self.size = size
        self.n_levels = n_levels
        self.keep_levels = keep_levels
        self.grey = grey

    def level_slices(self) -> tuple[slice, ...]:
        """Where each kept level lies along D, coarsest first."""
        ends = np.cumsum([0] + [self._side(level) ** 2 * self._channels() for level in range(self._n_kept())])
        return tuple(slice(int(start), int(stop)) for start, stop in pairwise(ends))

    def fit(self, stimuli: Stimuli) -> None:
        """Nothing to learn."""

    def embed(self, stimuli: Stimuli) -> np.ndarray:
        """Float32 (n, 1, D). Raises `DataError` without pictures."""
        pictures = small_images(stimuli, self.size, self.grey, "ImagePyramid")
        levels = laplacian_pyramid(pictures, self.n_levels)[: self._n_kept()]
        return np.concatenate([level.reshape(len(stimuli), 1, -1) for level in levels], axis=2).astype(np.float32)

    def decode(self, values: np.ndarray) -> np.ndarray:
        """Embeddings (n, 1, D) -> uint8 (n, size, size, 3)."""
        slices = self.level_slices()
        flat = flat_values(values, slices[-1].stop, "ImagePyramid")
        levels = []
        for level in range(self.n_levels):
            shape = (len(flat), self._side(level), self._side(level), self._channels())
            kept = level < len(slices)
            levels.append(flat[:, slices[level]].reshape(shape) if kept else np.zeros(shape, dtype=flat.dtype))
        return to_uint8(from_pyramid(levels))

    def state(self) -> dict[str, np.ndarray]:
        """Empty: nothing is fitted."""
        return {}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Nothing to take over."""

    def _side(self, level: int) -> int:
        return self.size // 2 ** (self.n_levels - 1 - level)

    def _n_kept(self) -> int:
        return self.n_levels if self.keep_levels is None else self.keep_levels

    def _channels(self) -> int:
        return 1 if self.grey else 3
