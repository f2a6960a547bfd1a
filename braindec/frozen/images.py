"""Image preprocessing of frozen networks, on any device, equal to PIL's resizing.

Legend: N images, H W height and width.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from braindec.frozen.transfer import to_device
from braindec.types import DataError

Interpolation = Literal["bilinear", "bicubic"]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_SD = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_SD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ImagePreprocessing:
    """Resize, crop and standardise.

    Attributes
    ----------
    resize : shortest edge (int) or exact (height, width), in pixels; None keeps the size.
    crop : side of the central square kept after resizing; None keeps all.
    interpolation : resampling filter, antialiased.
    scale : factor on the 0..255 pixels before standardising.
    mean, sd : per channel, on the scaled pixels.
    """

    resize: int | tuple[int, int] | None
    crop: int | None = None
    interpolation: Interpolation = "bicubic"
    scale: float = 1 / 255
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    sd: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __call__(self, images: np.ndarray | Tensor, device: torch.device | str = "cpu") -> Tensor:
        """Uint8 (N, H, W, 3) -> float32 (N, 3, H', W') on ``device``."""
        pixels_N3HW = self.resized(to_channels_first(images, device))
        mean = pixels_N3HW.new_tensor(self.mean).view(1, 3, 1, 1)
        sd = pixels_N3HW.new_tensor(self.sd).view(1, 3, 1, 1)
        return (pixels_N3HW * self.scale - mean) / sd

    def resized(self, pixels_N3HW: Tensor) -> Tensor:
        """Resize and crop only: float32 whole numbers 0..255."""
        height, width = pixels_N3HW.shape[-2:]
        if isinstance(self.resize, int):
            short = min(height, width)
            target = (int(self.resize * height / short), int(self.resize * width / short))
        else:
            target = (height, width) if self.resize is None else (self.resize[0], self.resize[1])
        pixels_N3HW = resize(pixels_N3HW, target, self.interpolation)
        return pixels_N3HW if self.crop is None else central_crop(pixels_N3HW, self.crop)

    def describe(self) -> dict[str, Any]:
        """The settings as plain values, for a result file."""
        return asdict(self)


def to_channels_first(images: np.ndarray | Tensor, device: torch.device | str = "cpu") -> Tensor:
    """Uint8 (N, H, W, 3) -> float32 (N, 3, H, W), still 0..255, on ``device``.

    Raises
    ------
    DataError
        If the images are of another shape or type.
    """
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype not in (np.uint8, torch.uint8):
        raise DataError(f"images: expected uint8 (n, H, W, 3), found {images.dtype} {tuple(images.shape)}")
    # Bytes travel to the device, a quarter of what floats would weigh.
    on_device = images.to(device) if isinstance(images, Tensor) else to_device(images, device)
    return on_device.permute(0, 3, 1, 2).float()


def resize(pixels_N3HW: Tensor, size: tuple[int, int], interpolation: Interpolation) -> Tensor:
    """Antialiased resize of pixels 0..255 to (height, width), equal to PIL's, ties included: whole numbers.

    PIL resizes rows, rounds to 8 bits, then resizes columns, with weights of 22 binary places. Products of these with 8
    bits add up exactly in float64.
    """
    height, width = pixels_N3HW.shape[-2:]
    if width != size[1]:
        weights_OI = torch.from_numpy(_weights(width, size[1], interpolation)).to(pixels_N3HW.device)
        pixels_N3HW = _rounded(pixels_N3HW.double() @ weights_OI.T)
    if height != size[0]:
        weights_OI = torch.from_numpy(_weights(height, size[0], interpolation)).to(pixels_N3HW.device)
        pixels_N3HW = _rounded(weights_OI @ pixels_N3HW.double())
    return pixels_N3HW


def _rounded(values: Tensor) -> Tensor:
    return (values + 0.5).floor().clamp(0, 255).float()


@lru_cache(maxsize=64)
def _weights(before: int, after: int, interpolation: Interpolation) -> np.ndarray:
    """Weight of each old pixel in each new one, float64 (after, before), in whole multiples of 2**-22.

    Source: Pillow, src/libImaging/Resample.c.
    """
    scale = before / after
    stretch = max(scale, 1.0)
    reach = (1.0 if interpolation == "bilinear" else 2.0) * stretch
    centres_O1 = (np.arange(after)[:, None] + 0.5) * scale
    places_1I = np.arange(before)[None]
    first_O1, last_O1 = ((centres_O1 + side + 0.5).astype(int).clip(0, before) for side in (-reach, reach))
    distance_OI = np.abs(places_1I - centres_O1 + 0.5) / stretch
    weights_OI = _bump(distance_OI, interpolation) * ((places_1I >= first_O1) & (places_1I < last_O1))
    weights_OI /= weights_OI.sum(axis=1, keepdims=True)
    return np.trunc(weights_OI * 2**22 + np.copysign(0.5, weights_OI)) / 2**22


def _bump(distance: np.ndarray, interpolation: Interpolation) -> np.ndarray:
    """The triangle, or Keys' cubic with a = -0.5, at absolute distances in pixels."""
    if interpolation == "bilinear":
        return np.maximum(1.0 - distance, 0.0)
    near = (1.5 * distance - 2.5) * distance**2 + 1.0
    far = -0.5 * (((distance - 5.0) * distance + 8.0) * distance - 4.0)
    return np.where(distance < 1, near, np.where(distance < 2, far, 0.0))


def central_crop(pixels_N3HW: Tensor, side: int) -> Tensor:
    """The central square.

    Raises
    ------
    DataError
        If the image is smaller than the square.
    """
    height, width = pixels_N3HW.shape[-2:]
    if min(height, width) < side:
        raise DataError(f"images: expected at least {side} px to crop, found {height} x {width}")
    top, left = round((height - side) / 2), round((width - side) / 2)
    return pixels_N3HW[..., top : top + side, left : left + side]


def to_uint8(pixels_N3HW: Tensor) -> np.ndarray:
    """Float pixels in [-1, 1], (N, 3, H, W) -> uint8 (N, H, W, 3), rounded."""
    return quantised(pixels_N3HW).cpu().numpy()


def quantised(pixels_N3HW: Tensor) -> Tensor:
    """As `to_uint8`, where the pixels are."""
    scaled = ((pixels_N3HW.float() + 1) * 127.5).round().clamp(0, 255)
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous()
