"""Our sampler beside diffusers' own pipelines and modules, same random weights, embeddings, noise and steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from braindec.frozen.dual_diffusion import DualDiffusion
from braindec.frozen.noise import noise_of
from braindec.stages.diffusion.families import StableDiffusion, TokenDiffusion, VersatileDiffusion
from braindec.stages.diffusion.halves import FeatureReuse
from braindec.stages.diffusion.sampler import Sampler, Sampling, SchedulerName
from tests.unit.stages.tiny_diffusion import save_stable_diffusion, save_token_diffusion, save_versatile_diffusion

SEEDS = [3, 2**61, 11]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_stable_diffusion(tmp_path_factory.mktemp("weights") / "sd")


@pytest.fixture(scope="module")
def versatile_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_versatile_diffusion(tmp_path_factory.mktemp("weights") / "vd")


def pipeline_of(kind: str, folder: Path, scheduler: str):
    import diffusers
    from transformers import CLIPTextModel, CLIPTokenizer

    settings = diffusers.DDIMScheduler.load_config(folder / "scheduler")
    pipeline = getattr(diffusers, kind)(
        vae=diffusers.AutoencoderKL.from_pretrained(folder / "vae"),
        text_encoder=CLIPTextModel.from_pretrained(folder / "text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        unet=diffusers.UNet2DConditionModel.from_pretrained(folder / "unet"),
        scheduler=getattr(diffusers, scheduler).from_config(settings),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in SEEDS]


@pytest.mark.parametrize(("name", "scheduler"), [("ddim", "DDIMScheduler"), ("unipc", "UniPCMultistepScheduler")])
@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_image_to_image_equals_the_pipeline(folder: Path, name: SchedulerName, scheduler: str, guidance: float) -> None:
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(3, 77, 24)).astype(np.float32)
    start = torch.from_numpy(rng.normal(size=(3, 4, 8, 8)).astype(np.float32))
    model = StableDiffusion(str(folder)).on("cpu")
    sampler = Sampler(model, Sampling(9, 0.75, guidance, name))
    given = model.conditioning({"text": tokens}, SEEDS)
    contrast = model.contrast(given, SEEDS)
    with torch.inference_mode():
        found = sampler.walk(noise_of(SEEDS, (4, 8, 8), "cpu"), start, given, contrast, SEEDS)
        expected = pipeline_of("StableDiffusionImg2ImgPipeline", folder, scheduler)(
            image=start,
            prompt_embeds=given.tokens_nKD,
            negative_prompt_embeds=contrast.tokens_nKD,
            strength=0.75,
            num_inference_steps=9,
            guidance_scale=guidance,
            generator=generators(),
            output_type="latent",
        ).images
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_from_noise_equals_the_pipeline_to_the_pixel(folder: Path) -> None:
    tokens = np.random.default_rng(0).normal(size=(3, 77, 24)).astype(np.float32)
    model = StableDiffusion(str(folder)).on("cpu")
    sampler = Sampler(model, Sampling(5, None, 3.0, "euler_ancestral"))
    given = model.conditioning({"text": tokens}, SEEDS)
    pipeline = pipeline_of("StableDiffusionPipeline", folder, "EulerAncestralDiscreteScheduler")
    contrast = model.contrast(given, SEEDS)
    empty = pipeline.encode_prompt("", "cpu", 1, False)[0]
    torch.testing.assert_close(contrast.tokens_nKD, empty.expand(3, -1, -1), atol=1e-5, rtol=1e-5)
    noise = noise_of(SEEDS, (4, 8, 8), "cpu")
    with torch.inference_mode():
        found = model.decode_latents(sampler.walk(noise, None, given, contrast, SEEDS))
        expected = pipeline(
            latents=noise,
            prompt_embeds=given.tokens_nKD,
            negative_prompt_embeds=contrast.tokens_nKD,
            num_inference_steps=5,
            guidance_scale=3.0,
            generator=[torch.Generator().manual_seed(seed + 1) for seed in SEEDS],
            output_type="pt",
        ).images
    torch.testing.assert_close((found / 2 + 0.5).clamp(0, 1), expected, atol=1e-3, rtol=1e-3)


def test_dual_attention_equals_diffusers_mixture(versatile_folder: Path) -> None:
    from diffusers.models.transformers.dual_transformer_2d import DualTransformer2DModel

    model = VersatileDiffusion(str(versatile_folder), image_weight=0.6).on("cpu")
    dual = model.halves.unet.down_blocks[0].attentions[0]
    config = dual.image.config
    theirs = DualTransformer2DModel(
        num_attention_heads=config.num_attention_heads,
        attention_head_dim=config.attention_head_dim,
        in_channels=config.in_channels,
        num_layers=config.num_layers,
        norm_num_groups=config.norm_num_groups,
        cross_attention_dim=config.cross_attention_dim,
    )
    theirs.transformers[0], theirs.transformers[1] = dual.image, dual.text
    # Its context begins with the text, and its ratio is the first condition's.
    theirs.condition_lengths, theirs.transformer_index_for_condition, theirs.mix_ratio = [77, 5], [1, 0], 0.4
    torch.manual_seed(0)
    stream, image, text = torch.randn(2, 16, 8, 8), torch.randn(2, 5, 24), torch.randn(2, 77, 24)
    with torch.inference_mode():
        expected = theirs(stream, torch.cat([text, image], dim=1), return_dict=False)[0]
        found = dual(stream, torch.cat([image, text], dim=1), return_dict=False)[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_versatile_diffusion_pairs_each_attention_with_the_text_network_s(versatile_folder: Path) -> None:
    from diffusers import UNet2DConditionModel
    from diffusers.pipelines.deprecated.versatile_diffusion.modeling_text_unet import UNetFlatConditionModel

    rng = np.random.default_rng(0)
    image = rng.normal(size=(2, 5, 24)).astype(np.float32)
    latents, times = torch.randn(2, 4, 8, 8), torch.tensor([500, 500])
    plain = UNet2DConditionModel.from_pretrained(versatile_folder / "image_unet")
    flat = UNetFlatConditionModel.from_pretrained(versatile_folder / "text_unet")
    model = VersatileDiffusion(str(versatile_folder), image_weight=1.0).on("cpu")
    with torch.inference_mode():
        found = model.halves.whole(latents, times, model.conditioning({"image": image}, [1, 2]))
        expected = plain(latents, times, torch.from_numpy(image)).sample
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    state = flat.state_dict()
    for place in ("down_blocks.0.attentions.0", "mid_block.attentions.0", "up_blocks.1.attentions.1"):
        text = model.halves.unet.get_submodule(place).text
        for key, value in text.state_dict().items():
            torch.testing.assert_close(value, state[f"{place}.{key}"], rtol=0, atol=0)


def test_versatile_diffusion_equals_the_dual_guided_pipeline(versatile_folder: Path, monkeypatch) -> None:
    import diffusers
    from diffusers.models.transformers.dual_transformer_2d import DualTransformer2DModel
    from diffusers.pipelines.deprecated.versatile_diffusion import pipeline_versatile_diffusion_dual_guided as theirs
    from diffusers.pipelines.deprecated.versatile_diffusion.modeling_text_unet import UNetFlatConditionModel
    from transformers import CLIPTextModelWithProjection

    forward = DualTransformer2DModel.forward

    def without_mask(self, *given, encoder_attention_mask=None, **options):
        # The blocks of today's diffusers pass a mask, which this module of the deprecated pipeline does not know.
        assert encoder_attention_mask is None
        return forward(self, *given, **options)

    monkeypatch.setattr(DualTransformer2DModel, "forward", without_mask)
    rng = np.random.default_rng(0)
    conditions = {name: rng.normal(size=(3, k, 24)).astype(np.float32) for name, k in (("image", 5), ("text", 77))}
    model = VersatileDiffusion(str(versatile_folder), image_weight=0.6).on("cpu")
    noise = noise_of(SEEDS, (4, 8, 8), "cpu")
    pipeline = theirs.VersatileDiffusionDualGuidedPipeline(
        tokenizer=None,
        image_feature_extractor=None,
        text_encoder=CLIPTextModelWithProjection.from_pretrained(versatile_folder / "text_encoder"),
        image_encoder=None,
        image_unet=diffusers.UNet2DConditionModel.from_pretrained(versatile_folder / "image_unet"),
        text_unet=UNetFlatConditionModel.from_pretrained(versatile_folder / "text_unet"),
        vae=diffusers.AutoencoderKL.from_pretrained(versatile_folder / "vae"),
        scheduler=diffusers.DDIMScheduler.from_pretrained(versatile_folder / "scheduler"),
    )
    pipeline.set_progress_bar_config(disable=True)
    with torch.inference_mode():
        given = model.conditioning(conditions, SEEDS)
        contrast = model.contrast(given, SEEDS)
        # Embeddings in place of prompts, the contrast first.
        both = torch.cat([contrast.tokens_nKD, given.tokens_nKD])
        monkeypatch.setattr(pipeline, "_encode_text_prompt", lambda *given: both[:, 5:])
        monkeypatch.setattr(pipeline, "_encode_image_prompt", lambda *given: both[:, :5])
        walked = Sampler(model, Sampling(5, None, 7.5, "ddim")).walk(noise, None, given, contrast, SEEDS)
        found = model.decode_latents(walked)
        options = {"num_inference_steps": 5, "guidance_scale": 7.5, "latents": noise, "output_type": "pt"}
        expected = pipeline([""] * 3, [None] * 3, text_to_image_strength=0.4, **options).images
        other = pipeline([""] * 3, [None] * 3, text_to_image_strength=0.6, **options).images
    torch.testing.assert_close((found / 2 + 0.5).clamp(0, 1), expected, atol=1e-3, rtol=1e-3)
    assert (other - expected).abs().max() > 0.01, "the mixture must matter"


def test_the_project_s_own_format_equals_its_plain_sampler(tmp_path: Path) -> None:
    folder = save_token_diffusion(tmp_path / "tiny_diffusion")
    rng = np.random.default_rng(0)
    conditions = {"text": rng.normal(size=(3, 7, 24)).astype(np.float32)}
    plain = DualDiffusion(str(folder), steps=6, guidance=2.0)
    expected = plain.generate(conditions, SEEDS)
    model = TokenDiffusion(str(folder)).on("cpu")
    noise = noise_of(SEEDS, (4, 8, 8), "cpu")
    with torch.inference_mode():
        sampler = Sampler(model, Sampling(6, None, 2.0))
        given = model.conditioning(conditions, SEEDS)
        pixels = model.decode_latents(sampler.walk(noise, None, given, model.contrast(given, SEEDS), SEEDS))
    found = ((pixels + 1) * 127.5).round().clamp(0, 255).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(found, expected.astype(float), atol=1)


def test_the_two_halves_make_the_whole_and_reuse_at_every_step_changes_nothing(folder: Path) -> None:
    model = StableDiffusion(str(folder)).on("cpu")
    tokens = np.random.default_rng(0).normal(size=(2, 77, 24)).astype(np.float32)
    given = model.conditioning({"text": tokens}, [1, 2])
    latents, times = torch.randn(2, 4, 8, 8), torch.tensor([700, 700])
    halves = model.halves
    with torch.inference_mode():
        whole = halves.whole(latents, times, given)
        parts = halves.up(halves.down(latents, times, given), times, given)
        torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-5)
        noise = noise_of([1, 2], (4, 8, 8), "cpu")
        walks = {
            name: Sampler(model, Sampling(8, None, 1.0, "ddim", reuse)).walk(noise, None, given, None, [1, 2])
            for name, reuse in {
                "none": None,
                "every": FeatureReuse(every=1, inject=0.0),
                "third": FeatureReuse(every=3, always_first=2, inject=0.0),
            }.items()
        }
    torch.testing.assert_close(walks["every"], walks["none"], atol=1e-4, rtol=1e-4)
    assert (walks["third"] - walks["none"]).abs().max() > 1e-3
    assert [step for step in range(10) if FeatureReuse(3, 2).is_key(step)] == [0, 1, 4, 7]
