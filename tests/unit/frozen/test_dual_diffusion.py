"""Dual-guided diffusion: what its pictures depend on, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from braindec.frozen.dual_diffusion import CONDITIONING, DualDiffusion, Stream
from braindec.types import DataError

diffusers = pytest.importorskip("diffusers")

STREAMS = (Stream("image", 5, 16, 4.0, "../clip", "tokens"), Stream("text", 3, 16, 4.0, "../clip", "tokens"))


def _shake(module):
    """Random weights everywhere: diffusers starts some layers at zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("family")
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=4,
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        scaling_factor=0.5,
    )
    _shake(vae).save_pretrained(root / "vae")
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=2,
        cross_attention_dim=16,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
    )
    _shake(unet).save_pretrained(root / "diffusion" / "unet")
    control = diffusers.ControlNetModel.from_unet(
        unet, conditioning_channels=1, conditioning_embedding_out_channels=(8, 16)
    )
    _shake(control).save_pretrained(root / "diffusion" / "controlnet")
    diffusers.DDIMScheduler(
        prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing", clip_sample=False
    ).save_pretrained(root / "diffusion" / "scheduler")
    settings = {"streams": [asdict(s) for s in STREAMS], "vae": "../vae"}
    (root / "diffusion" / CONDITIONING).write_text(json.dumps(settings))
    return root / "diffusion"


@pytest.fixture
def diffusion(folder):
    return DualDiffusion(str(folder), steps=3)


@pytest.fixture
def tokens():
    rng = np.random.default_rng(0)
    return {"image": rng.normal(size=(3, 5, 16)), "text": rng.normal(size=(3, 3, 16))}


def test_picture_depends_on_own_seed_and_conditions_not_on_batch(diffusion, tokens):
    together = diffusion.generate(tokens, [7, 8, 9])
    assert together.shape == (3, 16, 16, 3)
    assert together.dtype == np.uint8
    alone = diffusion.generate({name: values[1:2] for name, values in tokens.items()}, [8])
    assert np.abs(together[1:2].astype(int) - alone).max() <= 1
    assert (diffusion.generate(tokens, [10, 8, 9])[0] != together[0]).any()


def test_absent_stream_is_zeros_and_each_stream_counts(diffusion, tokens):
    image_only = diffusion.generate({"image": tokens["image"]}, [1, 2, 3])
    with_zeros = diffusion.generate({"image": tokens["image"], "text": np.zeros((3, 3, 16))}, [1, 2, 3])
    np.testing.assert_array_equal(image_only, with_zeros)
    assert (diffusion.generate(tokens, [1, 2, 3]) != image_only).any()
    assert (diffusion.generate({"text": tokens["text"]}, [1, 2, 3]) != image_only).any()


def test_guidance_of_one_is_the_conditional_network(folder, tokens):
    plain = DualDiffusion(str(folder), steps=1, guidance=1.0)
    found = plain.generate(tokens, [4, 5, 6])
    parts = plain.parts
    noise = torch.stack([torch.randn((4, 8, 8), generator=torch.Generator().manual_seed(s)) for s in (4, 5, 6)])
    context = torch.cat([torch.tensor(tokens[n] * 4.0, dtype=torch.float32) for n in ("image", "text")], dim=1)
    with torch.inference_mode():
        velocity = parts["unet"](noise, 999, context).sample
        # Pure noise at the last time: the clean latent is minus the velocity.
        expected = parts["vae"].decode_latents(-velocity)
    levels = ((expected + 1) * 127.5).clamp(0, 255).permute(0, 2, 3, 1).numpy()
    assert np.abs(found - levels).max() < 1


def test_small_strength_stays_near_the_start(folder, tokens):
    diffusion = DualDiffusion(str(folder), steps=20)
    start = np.random.default_rng(1).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    passed = diffusion.parts["vae"].decode(diffusion.parts["vae"].encode(start)).astype(int)
    near = diffusion.generate(tokens, [1, 2, 3], images=start, strength=0.05)
    far = diffusion.generate(tokens, [1, 2, 3], images=start, strength=1.0)
    assert np.abs(near - passed).mean() < np.abs(far - passed).mean()
    np.testing.assert_array_equal(far, diffusion.generate(tokens, [1, 2, 3]))


def test_depth_changes_pictures_by_its_weight(diffusion, tokens):
    depth = np.random.default_rng(2).random((3, 16, 16))
    plain = diffusion.generate(tokens, [1, 2, 3])
    np.testing.assert_array_equal(diffusion.generate(tokens, [1, 2, 3], depth=depth, control=0.0), plain)
    assert (diffusion.generate(tokens, [1, 2, 3], depth=depth) != plain).any()


def test_refusals(diffusion, tokens, tmp_path):
    with pytest.raises(DataError, match="unknown stream 'sound'"):
        diffusion.generate({"sound": tokens["text"]}, [1, 2, 3])
    with pytest.raises(DataError, match=r"must be \(2, 5, 16\)"):
        diffusion.generate({"image": tokens["image"]}, [1, 2])
    with pytest.raises(DataError, match="strength"):
        diffusion.generate(tokens, [1, 2, 3], strength=0.0)
    with pytest.raises(DataError, match=r"conditioning\.json"):
        DualDiffusion(str(tmp_path)).generate({}, [1])
    diffusion.parts.pop("controlnet")
    with pytest.raises(DataError, match="no controlnet"):
        diffusion.generate(tokens, [1, 2, 3], depth=np.zeros((3, 16, 16)))
