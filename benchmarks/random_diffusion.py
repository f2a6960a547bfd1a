"""Diffusion networks of published sizes, or toys, with random weights; for the benchmarks of this folder."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch

from braindec.frozen.vdvae.config import IMAGENET64, TINY
from braindec.stages.diffusion.dual_attention import DualAttention, set_image_weight
from braindec.stages.diffusion.families import StableDiffusion, VersatileDiffusion
from braindec.stages.diffusion.sdxl import StableDiffusionXL, attach_adapter


class Size:
    """Networks of true or of toy size."""

    def __init__(self, tiny: bool) -> None:
        toy = {"sample_size": 8, "block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 8}
        crossed = ("CrossAttnDownBlock2D", "DownBlock2D"), ("UpBlock2D", "CrossAttnUpBlock2D")
        self.tiny = tiny
        self.sd15: dict[str, Any] = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
        self.sdxl: dict[str, Any] = {
            "sample_size": 64,
            "cross_attention_dim": 2048,
            "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 10),
            "attention_head_dim": (5, 10, 20),
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        }
        if tiny:
            self.sd15 |= {**toy, "attention_head_dim": 4}
            self.sd15 |= {"down_block_types": crossed[0], "up_block_types": crossed[1]}
            self.sdxl |= {**toy, "attention_head_dim": 4, "transformer_layers_per_block": 2}
            self.sdxl |= {"down_block_types": crossed[0], "up_block_types": crossed[1]}
        self.vae_widths = (8, 8) if tiny else (128, 256, 512, 512)
        self.vdvae = TINY if tiny else IMAGENET64


SIZE = Size(tiny=False)


def set_size(tiny: bool) -> None:
    """Networks made from now on are of true or of toy size."""
    global SIZE
    SIZE = Size(tiny)


class RandomStableDiffusion(StableDiffusion):
    """Stable Diffusion with a random U-Net; nothing of it is on disk but the VAE and the scheduler's settings."""

    def load_unet(self, path: Path) -> Any:
        self._empty = np.zeros((77, 768), np.float32)
        return random_unet(SIZE.sd15, self.device)


class RandomVersatileDiffusion(VersatileDiffusion):
    """Versatile Diffusion with random attentions beside those of a random U-Net."""

    def load_unet(self, path: Path) -> Any:
        from diffusers.models import Transformer2DModel

        self._contrast = {"image": np.zeros((257, 768), np.float32), "text": np.zeros((77, 768), np.float32)}
        unet = random_unet(SIZE.sd15, self.device)
        places = [name for name, module in unet.named_modules() if isinstance(module, Transformer2DModel)]
        for place in places:
            parent, _, index = place.rpartition(".")
            image = unet.get_submodule(place)
            unet.get_submodule(parent)[int(index)] = DualAttention(image, deepcopy(image), 257)
        set_image_weight(unet, self.image_weight)
        return unet


class RandomTurbo(StableDiffusionXL):
    """SDXL-Turbo with a random U-Net and a random IP-Adapter."""

    def load_unet(self, path: Path) -> Any:
        self._texts = {"text": np.zeros((1, 77, 2048), np.float32), "pooled": np.zeros((1, 1, 1280), np.float32)}
        self._zeros = True
        unet = random_unet(SIZE.sdxl, self.device)
        self.adapter = "random"
        attach_adapter(unet, random_adapter(unet, self.device), self.adapter_scale)
        return unet


def random_unet(settings: Mapping[str, Any], device: str) -> Any:
    from diffusers import UNet2DConditionModel

    with torch.device(device):
        return UNet2DConditionModel(**settings)


def random_adapter(unet: Any, device: str) -> dict[str, dict[str, torch.Tensor]]:
    """An IP-Adapter's tensors: image embeddings of 1024 -> 4 tokens, and two projections an attention."""
    tokens, width, attentions = 4, unet.config.cross_attention_dim, {}
    crossed = [name for name in unet.attn_processors if not name.endswith("attn1.processor")]
    for number, name in enumerate(crossed):
        hidden = unet.get_submodule(name.removesuffix(".processor")).to_q.in_features
        for kind in ("k", "v"):
            attentions[f"{2 * number + 1}.to_{kind}_ip.weight"] = 0.02 * torch.randn(hidden, width, device=device)
    projection = {
        "proj.weight": 0.02 * torch.randn(tokens * width, 1024, device=device),
        "proj.bias": torch.zeros(tokens * width, device=device),
        "norm.weight": torch.ones(width, device=device),
        "norm.bias": torch.zeros(width, device=device),
    }
    return {"image_proj": projection, "ip_adapter": attentions}


def save_rest(root: Path) -> dict[str, Path]:
    """Folders with a random VAE and a scheduler, one for each kind of scheduler."""
    from diffusers import AutoencoderKL, DDIMScheduler, EulerAncestralDiscreteScheduler

    widths = SIZE.vae_widths
    AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        layers_per_block=1 if SIZE.tiny else 2,
        latent_channels=4,
        norm_num_groups=4 if SIZE.tiny else 32,
    ).save_pretrained(root / "vae")
    betas: dict[str, Any] = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    folders = {name: root / name for name in ("sd", "turbo")}
    DDIMScheduler(**betas, clip_sample=False, steps_offset=1).save_pretrained(folders["sd"] / "scheduler")
    turbo = EulerAncestralDiscreteScheduler(**betas, timestep_spacing="trailing")
    turbo.save_pretrained(folders["turbo"] / "scheduler")
    for folder in folders.values():
        (folder / "vae").symlink_to(root / "vae")
    return folders
