"""Our very deep VAE beside OpenAI's own code, with the same random weights at the ImageNet-64 configuration.

The reference (github.com/openai/vdvae) is not part of this project: name a checkout in ``BRAINDEC_VDVAE_REFERENCE``.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from braindec.frozen.vdvae import dmol
from braindec.frozen.vdvae.config import IMAGENET64
from braindec.frozen.vdvae.model import VDVAE, preprocessing_of
from braindec.frozen.vdvae.network import VDVAENetwork
from braindec.frozen.vdvae.noise import image_seeds, latent_noise, pixel_noise

TOLERANCE = 1e-4
N = 2


@pytest.fixture(scope="module")
def reference() -> Iterator[ModuleType]:
    folder = os.environ.get("BRAINDEC_VDVAE_REFERENCE")
    if not folder or not (Path(folder) / "vae.py").exists():
        pytest.skip("BRAINDEC_VDVAE_REFERENCE does not name a checkout of github.com/openai/vdvae")
    sys.path.insert(0, folder)
    yield importlib.import_module("vae")
    sys.path.remove(folder)


@pytest.fixture(scope="module")
def networks(reference: ModuleType) -> tuple[torch.nn.Module, VDVAENetwork]:
    hyperparameters = SimpleNamespace(
        image_size=64,
        image_channels=3,
        enc_blocks=IMAGENET64.encoder_blocks,
        dec_blocks=IMAGENET64.decoder_blocks,
        zdim=16,
        width=512,
        custom_width_str="",
        bottleneck_multiple=0.25,
        no_bias_above=64,
        num_mixtures=10,
        dataset="imagenet64",
    )
    theirs = reference.VAE(hyperparameters).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in theirs.named_parameters():
        if name.endswith("prior.c4.weight") or "bias" in name:
            # Zero at the start of training: without values these paths would not be compared.
            parameter.normal_(std=0.02, generator=generator)
    ours = VDVAENetwork(IMAGENET64).eval().requires_grad_(False)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (N, 8, 8, 3))
    return np.kron(coarse, np.ones((1, 8, 8, 1))).astype(np.uint8)


def reference_inputs(images: np.ndarray) -> torch.Tensor:
    return (torch.tensor(images).float() + -115.92961967) * (1.0 / 69.37404)


def test_posterior_latents_of_all_layers(
    reference: ModuleType,
    networks: tuple[torch.nn.Module, VDVAENetwork],
    images: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    theirs, ours = networks
    noise = latent_noise(IMAGENET64, image_seeds(images, 0), range(75), "cpu")
    queue = iter(noise)
    monkeypatch.setattr(reference, "draw_gaussian_diag_samples", lambda mean, log_sd: mean + log_sd.exp() * next(queue))
    inputs = reference_inputs(images)
    published = theirs.decoder(theirs.encoder(inputs), get_latents=True)
    stats = published[1]
    parameters = theirs.decoder.out_net(published[0])
    found = ours.posterior_latents(preprocessing_of(IMAGENET64)(images), noise)
    worst = max(float((a - b["z"]).abs().max()) for a, b in zip(found, stats, strict=True))
    assert worst < TOLERANCE

    top = np.hstack([stats[layer]["z"].numpy().reshape(N, -1) for layer in range(31)])
    latents = VDVAE("in memory").adopt(ours).latents(images)
    assert latents.shape == top.shape == (N, 91168)
    np.testing.assert_allclose(latents, top, atol=TOLERANCE)

    target = torch.tensor(images).float() / 127.5 - 1
    our_parameters, rates = ours(preprocessing_of(IMAGENET64)(images), noise)
    their_rates = [b["kl"].sum(dim=(1, 2, 3)) for b in stats]
    relative = max(float(((a - b) / b).abs().max()) for a, b in zip(rates, their_rates, strict=True))
    assert relative < TOLERANCE
    torch.testing.assert_close(our_parameters.permute(0, 2, 3, 1), parameters, atol=TOLERANCE, rtol=0)
    ours_nll = dmol.negative_log_likelihood(our_parameters, target.permute(0, 3, 1, 2))
    torch.testing.assert_close(
        ours_nll, theirs.decoder.out_net.nll(published[0], target), atol=TOLERANCE, rtol=TOLERANCE
    )
    print(f"latents {worst:.2e}, rates (relative) {relative:.2e}")


def test_decoded_images(
    reference: ModuleType,
    networks: tuple[torch.nn.Module, VDVAENetwork],
    images: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    theirs, ours = networks
    model = VDVAE("in memory").adopt(ours)
    latents = model.latents(images)
    seeds = [11, 12]
    noise = latent_noise(IMAGENET64, seeds, range(31, 75), "cpu")
    queue = iter(noise[31:])
    monkeypatch.setattr(reference, "draw_gaussian_diag_samples", lambda mean, log_sd: mean + log_sd.exp() * next(queue))
    sizes = np.cumsum((0, *IMAGENET64.latent_sizes()[:31]))
    resolutions = [spec.resolution for spec in IMAGENET64.decoder_specs()[:31]]
    given = [
        torch.tensor(latents[:, a:b].reshape(N, 16, side, side)) for a, b, side in zip(sizes, sizes[1:], resolutions)
    ]
    stream = theirs.decoder.forward_manual_latents(N, given, t=None)
    theirs_parameters = theirs.decoder.out_net(stream)
    ours_parameters = ours.generate(given, noise)
    worst = float((ours_parameters.permute(0, 2, 3, 1) - theirs_parameters).abs().max())
    assert worst < TOLERANCE

    uniform = pixel_noise(IMAGENET64, seeds, "cpu")
    draws = iter([uniform.component.permute(0, 2, 3, 1), uniform.pixel.permute(0, 2, 3, 1)])

    def replayed(tensor: torch.Tensor, low: float, high: float) -> torch.Tensor:
        return tensor.copy_(next(draws) * (high - low) + low)

    monkeypatch.setattr(torch.Tensor, "uniform_", replayed)
    published = theirs.decoder.out_net.sample(stream)
    decoded = model.decode(latents, seeds=seeds)
    off = np.abs(decoded.astype(int) - published.astype(int))
    # A value on the edge of a grey level may fall on either side of it.
    assert off.max() <= 1
    assert (off > 0).mean() < 1e-3
    print(f"mixture parameters {worst:.2e}, grey levels that differ by one {(off > 0).mean():.1e}")
