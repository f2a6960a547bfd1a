"""Networks that are conditioned on an image embedding: Stable unCLIP, and MindEye2's unCLIP of SDXL's scale.

Legend: n pictures, K tokens, D dimensions, C latent channels, h w latent height and width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from braindec.frozen.base import Dtype
from braindec.frozen.clip import ClipText
from braindec.frozen.dual_diffusion import Stream
from braindec.frozen.ldm_layout import NOISE_LEVELS, engine_file, load_unet
from braindec.frozen.noise import noise_of
from braindec.frozen.weights import resolve
from braindec.stages.diffusion.conditioning import Conditioning
from braindec.stages.diffusion.model import DiffusionModel
from braindec.stages.seeds import derived_seed
from braindec.types import DataError

EMBEDDING_NOISE, CONTRAST_TOKENS, OFFSET_NOISE = 1, 2, 3
"""Purposes for which an item's seed is derived, beside the latents' own noise."""


class StableUnClip(DiffusionModel):
    """Stable Diffusion unCLIP: ``image``, an image embedding of OpenCLIP ViT-H/14 (1, 1024), and ``text`` tokens.

    Parameters
    ----------
    noise_level : how much noise the embedding is given before the network sees it, 0 to 999; predicted embeddings
        are noisy already.

    Source: Ramesh et al. 2022 (unCLIP); Stable unCLIP 2.1 as in diffusers'
    pipelines/stable_diffusion/pipeline_stable_unclip_img2img.py.
    """

    def __init__(
        self,
        weights: str = "stabilityai/stable-diffusion-2-1-unclip",
        dtype: Dtype = "float32",
        compiled: bool = False,
        channels_last: bool = False,
        image_size: int | None = None,
        noise_level: int = 0,
    ) -> None:
        super().__init__(weights, dtype, compiled, channels_last, image_size)
        self.noise_level = noise_level

    def load_unet(self, path: Path) -> Any:
        """The folder's ``unet``, with the embedding's normaliser and its noise levels."""
        from diffusers import DDPMScheduler, UNet2DConditionModel
        from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer

        self._empty = ClipText(str(path), output="hidden").encode([""])[0]
        normaliser = self.load_part(StableUnCLIPImageNormalizer, path / "image_normalizer")
        self._mean, self._sd = normaliser.mean.detach().float(), normaliser.std.detach().float()
        noising = path / "image_noising_scheduler"
        if not (noising / "scheduler_config.json").is_file():
            raise DataError(f"{noising}: expected scheduler_config.json, found none")
        self._noising = DDPMScheduler.from_config(DDPMScheduler.load_config(noising, local_files_only=True))
        if not 0 <= self.noise_level < self._noising.config.num_train_timesteps:
            raise DataError(
                f"StableUnClip.noise_level: expected 0 to {self._noising.config.num_train_timesteps - 1}, "
                f"found {self.noise_level}"
            )
        return self.load_part(UNet2DConditionModel, path / "unet")

    def encode_texts(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """``text`` tokens."""
        return {"text": ClipText(str(resolve(self.weights)), output="hidden").encode(list(texts))}

    def streams(self) -> tuple[Stream, ...]:
        """Text tokens, and the image's embedding."""
        return (
            Stream("text", len(self._empty), self._empty.shape[1], 1.0, self.weights, "hidden"),
            Stream("image", 1, self._mean.shape[1], 1.0, self.weights, "pooled"),
        )

    @property
    def attended(self) -> tuple[str, ...]:
        """Text tokens."""
        return ("text",)

    def absent(self, stream: Stream) -> np.ndarray:
        """Tokens of the empty text, or an embedding of zeros."""
        return self._empty if stream.name == "text" else np.zeros((stream.tokens, stream.dim), np.float32)

    def conditioning(self, conditions: Mapping[str, np.ndarray], seeds: Sequence[int]) -> Conditioning:
        """Text tokens, and the noised image embedding in place of a class."""
        self.checked(conditions, len(seeds))
        if "image" not in conditions:
            raise DataError(f"{self.weights}: needs the conditioning 'image'; name the target that predicts it")
        image = torch.as_tensor(np.asarray(conditions["image"], np.float32))[:, 0]
        classes = self.placed(self._noised(image, seeds))
        return Conditioning(self.tokens(conditions, len(seeds)), classes_nD=classes)

    def contrast(self, given: Conditioning, seeds: Sequence[int]) -> Conditioning:
        """The empty text and zeros."""
        assert given.classes_nD is not None
        return Conditioning(self.tokens({}, len(seeds)), classes_nD=torch.zeros_like(given.classes_nD))

    def _noised(self, image_nD: Tensor, seeds: Sequence[int]) -> Tensor:
        """The embedding with noise, and an embedding of how much (n, 2 D)."""
        from diffusers.models.embeddings import get_timestep_embedding

        own = [derived_seed(seed, EMBEDDING_NOISE) for seed in seeds]
        noise_nD = noise_of(own, image_nD.shape[1:], "cpu")
        levels = torch.full((len(image_nD),), self.noise_level)
        noised_nD = self._noising.add_noise((image_nD - self._mean) / self._sd, noise_nD, levels)
        dim = image_nD.shape[1]
        level_nD = get_timestep_embedding(levels, dim, flip_sin_to_cos=True, downscale_freq_shift=0)
        return torch.cat([noised_nD * self._sd + self._mean, level_nD], dim=1)


