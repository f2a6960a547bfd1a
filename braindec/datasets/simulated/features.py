"""What a simulated brain can react to: features of scenes, shared by the fMRI, MEG and EEG simulations.

Legend: n scenes, C channels, G rows and columns of a feature map, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braindec.datasets.simulated.scenes import SceneBatch
from braindec.datasets.simulated.vocabulary import CATEGORIES, COLOURS, GROUP_OF, GROUPS, LIGHTINGS, PLACES, SIZES
from braindec.types import DataError

COLOUR_GRID = 32
ENERGY_GRID = 16
ORIENTATIONS = 4
CYCLES_PER_IMAGE = (4.0, 8.0, 16.0)
LANGUAGE_DIM = 48
_IMAGE_SIZE = 64
_BLOCK = 128
_EMPTY_WORDS = frozenset(
    ("a", "an", "the", "of", "on", "in", "by", "at", "and", "with", "there", "is", "picture", "day")
)

CATEGORY_NAMES = (*CATEGORIES, *(f"group:{group}" for group in GROUPS), *(f"colour:{colour}" for colour in COLOURS))
SCENE_NAMES = (*PLACES, *LIGHTINGS, "indoor", "openness", "mean_depth", "crowded")


@dataclass(frozen=True)
class SceneFeatures:
    """Features of n scenes.

    Attributes
    ----------
    colour : float32 (n, 3, 32, 32): luminance, red-green, blue-yellow of each patch, linear in the sRGB values.
    energy : float32 (n, 12, 16, 16): local amplitude of 3 scales x 4 orientations of a Gabor pyramid on luminance.
    category : float32 (n, len(CATEGORY_NAMES)): objects weighted by how much of the image they fill, their
        superordinate group, and the main object's colour.
    scene : float32 (n, len(SCENE_NAMES)): place, lighting and layout.
    language : float32 (n, 48): mean random embedding of the captions' distinct words; it sees no pixel.
    """

    colour: np.ndarray
    energy: np.ndarray
    category: np.ndarray
    scene: np.ndarray
    language: np.ndarray

    def __len__(self) -> int:
        return len(self.colour)


def scene_features(batch: SceneBatch) -> SceneFeatures:
    """All features of rendered scenes.

    Raises
    ------
    DataError
        If the images are not square with a side of 32, 64, 128, 256, ... pixels.
    """
    colour = colour_maps(batch.images)
    return SceneFeatures(
        colour=colour,
        energy=energy_maps(batch.images),
        category=category_features(batch),
        scene=scene_layout_features(batch),
        language=language_features(batch.captions),
    )


def colour_maps(images: np.ndarray) -> np.ndarray:
    """Images uint8 (n, H, W, 3) -> luminance, red-green, blue-yellow float32 (n, 3, 32, 32), each about in [-1, 1].

    Opponent axes are the usual differences: L = mean of R, G, B; RG = R - G; BY = B - (R + G) / 2.
    """
    patches = _resample(images, COLOUR_GRID)
    red, green, blue = patches[..., 0], patches[..., 1], patches[..., 2]
    return np.stack([(red + green + blue) / 3 * 2 - 1, red - green, blue - (red + green) / 2], axis=1)


def energy_maps(images: np.ndarray) -> np.ndarray:
    """Images uint8 (n, H, W, 3) -> Gabor amplitude float32 (n, scale * orientation, 16, 16).

    Source: Adelson & Bergen 1985, motion energy, eqs. for a quadrature pair, here in space: a one-sided Gaussian band
    in the Fourier plane gives an analytic (quadrature) response whose modulus is the local amplitude.
    """
    frequency = np.fft.fftfreq(_IMAGE_SIZE) * _IMAGE_SIZE
    fx, fy = frequency[None, :], frequency[:, None]
    bands = np.empty((len(CYCLES_PER_IMAGE) * ORIENTATIONS, _IMAGE_SIZE, _IMAGE_SIZE), dtype=np.float32)
    for scale, cycles in enumerate(CYCLES_PER_IMAGE):
        for orientation in range(ORIENTATIONS):
            angle = np.pi * orientation / ORIENTATIONS
            off = np.hypot(fx - cycles * np.cos(angle), fy - cycles * np.sin(angle))
            bands[scale * ORIENTATIONS + orientation] = np.exp(-0.5 * (off / (0.42 * cycles)) ** 2)
    bands[:, 0, 0] = 0
    out = np.empty((len(images), len(bands), ENERGY_GRID, ENERGY_GRID), dtype=np.float32)
    step = _IMAGE_SIZE // ENERGY_GRID
    for begin in range(0, len(images), _BLOCK):
        luminance = _resample(images[begin : begin + _BLOCK], _IMAGE_SIZE).mean(axis=-1)
        spectrum = np.fft.fft2(luminance).astype(np.complex64)
        for band, weights in enumerate(bands):
            amplitude = np.abs(np.fft.ifft2(spectrum * weights))
            shape = (len(amplitude), ENERGY_GRID, step, ENERGY_GRID, step)
            out[begin : begin + _BLOCK, band] = amplitude.reshape(shape).mean(axis=(2, 4))
    return out


def category_features(batch: SceneBatch) -> np.ndarray:
    """Visible objects as float32 (n, len(CATEGORY_NAMES)); an object's weight grows with the root of its area."""
    column = {name: k for k, name in enumerate(CATEGORY_NAMES)}
    out = np.zeros((len(batch), len(CATEGORY_NAMES)), dtype=np.float32)
    for row, (boxes, attributes) in enumerate(zip(batch.boxes, batch.attributes, strict=True)):
        for category, left, top, right, bottom in boxes:
            weight = 0.6 + 0.6 * float(np.sqrt((right - left) * (bottom - top)))
            out[row, column[category]] += weight
            out[row, column[f"group:{GROUP_OF[category]}"]] += weight
        out[row, column[f"colour:{attributes['colour']}"]] = 0.5
    return out


