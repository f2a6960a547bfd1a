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


def save_stable_unclip(folder: Path) -> Path:
    """Conditioned on an image embedding of 16, in place of a class."""
    from diffusers import DDPMScheduler
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer

    unet = make_unet(class_embed_type="projection", projection_class_embeddings_input_dim=32)
    unet.save_pretrained(folder / "unet")
    make_vae().save_pretrained(folder / "vae")
    save_scheduler(folder)
    save_text(folder)
    normaliser = StableUnCLIPImageNormalizer(16)
    torch.manual_seed(0)
    with torch.no_grad():
        normaliser.mean.normal_()
        normaliser.std.uniform_(0.5, 2)
    normaliser.save_pretrained(folder / "image_normalizer")
    DDPMScheduler(beta_schedule="squaredcos_cap_v2").save_pretrained(folder / "image_noising_scheduler")
    return folder


def save_sdxl(folder: Path, turbo: bool = True) -> Path:
    """Two text encoders of widths 24 and 32, so that tokens have 56 and the pooled vector 16."""
    from diffusers import EulerAncestralDiscreteScheduler, EulerDiscreteScheduler
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    unet = make_unet(
        cross_attention_dim=56,
        transformer_layers_per_block=2,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=16 + 6 * 8,
    )
    unet.save_pretrained(folder / "unet")
    make_vae().save_pretrained(folder / "vae")
    scheduler = EulerAncestralDiscreteScheduler if turbo else EulerDiscreteScheduler
    spacing = "trailing" if turbo else "leading"
    betas: dict[str, Any] = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    scheduler(**betas, timestep_spacing=spacing, steps_offset=1).save_pretrained(folder / "scheduler")
    widened(CLIPTextModel(CLIPTextConfig(**TEXT))).save_pretrained(folder / "text_encoder")
    second = {**TEXT, "hidden_size": 32, "projection_dim": 16}
    widened(CLIPTextModelWithProjection(CLIPTextConfig(**second))).save_pretrained(folder / "text_encoder_2")
    for name in ("tokenizer", "tokenizer_2"):
        save_clip_tokenizer(folder / name)
    (folder / "model_index.json").write_text(json.dumps({"force_zeros_for_empty_prompt": True}))
    return folder


def save_adapter(file: Path, unet: Any, image_dim: int) -> Path:
    """A random IP-Adapter for a U-Net, in the published file's layout."""
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(0)
    width, tokens = unet.config.cross_attention_dim, 4
    weights = {
        "image_proj.proj.weight": torch.randn(tokens * width, image_dim, generator=generator) / image_dim**0.5,
        "image_proj.proj.bias": torch.zeros(tokens * width),
        "image_proj.norm.weight": torch.ones(width),
        "image_proj.norm.bias": torch.zeros(width),
    }
    crossed = [name for name in unet.attn_processors if not name.endswith("attn1.processor")]
    for number, name in enumerate(crossed):
        hidden = unet.get_submodule(name.removesuffix(".processor")).to_q.in_features
        for kind in ("k", "v"):
            weight = torch.randn(hidden, width, generator=generator) * 1.5 / width**0.5
            weights[f"ip_adapter.{2 * number + 1}.to_{kind}_ip.weight"] = weight
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, file)
    return file


def save_mindeye_unclip(folder: Path) -> Path:
    """Attends to image tokens of 24; its vector holds size and crop alone."""
    from diffusers import EulerDiscreteScheduler

    unet = make_unet(
        transformer_layers_per_block=2,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=4 * 8,
    )
    unet.save_pretrained(folder / "unet")
    make_vae().save_pretrained(folder / "vae")
    betas: dict[str, Any] = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    EulerDiscreteScheduler(**betas, timestep_spacing="trailing").save_pretrained(folder / "scheduler")
    return folder


def save_dpt(folder: Path) -> Path:
    """Four layers of (2 * 2 + 1) tokens of 16."""
    from transformers import DPTConfig, DPTForDepthEstimation

    config = DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=16,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        reassemble_factors=[4, 2, 1, 0.5],
        is_hybrid=False,
    )
    widened(DPTForDepthEstimation(config)).save_pretrained(folder)
    return folder


def save_depth_diffusion(folder: Path) -> Path:
    """One more input channel, for depth."""
    save_stable_diffusion(folder)
    make_unet(in_channels=5).save_pretrained(folder / "unet")
    return folder


def save_controlnet(folder: Path, unet: Any) -> Path:
    """A ControlNet for a U-Net, whose last layers are not zero as they are before training."""
    from diffusers import ControlNetModel

    control = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8))
    widened(control).save_pretrained(folder)
    return folder