class MindEyeUnClip(DiffusionModel):
    """MindEye2's unCLIP: a U-Net of SDXL's scale that attends to ``image`` tokens of OpenCLIP bigG/14 (256, 1664).

    ``weights`` is the published checkpoint ``unclip6_epoch0_step110000.ckpt`` or its folder (see
    `braindec.frozen.ldm_layout`), or a folder with ``unet``, ``vae`` and ``scheduler`` in diffusers' layout. Its vector
    holds the picture's size and crop alone (1024 values), so that its text embedding has no entries.

    Parameters
    ----------
    image_tokens : tokens of an image.
    offset_noise : share of noise that is one value a picture and channel, as the network was trained with.
    brighten : whether pictures leave the VAE as 0.8 x + 0.2, as the published code shows them, and not (x + 1) / 2.

    Guidance leads away from tokens of pure noise, drawn by the item's seed.

    Source: Scotti et al. 2024 (MindEye2; MedARC-AI/MindEyeV2 src/utils.py, unclip_recon, and
    src/generative_models/configs/unclip6.yaml; timesteps of sgm/modules/diffusionmodules/discretizer.py).
    """

    def __init__(
        self,
        weights: str = "pscotti/mindeyev2-unclip",
        dtype: Dtype = "float32",
        compiled: bool = False,
        channels_last: bool = False,
        image_size: int | None = 768,
        image_tokens: int = 256,
        offset_noise: float = 0.04,
        brighten: bool = True,
    ) -> None:
        super().__init__(weights, dtype, compiled, channels_last, image_size)
        self.image_tokens = image_tokens
        self.offset_noise = offset_noise
        self.brighten = brighten

    def load_unet(self, path: Path) -> Any:
        """The checkpoint's or the folder's U-Net."""
        from diffusers import UNet2DConditionModel

        self._file = None if (path / "unet").is_dir() else engine_file(path)
        if self._file is None:
            unet: Any = self.load_part(UNet2DConditionModel, path / "unet")
        else:
            unet, self.reports_["unet"] = load_unet(self._file)
        self._width = int(unet.config.cross_attention_dim)
        return unet

    def vae_place(self, path: Path) -> Path:
        """The checkpoint, or the folder's ``vae``."""
        return self._file or super().vae_place(path)

    def noise_levels(self, path: Path) -> dict[str, Any]:
        """Those of all networks of the checkpoint's layout, or of the folder's scheduler."""
        return dict(NOISE_LEVELS) if self._file is not None else super().noise_levels(path)

    def timesteps(self, steps: int) -> list[int] | None:
        """Equally spaced from the noisiest on, cut down to whole numbers, as the published sampler has them."""
        if self._file is None:
            return None
        last = int(self.scheduler_settings.get("num_train_timesteps", 1000)) - 1
        return np.linspace(last, 0, steps, endpoint=False).astype(int).tolist()

    def streams(self) -> tuple[Stream, ...]:
        """Image tokens."""
        return (Stream("image", self.image_tokens, self._width, 1.0, self.weights, "tokens"),)

    def absent(self, stream: Stream) -> np.ndarray:
        """Zeros; never seen, since the contrast is drawn and the image must be given."""
        return np.zeros((stream.tokens, stream.dim), np.float32)

    def conditioning(self, conditions: Mapping[str, np.ndarray], seeds: Sequence[int]) -> Conditioning:
        """Image tokens, and the size and crop of a whole picture."""
        self.checked(conditions, len(seeds))
        if "image" not in conditions:
            raise DataError(f"{self.weights}: needs the conditioning 'image'; name the target that predicts it")
        return self._conditioned(self.tokens(conditions, len(seeds)))

    def contrast(self, given: Conditioning, seeds: Sequence[int]) -> Conditioning:
        """Tokens of noise."""
        own = [derived_seed(seed, CONTRAST_TOKENS) for seed in seeds]
        noise_nKD = noise_of(own, (self.image_tokens, self._width), self.device)
        return replace(given, tokens_nKD=self.placed(noise_nKD))

    def first_noise(self, seeds: Sequence[int]) -> Tensor:
        """Noise with an offset a picture."""
        offsets = noise_of([derived_seed(seed, OFFSET_NOISE) for seed in seeds], (1, 1, 1), self.device)
        return super().first_noise(seeds) + self.offset_noise * offsets

    def decode_latents(self, latents_nChw: Tensor) -> Tensor:
        """Latents -> pixels (n, 3, H, W) in [-1, 1]."""
        pixels = super().decode_latents(latents_nChw)
        return pixels * 1.6 - 0.6 if self.brighten else pixels

    def _conditioned(self, tokens_nKD: Tensor) -> Conditioning:
        n, side = len(tokens_nKD), float(self.vae.image_size)
        sizes = self.placed(np.tile(np.array([side, side, 0, 0], np.float32), (n, 1)))
        return Conditioning(tokens_nKD, {"text_embeds": sizes[:, :0], "time_ids": sizes})
