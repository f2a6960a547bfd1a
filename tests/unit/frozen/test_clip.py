from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from braindec.frozen.clip import ClipText, ClipVision
from braindec.types import DataError, Stimuli

CAPTIONS = ["a dog on a beach", "two red cubes", "A photograph of nothing much"]


@pytest.fixture(scope="module")
def direct(clip_folder: Path) -> torch.nn.Module:
    from transformers import CLIPModel

    return CLIPModel.from_pretrained(clip_folder).eval()


@pytest.fixture(scope="module")
def pixels(photographs: np.ndarray) -> torch.Tensor:
    from transformers import CLIPImageProcessor

    processor = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    return processor(images=[Image.fromarray(p) for p in photographs], return_tensors="pt").pixel_values


def test_preprocessing_equals_the_published_processor(
    clip_folder: Path, photographs: np.ndarray, pixels: torch.Tensor
) -> None:
    network = ClipVision(str(clip_folder))
    network.preprocessing()
    ours = network.preprocessing_(photographs)
    sd = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)
    assert ((ours - pixels) * sd).abs().max() <= 1.01 / 255


@torch.no_grad()
@pytest.mark.parametrize("output", ["pooled", "tokens", "hidden"])
def test_vision_equals_transformers_called_directly(
    clip_folder: Path, direct: torch.nn.Module, photographs: np.ndarray, output: str
) -> None:
    network = ClipVision(str(clip_folder), output=output)
    found = torch.from_numpy(network.encode(photographs))
    inputs = network.preprocessing_(photographs)
    hidden = direct.vision_model(inputs).last_hidden_state
    expected = {
        "pooled": direct.get_image_features(inputs).pooler_output.unsqueeze(1),
        "tokens": direct.visual_projection(direct.vision_model.post_layernorm(hidden)),
        "hidden": hidden,
    }[output]
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert network.report_ is not None
    assert not network.report_.missing


@torch.no_grad()
@pytest.mark.parametrize("output", ["pooled", "tokens", "hidden"])
def test_text_equals_transformers_called_directly(clip_folder: Path, direct: torch.nn.Module, output: str) -> None:
    import open_clip

    network = ClipText(str(clip_folder), output=output)
    found = torch.from_numpy(network.encode(CAPTIONS))
    ids = open_clip.SimpleTokenizer(context_length=77)(CAPTIONS)
    ids = torch.where((ids == 0) & (torch.cumsum(ids == 49407, 1) > 0), 49407, ids)
    hidden = direct.text_model(ids).last_hidden_state
    expected = {
        "pooled": direct.get_text_features(ids).pooler_output.unsqueeze(1),
        "tokens": direct.text_projection(hidden),
        "hidden": hidden,
    }[output]
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_several_captions_are_averaged(clip_folder: Path) -> None:
    network = ClipText(str(clip_folder), max_captions=2)
    single = network.encode(CAPTIONS)
    stimuli = Stimuli(ids=("a", "b"), captions=(tuple(CAPTIONS), (CAPTIONS[2],)))
    found = network.encode(stimuli)
    np.testing.assert_allclose(found[0], single[:2].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found[1], single[2], atol=1e-6)


def test_batches_do_not_change_the_embeddings(clip_folder: Path, photographs: np.ndarray) -> None:
    whole = ClipVision(str(clip_folder)).encode(photographs)
    parts = list(ClipVision(str(clip_folder), batch_size=2).encode_batches(photographs))
    assert [len(part) for part in parts] == [2, 1]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)


def test_lower_precision_stays_close(clip_folder: Path, photographs: np.ndarray) -> None:
    exact = ClipVision(str(clip_folder)).encode(photographs)
    low = ClipVision(str(clip_folder), dtype="bfloat16").encode(photographs)
    assert low.dtype == np.float32
    assert np.abs(low - exact).max() < 0.05 * np.abs(exact).max()


def test_missing_modality_is_refused(clip_folder: Path) -> None:
    with pytest.raises(DataError, match="no image"):
        ClipVision(str(clip_folder)).encode(Stimuli(ids=("a",), texts=("x",)))


def test_another_architecture_is_refused(clip_folder: Path, tmp_path: Path) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    other = CLIPVisionConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    CLIPVisionModelWithProjection(other).save_pretrained(tmp_path)
    shutil.copy(clip_folder / "config.json", tmp_path / "config.json")
    with pytest.raises(DataError, match=r"\d+ missing .* of another shape"):
        ClipVision(str(tmp_path)).encode(np.zeros((1, 28, 28, 3), np.uint8))


def test_a_truncated_file_is_named(clip_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(clip_folder, tmp_path / "cut")
    file = tmp_path / "cut" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(DataError, match=r"model\.safetensors: cannot be read, it may be truncated"):
        ClipVision(str(tmp_path / "cut")).encode(np.zeros((1, 28, 28, 3), np.uint8))