def scene_layout_features(batch: SceneBatch) -> np.ndarray:
    """Place, lighting and layout as float32 (n, len(SCENE_NAMES))."""
    column = {name: k for k, name in enumerate(SCENE_NAMES)}
    out = np.zeros((len(batch), len(SCENE_NAMES)), dtype=np.float32)
    for row, attributes in enumerate(batch.attributes):
        out[row, column[attributes["place"]]] = 1
        out[row, column[attributes["lighting"]]] = 1
        out[row, column["indoor"]] = attributes["place"] == "room"
        out[row, column["crowded"]] = 0.5 * (attributes["second_object"] != "none") + 0.2 * SIZES.index(
            attributes["size"]
        )
    out[:, column["openness"]] = (batch.depth < 0.05).mean(axis=(1, 2))
    out[:, column["mean_depth"]] = batch.depth.mean(axis=(1, 2))
    return out


def words_of(captions: tuple[str, ...]) -> tuple[str, ...]:
    """Distinct words of a stimulus's captions, sorted."""
    return tuple(sorted({word for caption in captions for word in caption.lower().replace(",", "").split()}))


def language_features(captions: tuple[tuple[str, ...], ...]) -> np.ndarray:
    """Captions -> float32 (n, 48): sum of fixed Gaussian word vectors over the square root of their number.

    A word's vector depends on its spelling only. Words without content (articles, prepositions, ...) count for nothing.
    """
    vectors: dict[str, np.ndarray] = {}
    out = np.zeros((len(captions), LANGUAGE_DIM), dtype=np.float32)
    for row, sentences in enumerate(captions):
        words = [word for word in words_of(sentences) if word not in _EMPTY_WORDS]
        for word in words:
            if word not in vectors:
                vectors[word] = np.random.default_rng(list(word.encode())).standard_normal(LANGUAGE_DIM)
            out[row] += vectors[word]
        out[row] /= np.sqrt(max(len(words), 1))
    return out


def _resample(images: np.ndarray, side: int) -> np.ndarray:
    """Images uint8 (n, H, W, 3) -> float32 (n, side, side, 3) in [0, 1], by block means or pixel repetition."""
    n, height, width = images.shape[:3]
    if height != width or (height % _IMAGE_SIZE and height != COLOUR_GRID):
        raise DataError(
            f"scene features: images must be square, 32 pixels or a multiple of 64, found {height} x {width}"
        )
    if height < side:
        return (images.repeat(side // height, axis=1).repeat(side // height, axis=2) / 255).astype(np.float32)
    step = height // side
    if step == 1:
        return images.astype(np.float32) / 255
    blocks = images.reshape(n, side, step, side, step, 3)
    return (blocks.mean(axis=(2, 4), dtype=np.float32) / np.float32(255)).astype(np.float32)
