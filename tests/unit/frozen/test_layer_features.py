from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from braindec.frozen.layers import LayerFeatures, blocks_of, n_prefix_tokens, pool
from braindec.types import DataError


@pytest.fixture(scope="module")
def timm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import timm

    folder = tmp_path_factory.mktemp("weights") / "timm"
    folder.mkdir()
    arguments = {"img_size": 32, "embed_dim": 24, "depth": 4, "num_heads": 3, "patch_size": 16}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, **arguments)
    published = {
        "input_size": [3, 32, 32],
        "crop_pct": 0.8,
        "interpolation": "bicubic",
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    }
    settings = {"architecture": "vit_tiny_patch16_224", "num_classes": 0, "model_args": arguments}
    (folder / "config.json").write_text(json.dumps({**settings, "pretrained_cfg": published}))
    save_file(model.state_dict(), folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def dino_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    folder = tmp_path_factory.mktemp("weights") / "dino"
    sizes = {"hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 4, "image_size": 28, "patch_size": 14}
    Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**sizes)).save_pretrained(folder)
    return folder


@torch.no_grad()
def test_timm_layer_equals_its_own_intermediates(timm_folder: Path, photographs: np.ndarray) -> None:
    import timm
    import timm.data
    from PIL import Image

    network = LayerFeatures(str(timm_folder), "timm", depth=0.5, pooling="tokens")
    assert network.preprocessing()["layer"] == "blocks.1"
    found = torch.from_numpy(network.encode(photographs))
    inputs = network.preprocessing_(photographs)
    block = network.module.get_intermediate_layers(inputs, n=[1], return_prefix_tokens=True)[0]
    torch.testing.assert_close(found, torch.cat([block[1], block[0]], dim=1))
    assert found.shape == (3, 5, 24)

    config = {
        **timm.data.resolve_data_config(
            {}, pretrained_cfg=json.loads((timm_folder / "config.json").read_text())["pretrained_cfg"]
        )
    }
    transform = timm.data.create_transform(**config)
    published = torch.stack([transform(Image.fromarray(p)) for p in photographs])
    assert ((inputs - published) * 0.5).abs().max() <= 1.01 / 255


@torch.no_grad()
def test_transformers_layer_equals_its_hidden_states(dino_folder: Path, photographs: np.ndarray) -> None:
    network = LayerFeatures(str(dino_folder), "transformers", depth=0.75, pooling="cls")
    found = torch.from_numpy(network.encode(photographs))
    states = network.module(network.preprocessing_(photographs), output_hidden_states=True)
    torch.testing.assert_close(found, states.hidden_states[3][:, :1])
    assert n_prefix_tokens(network.module) == 5
    means = LayerFeatures(str(dino_folder), "transformers", depth=0.75, pooling="mean").encode(photographs)
    torch.testing.assert_close(torch.from_numpy(means[:, 0]), states.hidden_states[3][:, 5:].mean(dim=1))
    final = LayerFeatures(str(dino_folder), "transformers", layer="layernorm", pooling="tokens").encode(photographs)
    torch.testing.assert_close(torch.from_numpy(final), states.last_hidden_state)


@torch.no_grad()
def test_open_clip_layers_equal_a_run_by_hand(
    open_clip_folder: Path, open_clip_resnet_folder: Path, clip_folder: Path, photographs: np.ndarray
) -> None:
    network = LayerFeatures(str(open_clip_folder), "open_clip", depth=0.25, pooling="tokens")
    found = torch.from_numpy(network.encode(photographs))
    inputs = network.preprocessing_(photographs)
    expected = network.module.forward_intermediates(inputs, indices=[0], output_fmt="NLC", output_extra_tokens=True)
    patches, prefix = expected["image_intermediates"][0], expected["image_intermediates_prefix"][0]
    torch.testing.assert_close(found, torch.cat([prefix, patches], dim=1))

    resnet = LayerFeatures(str(open_clip_resnet_folder), "open_clip", depth=0.5, pooling="mean")
    visual = resnet.preprocessing()["layer"]
    assert visual == "layer2.0"
    inputs = resnet.preprocessing_(photographs)
    by_hand = resnet.module.layer2(resnet.module.layer1(resnet.module.stem(inputs)))
    torch.testing.assert_close(torch.from_numpy(resnet.encode(photographs))[:, 0], by_hand.mean(dim=(2, 3)))
    with pytest.raises(DataError, match="no class token"):
        LayerFeatures(str(open_clip_resnet_folder), "open_clip", depth=1.0, pooling="cls").encode(photographs)
    assert LayerFeatures(str(clip_folder), "transformers", depth=1.0).encode(photographs).shape == (3, 1, 32)


