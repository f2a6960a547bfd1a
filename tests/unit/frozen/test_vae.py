from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file, save_file
from skimage.metrics import structural_similarity

from braindec.frozen.taesd import TinyDecoder, TinyEncoder
from braindec.frozen.vae import AutoencoderKL, TinyAutoencoder
from braindec.locations import configs_folder
from braindec.types import DataError, Stimuli


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import diffusers

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights") / "sd"
    stages = 4
    diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * stages,
        up_block_types=("UpDecoderBlock2D",) * stages,
        block_out_channels=(8,) * stages,
        norm_num_groups=4,
        scaling_factor=0.13025,
    ).save_pretrained(folder / "vae")
    return folder


@torch.no_grad()
def test_latents_and_pictures_equal_diffusers(folder: Path, photographs: np.ndarray) -> None:
    import diffusers
    from diffusers.image_processor import VaeImageProcessor

    direct = diffusers.AutoencoderKL.from_pretrained(folder / "vae").eval()
    pictures = np.stack([np.asarray(Image.fromarray(p).resize((32, 32))) for p in photographs])
    pixels = VaeImageProcessor().preprocess([Image.fromarray(p) for p in pictures])
    expected = direct.encode(pixels).latent_dist.mode() * 0.13025

    network = AutoencoderKL(str(folder), image_size=32)
    latents = network.encode(pictures)
    assert latents.shape == (3, 4, 16)
    torch.testing.assert_close(torch.from_numpy(latents), expected.flatten(2), atol=1e-5, rtol=1e-4)

    decoded = direct.decode(expected / 0.13025).sample
    published = VaeImageProcessor().postprocess(decoded, output_type="np")
    assert np.abs(network.decode(latents) / 255 - published).max() <= 0.51 / 255 + 1e-4


def test_a_compiled_network_sees_whole_batches_only(folder: Path, photographs: np.ndarray, monkeypatch) -> None:
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **options: None)
    plain, compiled = (AutoencoderKL(str(folder), batch_size=2, image_size=32, compiled=own) for own in (False, True))
    latents = plain.encode(photographs)
    sizes = []
    for half in ("encoder", "decoder"):
        compiled.module.get_submodule(half).register_forward_pre_hook(
            lambda module, inputs: sizes.append(len(inputs[0]))
        )
    np.testing.assert_allclose(compiled.encode(photographs), latents, atol=1e-5)
    pictures = compiled.decode(latents).astype(int)
    assert np.abs(pictures - plain.decode(latents)).max() <= 1
    assert sizes == [2, 2, 2, 2]


def test_old_attention_names_are_understood(folder: Path, tmp_path: Path, photographs: np.ndarray) -> None:
    state = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    renamed = {}
    for key, value in state.items():
        for new, name in old.items():
            key = key.replace(f".{new}.", f".{name}.")
        renamed[key] = value
    assert set(renamed) != set(state)
    (tmp_path / "config.json").write_text((folder / "vae" / "config.json").read_text())
    save_file(renamed, tmp_path / "diffusion_pytorch_model.safetensors")
    expected = AutoencoderKL(str(folder), image_size=32).encode(photographs)
    np.testing.assert_array_equal(AutoencoderKL(str(tmp_path), image_size=32).encode(photographs), expected)


def test_other_folders_and_shapes_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"config\.json, found none"):
        AutoencoderKL(str(tmp_path)).encode(np.zeros((1, 8, 8, 3), np.uint8))
    (tmp_path / "config.json").write_text('{"_class_name": "VQModel"}')
    with pytest.raises(DataError, match="found a VQModel"):
        AutoencoderKL(str(tmp_path)).encode(np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(DataError, match="multiple of 8"):
        AutoencoderKL(str(folder), image_size=30)
    with pytest.raises(DataError, match="side \\* side"):
        AutoencoderKL(str(folder)).decode(np.zeros((1, 4, 15), np.float32))


@pytest.mark.parametrize("pooled", [False, True])
def test_a_tiny_autoencoder_is_built_as_its_checkpoint_is_shaped(
    tmp_path: Path, pooled: bool, photographs: np.ndarray
) -> None:
    encoder, decoder = TinyEncoder(6, pooled), TinyDecoder(6, pooled)
    torch.save(encoder.state_dict(), tmp_path / "small_encoder.pth")
    torch.save(decoder.state_dict(), tmp_path / "small_decoder.pth")
    network = TinyAutoencoder(str(tmp_path), image_size=32)
    latents = network.encode(photographs)
    assert latents.shape == (3, 6, 16)
    assert network.decode(latents).shape == (3, 32, 32, 3)
    assert network.report_ is not None
    assert network.report_.matched == len(encoder.state_dict()) + len(decoder.state_dict())


@pytest.mark.parametrize("kind", ["faces", "houses"])
def test_taef2_rebuilds_real_photographs(real_data: Callable[[str], Path], kind: str) -> None:
    config = OmegaConf.load(configs_folder() / "target" / "taef2.yaml")
    config.network.weights = str(real_data("taef2"))
    target = instantiate(config)
    shown = sorted(real_data(f"muse_n170/stimuli/{kind}").glob("*.jpg"))[:4]
    pictures = np.stack([np.asarray(Image.open(file).convert("RGB").resize((128, 128))) for file in shown])
    latents = target.embed(Stimuli(tuple(file.stem for file in shown), images=pictures))
    assert latents.shape == (4, 32, 256)
    rebuilt = target.decode(latents)
    error = (rebuilt.astype(float) - pictures) ** 2
    # Measured over 8 of each: faces 34.7 dB and 0.975, houses 31.1 dB and 0.955 on average.
    assert (10 * np.log10(255**2 / error.mean(axis=(1, 2, 3))) > 29).all()
    similarity = [structural_similarity(a, b, channel_axis=2) for a, b in zip(rebuilt, pictures, strict=True)]
    assert min(similarity) > 0.92
