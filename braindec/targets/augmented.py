"""Another target's embedding averaged over altered copies of each picture.

Legend: n stimuli, H W height and width, K tokens, D dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from braindec.contracts import Target
from braindec.types import DataError, Stimuli

_CHUNK = 256


class AugmentedAverage:
    """Mean embedding of a picture and of altered copies: shifted, and blurred.

    A brain does not see a picture to the pixel, and repetitions are seen from changing points of fixation: what a
    network says of the picture on average is easier to predict than what it says of one exact copy. The copies are
    the same for every picture and at every call; training, validation and gallery are embedded alike.

    Parameters
    ----------
    target : the target whose embeddings are averaged; fitted by its own rule.
    shift : copies moved by this share of the width left, right, up and down, edges repeated; 0 for none.
    blur : copies blurred by Gaussians of these SDs, shares of the width.

    Source: image-side augmentation in UBP (Wu et al. 2025, blurred copies); the average in place of a random draw is
    ours.
    """

    def __init__(self, target: Target, shift: float = 0.06, blur: list[float] | None = None) -> None:
        if not 0 <= shift < 0.5 or any(not 0 < sd < 0.5 for sd in blur or ()):
            raise DataError(
                f"AugmentedAverage: expected shares of the width below 0.5, found shift {shift}, blur {blur}"
            )
        self.target = target
        self.shift = shift
        self.blur = blur or []

    def fit(self, stimuli: Stimuli) -> None:
        """Fit the target on the unaltered pictures."""
        self.target.fit(stimuli)

    def embed(self, stimuli: Stimuli) -> np.ndarray:
        """Float32 (n, K, D). Raises `DataError` without pictures."""
        if stimuli.images is None:
            raise DataError("target AugmentedAverage: the stimuli have no images; choose another target")
        chunks = [stimuli.ids[start : start + _CHUNK] for start in range(0, len(stimuli), _CHUNK)]
        return np.concatenate([self._average(stimuli.select(ids)) for ids in chunks])

    def _average(self, stimuli: Stimuli) -> np.ndarray:
        images = np.asarray(stimuli.images)
        width = images.shape[2]
        step = round(self.shift * width)
        copies = [images]
        if step:
            copies += [moved(images, way, axis) for axis in (1, 2) for way in (-step, step)]
        copies += [blurred(images, sd * width) for sd in self.blur]
        made = [self.target.embed(replace(stimuli, images=copy)) for copy in copies]
        return np.asarray(np.mean(made, axis=0, dtype=np.float64), dtype=np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """The target's."""
        return self.target.state()

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """The target's."""
        self.target.load_state(state)


def moved(images_NHWC: np.ndarray, step: int, axis: int) -> np.ndarray:
    """Pictures moved by ``step`` pixels along an axis; what comes in repeats the edge."""
    size = images_NHWC.shape[axis]
    return np.take(images_NHWC, (np.arange(size) - step).clip(0, size - 1), axis=axis)


def blurred(images_NHWC: np.ndarray, sd: float) -> np.ndarray:
    """Pictures blurred by a Gaussian of SD ``sd`` pixels, uint8."""
    from scipy.ndimage import gaussian_filter

    soft = gaussian_filter(images_NHWC.astype(np.float32), (0, sd, sd, 0), mode="nearest")
    return np.clip(soft + 0.5, 0, 255).astype(np.uint8)