@torch.no_grad()
def test_siglip_has_layers_but_no_class_token(tmp_path: Path, photographs: np.ndarray) -> None:
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    sizes = {"hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 48}
    vision, text = {**sizes, "image_size": 32, "patch_size": 16}, {**sizes, "vocab_size": 64}
    SiglipModel(SiglipConfig(vision_config=vision, text_config=text)).save_pretrained(tmp_path)
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    network = LayerFeatures(str(tmp_path), "transformers", depth=0.75, pooling="mean")
    found = torch.from_numpy(network.encode(photographs))
    assert network.preprocessing_.resize == (32, 32)
    states = network.module(network.preprocessing_(photographs), output_hidden_states=True).hidden_states
    torch.testing.assert_close(found[:, 0], states[3].mean(dim=1))
    with pytest.raises(DataError, match="no class token"):
        LayerFeatures(str(tmp_path), "transformers", depth=0.75).encode(photographs)


@torch.no_grad()
def test_internvit_layer_equals_its_own_intermediates(tmp_path: Path, photographs: np.ndarray) -> None:
    import timm

    arguments = {"img_size": 28, "embed_dim": 24, "depth": 6, "num_heads": 3}
    model = timm.create_model("vit_intern300m_patch14_448", num_classes=0, **arguments)
    settings = {"architecture": "vit_intern300m_patch14_448", "num_classes": 0, "model_args": arguments}
    (tmp_path / "config.json").write_text(json.dumps({**settings, "pretrained_cfg": {"input_size": [3, 28, 28]}}))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    network = LayerFeatures(str(tmp_path), "timm", depth=0.67)
    found = torch.from_numpy(network.encode(photographs))
    assert network.preprocessing()["layer"] == "blocks.3"
    inputs = network.preprocessing_(photographs)
    _, prefix = network.module.get_intermediate_layers(inputs, n=[3], return_prefix_tokens=True)[0]
    torch.testing.assert_close(found, prefix)


@torch.no_grad()
def test_torchvision_layer_equals_a_run_by_hand(tmp_path: Path, photographs: np.ndarray) -> None:
    from PIL import Image
    from torchvision import models

    torch.manual_seed(0)
    model = models.resnet18(weights=None).eval()
    torch.save(model.state_dict(), tmp_path / "resnet18.pth")
    network = LayerFeatures(str(tmp_path), "torchvision", depth=0.5, pooling="mean", architecture="resnet18")
    found = torch.from_numpy(network.encode(photographs))
    assert network.preprocessing()["layer"] == "layer2.1"
    transform = models.ResNet18_Weights.DEFAULT.transforms()
    published = torch.stack([transform(Image.fromarray(p)) for p in photographs])
    inputs = network.preprocessing_(photographs)
    assert ((inputs - published) * 0.225).abs().max() <= 1.01 / 255
    stem = model.maxpool(model.relu(model.bn1(model.conv1(inputs))))
    expected = model.layer2(model.layer1(stem)).mean(dim=(2, 3))
    torch.testing.assert_close(found[:, 0], expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(DataError, match="torchvision's name"):
        LayerFeatures(str(tmp_path), "torchvision", depth=0.5).encode(photographs)


def test_a_named_layer_of_a_convolutional_network() -> None:
    import timm

    for name, n_blocks in (("resnet18", 8), ("convnext_atto", 12)):
        assert len(blocks_of(timm.create_model(name, pretrained=False))) == n_blocks
    with pytest.raises(DataError, match="no known place"):
        blocks_of(torch.nn.Linear(2, 2))


def test_maps_become_rows_of_places() -> None:
    values = torch.arange(2 * 3 * 2 * 2).reshape(2, 3, 2, 2).float()
    tokens = pool(values, "tokens", 1, "x")
    assert tokens.shape == (2, 4, 3)
    torch.testing.assert_close(tokens[1, 3], values[1, :, 1, 1])
    torch.testing.assert_close(pool(values, "mean", 1, "x")[:, 0], values.mean(dim=(2, 3)))


@pytest.mark.parametrize("arguments", [{}, {"depth": 0.5, "layer": "blocks.0"}, {"depth": 0.0}, {"depth": 1.5}])
def test_impossible_choices_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(DataError, match="depth"):
        LayerFeatures("x", "timm", **arguments)


def test_unknown_layers_and_architectures_are_refused(timm_folder: Path) -> None:
    pictures = np.zeros((1, 32, 32, 3), np.uint8)
    with pytest.raises(DataError, match="no layer 'blocks.9'"):
        LayerFeatures(str(timm_folder), "timm", layer="blocks.9").encode(pictures)
    file = str(timm_folder / "model.safetensors")
    with pytest.raises(DataError, match="give `architecture`"):
        LayerFeatures(file, "timm", depth=1.0).encode(pictures)
    with pytest.raises(DataError, match="no architecture 'vit_x'"):
        LayerFeatures(file, "timm", depth=1.0, architecture="vit_x").encode(pictures)
    with pytest.raises(DataError, match="does not fit ResNet"):
        LayerFeatures(file, "timm", depth=1.0, architecture="resnet18").encode(pictures)


def test_code_beside_the_weights_is_never_run(dino_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "custom"
    shutil.copytree(dino_folder, folder)
    settings = json.loads((folder / "config.json").read_text())
    settings |= {"model_type": "custom", "auto_map": {"AutoConfig": "trap.Config", "AutoModel": "trap.Model"}}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "trap.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\n")
    with pytest.raises(DataError, match="cannot be loaded as AutoModel"):
        LayerFeatures(str(folder), "transformers", depth=1.0).encode(np.zeros((1, 28, 28, 3), np.uint8))
    assert not (tmp_path / "sprung").exists()
