"""Our conditioning beside the encoding of diffusers' own Versatile Diffusion pipelines, same random weights."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from braindec.frozen.clip import ClipText, ClipVision
from tests.unit.frozen.tiny_networks import save_clip, smooth_pictures

PIPELINES = "diffusers.pipelines.deprecated.versatile_diffusion"


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("weights") / "clip")


@torch.no_grad()
def test_image_conditioning_equals_the_pipeline(clip_folder: Path) -> None:
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    module = importlib.import_module(f"{PIPELINES}.pipeline_versatile_diffusion_image_variation")
    stand_in = SimpleNamespace(
        image_encoder=CLIPVisionModelWithProjection.from_pretrained(clip_folder).eval(),
        image_feature_extractor=CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
    )
    pictures = [Image.fromarray(p).resize((28, 28)) for p in smooth_pictures()]
    encode = module.VersatileDiffusionImageVariationPipeline._encode_prompt
    expected = encode(stand_in, pictures, "cpu", 1, False, None)
    network = ClipVision(str(clip_folder), output="versatile_diffusion")
    found = network.encode(np.stack([np.asarray(p) for p in pictures]))
    torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_text_conditioning_equals_the_pipeline(clip_folder: Path) -> None:
    from transformers import CLIPTextModelWithProjection, CLIPTokenizer

    module = importlib.import_module(f"{PIPELINES}.pipeline_versatile_diffusion_text_to_image")
    stand_in = SimpleNamespace(
        text_encoder=CLIPTextModelWithProjection.from_pretrained(clip_folder).eval(),
        tokenizer=CLIPTokenizer.from_pretrained(clip_folder),
    )
    captions = ["a dog on a beach", "two red cubes beside a tree"]
    encode = module.VersatileDiffusionTextToImagePipeline._encode_prompt
    expected = encode(stand_in, captions, "cpu", 1, False, None)
    found = ClipText(str(clip_folder), output="versatile_diffusion").encode(captions)
    torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-5, rtol=1e-5)
