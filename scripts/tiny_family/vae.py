"""tiny_vae: an AutoencoderKL of diffusers' format, 64 px to 4 x 16 x 16."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from braindec.frozen.vae import AutoencoderKL

from .clip import pixels_of
from .loop import Recipe, batches, fit, parameters_of, save_half
from .plan import FOLDERS, SIZE, Run
from .scenes import held_out, load_scenes
from .sheets import psnr, write_sheet


def build() -> Any:
    """A diffusers `AutoencoderKL` with random weights."""
    from diffusers import AutoencoderKL as Network

    return Network(
        block_out_channels=(32, 64, 80),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=16,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        sample_size=SIZE,
    )


def train(run: Run) -> dict[str, Any]:
    """Train, set the scaling factor, save, and measure what was saved."""
    torch.manual_seed(run.seed + 1)
    begin = run.start_from("vae")
    model = build()
    if begin is not None:
        model = type(model).from_pretrained(begin)
    model.to(run.device)
    size = run.batch_of(128)

    scenes = load_scenes(run, fields=("images",))

    def step() -> dict[str, Tensor]:
        pixels = pixels_of(scenes.images[scenes.draw(size)])
        posterior = model.encode(pixels).latent_dist
        latent = posterior.mean + posterior.std * torch.randn_like(posterior.mean)
        decoded = model.decode(latent).sample.float()
        squares = functional.mse_loss(decoded, pixels)
        edges = sum((decoded.diff(dim=axis) - pixels.diff(dim=axis)).abs().mean() for axis in (2, 3))
        mean, log_variance = posterior.mean.float(), posterior.logvar.float()
        rate = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
        loss = (decoded - pixels).abs().mean() + 10 * squares + 0.5 * edges + 1e-5 * rate
        return {"loss": loss, "mse": squares, "rate": rate}

    summary = fit("vae", run, model, step, Recipe(rate=1.5e-3, weight_decay=0.0, adam_betas=(0.9, 0.99)))
    with torch.inference_mode():
        some = scenes.images[: 2000 if run.device != "cpu" else 64]
        parts = [model.encode(pixels_of(some[part])).latent_dist.mode() for part in batches(len(some), 250)]
    model.register_to_config(scaling_factor=round(float(1 / torch.cat(parts).std()), 5))
    folder = run.networks / FOLDERS["vae"]
    save_half(model, folder)
    return {**summary, "parameters": parameters_of([model]), **measure(run)}


def measure(run: Run, n: int = 500) -> dict[str, float]:
    """PSNR of held-out scenes."""
    truth = held_out(run.judged_on(n)).images
    vae = AutoencoderKL(str(run.networks / FOLDERS["vae"]), device=run.device, image_size=SIZE, batch_size=100)
    latents = vae.encode(truth)
    found = vae.decode(latents)
    write_sheet(run.work / "sheets" / "vae.png", {"truth": truth, "decoded": found})
    return {"psnr_db": psnr(found, truth), "latent_sd": float(latents.std())}
