from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from braindec.frozen.openclip import OpenClipText, OpenClipVision, open_clip_preprocessing
from braindec.types import DataError


@pytest.fixture(scope="module")
def direct(open_clip_folder: Path) -> torch.nn.Module:
    return open_clip.create_model(f"local-dir:{open_clip_folder}").eval()


@torch.no_grad()
def test_pooled_and_tokens_equal_open_clip_called_directly(
    open_clip_folder: Path, direct: torch.nn.Module, photographs: np.ndarray
) -> None:
    transform = image_transform_v2(PreprocessCfg(**direct.visual.preprocess_cfg), is_train=False)
    published = torch.stack([transform(Image.fromarray(p)) for p in photographs])
    ours = open_clip_preprocessing(direct)(photographs)
    sd = torch.tensor(direct.visual.preprocess_cfg["std"]).view(1, 3, 1, 1)
    assert ((ours - published) * sd).abs().max() <= 1.01 / 255

    network = OpenClipVision(str(open_clip_folder))
    torch.testing.assert_close(torch.from_numpy(network.encode(photographs))[:, 0], direct.encode_image(ours))
    tokens = OpenClipVision(str(open_clip_folder), output="tokens").encode(photographs)
    direct.visual.output_tokens = True
    expected = direct.visual(ours)[1]
    direct.visual.output_tokens = False
    assert tokens.shape == (3, 4, 32)
    torch.testing.assert_close(torch.from_numpy(tokens), expected)


@torch.no_grad()
def test_text_equals_open_clip_called_directly(open_clip_folder: Path, direct: torch.nn.Module) -> None:
    texts = ["a cat", "the sea at night"]
    found = torch.from_numpy(OpenClipText(str(open_clip_folder)).encode(texts))
    torch.testing.assert_close(found[:, 0], direct.encode_text(open_clip.SimpleTokenizer()(texts)))


def test_a_resnet_has_no_tokens(open_clip_resnet_folder: Path, photographs: np.ndarray) -> None:
    assert OpenClipVision(str(open_clip_resnet_folder)).encode(photographs).shape == (3, 1, 16)
    with pytest.raises(DataError, match="has no tokens"):
        OpenClipVision(str(open_clip_resnet_folder), output="tokens").encode(photographs)


def test_unknown_architectures_are_refused(open_clip_folder: Path, tmp_path: Path) -> None:
    file = str(open_clip_folder / "open_clip_model.safetensors")
    with pytest.raises(DataError, match="give `architecture`"):
        OpenClipVision(file).encode(np.zeros((1, 28, 28, 3), np.uint8))
    with pytest.raises(DataError, match="no architecture 'ViT-Z'"):
        OpenClipVision(file, architecture="ViT-Z").encode(np.zeros((1, 28, 28, 3), np.uint8))
    with pytest.raises(DataError, match="does not fit CLIP"):
        OpenClipVision(file, architecture="RN50").encode(np.zeros((1, 28, 28, 3), np.uint8))
