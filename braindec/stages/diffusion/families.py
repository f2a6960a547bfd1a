"""The families of latent diffusion: Stable Diffusion 1 and 2, Versatile Diffusion, and plain token streams.

Legend: K tokens, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from braindec.frozen.base import Dtype
from braindec.frozen.clip import ClipText, ClipVision
from braindec.frozen.dual_diffusion import Stream, read_conditioning
from braindec.frozen.loading import read_checkpoint
from braindec.frozen.weights import resolve
from braindec.stages.diffusion.dual_attention import make_dual, set_image_weight
from braindec.stages.diffusion.model import DIFFUSERS_FILES, DiffusionModel
from braindec.types import DataError


class StableDiffusion(DiffusionModel):
    """Stable Diffusion 1 and 2: one stream, ``text``, the text encoder's last hidden state (77, 768 or 1024).

    Without conditioning, and as guidance's contrast, it sees the tokens of the empty text.

    Source: Rombach et al. 2022; layout of diffusers' Stable Diffusion pipelines.
    """

    def load_unet(self, path: Path) -> Any:
        """The folder's ``unet``."""
        from diffusers import UNet2DConditionModel

        self._empty = ClipText(str(path), output="hidden").encode([""])[0]
        return self.load_part(UNet2DConditionModel, path / "unet")

    def encode_texts(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """``text`` tokens."""
        return {"text": ClipText(str(resolve(self.weights)), output="hidden").encode(list(texts))}

    def streams(self) -> tuple[Stream, ...]:
        """Text tokens."""
        tokens, dim = self._empty.shape
        return (Stream("text", tokens, dim, 1.0, self.weights, "hidden"),)

    def absent(self, stream: Stream) -> np.ndarray:
        """Tokens of the empty text."""
        return self._empty


class VersatileDiffusion(DiffusionModel):
    """Versatile Diffusion, guided by ``image`` tokens (257, 768) and ``text`` tokens (77, 768) at once.

    Parameters
    ----------
    image_weight : the image's share of what attention adds; the text has the rest.
    absent_grey : grey level (0 to 255) of the picture whose tokens are guidance's contrast: 0 in the published code
        of Brain-Diffuser, 128 in diffusers' pipelines.

    Source: Xu et al. 2022 (arXiv:2211.08332); ozcelikfu/brain-diffuser
    scripts/versatilediffusion_reconstruct_images.py.
    """

    def __init__(
        self,
        weights: str = "shi-labs/versatile-diffusion",
        dtype: Dtype = "float32",
        compiled: bool = False,
        channels_last: bool = False,
        image_weight: float = 0.6,
        absent_grey: int = 0,
    ) -> None:
        super().__init__(weights, dtype, compiled, channels_last)
        self.image_weight = image_weight
        self.absent_grey = absent_grey
        if not 0 <= image_weight <= 1:
            raise DataError(f"VersatileDiffusion.image_weight: expected 0 to 1, found {image_weight}")

    def load_unet(self, path: Path) -> Any:
        """The folder's ``image_unet``, with the attentions of its ``text_unet`` beside its own."""
        from diffusers import UNet2DConditionModel

        vision = ClipVision(str(path), output="versatile_diffusion")
        grey = np.full((1, 512, 512, 3), self.absent_grey, np.uint8)
        text = ClipText(str(path), output="versatile_diffusion")
        self._contrast = {"image": vision.encode(grey)[0], "text": text.encode([""])[0]}
        unet = self.load_part(UNet2DConditionModel, path / "image_unet")
        make_dual(unet, read_checkpoint(path / "text_unet", DIFFUSERS_FILES), len(self._contrast["image"]))
        set_image_weight(unet, self.image_weight)
        return unet

    def encode_texts(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """``text`` tokens."""
        return {"text": ClipText(str(resolve(self.weights)), output="versatile_diffusion").encode(list(texts))}

    def streams(self) -> tuple[Stream, ...]:
        """Image tokens, then text tokens."""
        return tuple(
            Stream(name, values.shape[0], values.shape[1], 1.0, self.weights, "versatile_diffusion")
            for name, values in self._contrast.items()
        )

    def absent(self, stream: Stream) -> np.ndarray:
        """Tokens of a plain grey picture, or of the empty text."""
        return self._contrast[stream.name]


class TokenDiffusion(DiffusionModel):
    """A U-Net that attends to all streams of its ``conditioning.json``, one after another; absent ones are zeros.

    The format of the project's own small networks (see `braindec.frozen.dual_diffusion.DualDiffusion`).
    """

    def load_unet(self, path: Path) -> Any:
        """The folder's ``unet``."""
        from diffusers import UNet2DConditionModel

        self._streams, self._vae = read_conditioning(path)
        return self.load_part(UNet2DConditionModel, path / "unet")

    def vae_place(self, path: Path) -> Path:
        """Where ``conditioning.json`` says."""
        return resolve(str(path / self._vae))

    def streams(self) -> tuple[Stream, ...]:
        """As ``conditioning.json`` lists them."""
        return self._streams

    def absent(self, stream: Stream) -> np.ndarray:
        """Zeros."""
        return np.zeros((stream.tokens, stream.dim), np.float32)
