"""Small random diffusion networks, saved in the layout of the published ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from tests.unit.frozen.tiny_networks import save_clip_tokenizer

TEXT = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
TEXT |= {"projection_dim": 24, "vocab_size": 49408, "bos_token_id": 49406, "eos_token_id": 49407}
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
VISION |= {"image_size": 28, "patch_size": 14, "projection_dim": 24}


def widened(module: Any) -> Any:
    """The same module with larger random weights: with the usual small ones conditioning would hardly matter."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        if parameter.ndim > 1:
            fan = parameter[0].numel()
            torch.nn.init.normal_(parameter, std=1.5 / fan**0.5)
    return module.eval()


def make_unet(**changes: Any) -> Any:
    from diffusers import UNet2DConditionModel

    settings: dict[str, Any] = {
        "sample_size": 8,
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 24,
        "attention_head_dim": 4,
        "norm_num_groups": 8,
    }
    return widened(UNet2DConditionModel(**{**settings, **changes}))


def make_vae() -> Any:
    from diffusers import AutoencoderKL

    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    vae = AutoencoderKL(block_out_channels=(8, 8), latent_channels=4, norm_num_groups=4, sample_size=16, **blocks)
    return widened(vae)


def save_scheduler(folder: Path) -> None:
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False, steps_offset=1
    )
    scheduler.save_pretrained(folder / "scheduler")


def save_text(folder: Path) -> None:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    widened(CLIPTextModelWithProjection(CLIPTextConfig(**TEXT))).save_pretrained(folder / "text_encoder")
    save_clip_tokenizer(folder / "tokenizer")


def save_stable_diffusion(folder: Path) -> Path:
    make_unet().save_pretrained(folder / "unet")
    make_vae().save_pretrained(folder / "vae")
    save_scheduler(folder)
    save_text(folder)
    return folder


def make_flat_unet() -> Any:
    from diffusers.pipelines.deprecated.versatile_diffusion.modeling_text_unet import UNetFlatConditionModel

    flat = UNetFlatConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlockFlat", "DownBlockFlat"),
        mid_block_type="UNetMidBlockFlatCrossAttn",
        up_block_types=("UpBlockFlat", "CrossAttnUpBlockFlat"),
        cross_attention_dim=24,
        attention_head_dim=4,
        norm_num_groups=8,
    )
    flat = widened(flat)
    with torch.no_grad():
        for parameter in flat.parameters():
            parameter.mul_(1.1)
    return flat


def save_versatile_diffusion(folder: Path) -> Path:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    make_unet().save_pretrained(folder / "image_unet")
    make_flat_unet().save_pretrained(folder / "text_unet")
    make_vae().save_pretrained(folder / "vae")
    save_scheduler(folder)
    save_text(folder)
    widened(CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION))).save_pretrained(folder / "image_encoder")
    return folder


def save_token_diffusion(folder: Path) -> Path:
    """The project's own format: streams image (5, 24) and text (7, 24)."""
    make_unet(in_channels=4).save_pretrained(folder / "unet")
    make_vae().save_pretrained(folder.parent / "vae_beside")
    save_scheduler(folder)
    streams = [
        {"name": name, "tokens": tokens, "dim": 24, "scale": 2.0, "network": "../none", "output": "tokens"}
        for name, tokens in (("image", 5), ("text", 7))
    ]
    (folder / "conditioning.json").write_text(json.dumps({"streams": streams, "vae": "../vae_beside"}))
    return folder
