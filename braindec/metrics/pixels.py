"""Resizing and greyscale as the image metrics do it, in one place so that all of them agree.

Legend: H W image height and width, G gallery entries, N predictions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from braindec.types import Evidence, ImageArray

GREY_WEIGHTS = np.array([0.2125, 0.7154, 0.0721])
"""Luminance of linear sRGB primaries, as in ``skimage.color.rgb2gray``."""


def resized(image_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
    """A uint8 image at another size: Pillow's bilinear filter, which antialiases when it shrinks; uint8 (H, W, 3).

    Source: ``torchvision.transforms.Resize`` on PIL images, as used by Brain-Diffuser's and MindEye's evaluation.
    """
    if image_HWC.shape[:2] == (height, width):
        return image_HWC
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(image_HWC))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def resize_flag(size: int | None) -> str:
    """The resizing convention in words, for `Scores.flags`."""
    if size is None:
        return "native size of the stimulus; reconstructions resized to it (PIL bilinear, antialias)"
    return f"both resized to {size} px (PIL bilinear, antialias)"


def grey(image_HWC: np.ndarray) -> np.ndarray:
    """A uint8 sRGB image as float64 luminance (H, W) in [0, 1]."""
    return luminance(image_HWC / 255.0)


def luminance(image_HWC: np.ndarray) -> np.ndarray:
    """A float sRGB image in [0, 1] as float64 luminance (H, W)."""
    return image_HWC @ GREY_WEIGHTS


def common_shape(images: ImageArray, size: int | None) -> tuple[int, int]:
    """Height and width at which everything is compared: a square of ``size``, or the stimuli's own."""
    return (images.shape[1], images.shape[2]) if size is None else (size, size)


def resized_stack(images: ImageArray, rows: Sequence[int] | np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The given images at another height and width, uint8 (len(rows), H, W, 3), read one at a time."""
    stack = np.empty((len(rows), *shape, 3), dtype=np.uint8)
    for place, row in enumerate(rows):
        stack[place] = resized(np.asarray(images[np.array([row])])[0], *shape)
    return stack


def image_pairs(evidence: Evidence, size: int | None) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(row, stimulus, reconstruction) of every prediction, both uint8 at one size.

    Ordered by stimulus, so that each stimulus is read and resized once. Yields nothing when images are missing.
    """
    if evidence.images is None or evidence.gallery.images is None:
        return
    shape = common_shape(evidence.gallery.images, size)
    held, stimulus = -1, np.empty(0)
    for row in np.argsort(evidence.truth, kind="stable"):
        if evidence.truth[row] != held:
            held = int(evidence.truth[row])
            stimulus = resized_stack(evidence.gallery.images, [held], shape)[0]
        yield int(row), stimulus, resized(evidence.images[row], *shape)
