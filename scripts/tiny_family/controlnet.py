"""The depth ControlNet of tiny_diffusion, in diffusers' format."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from braindec.frozen.dpt import DptDepth
from braindec.frozen.dual_diffusion import DualDiffusion

from .diffusion import (
    encode_scenes,
    frozen_copy,
    held_out_conditions,
    judge_pictures,
    link_networks,
    tables,
)
from .loop import Recipe, fit, parameters_of, save_half
from .plan import FOLDERS, Run
from .scenes import wait_for
from .sheets import grey, write_sheet


def train(run: Run) -> dict[str, Any]:
    """Train on the finished U-Net, save, and measure what was saved."""
    from diffusers import ControlNetModel, UNet2DConditionModel

    torch.manual_seed(run.seed + 7)
    for name in ("clip", "vae"):
        if run.base is None or (run.work / f"{name}.planned").exists():
            wait_for(run.done(name), run.work / f"{name}.failed")
    encoded = encode_scenes(run, limit=60_000)
    if run.base is None or (run.work / "diffusion.planned").exists():
        wait_for(run.done("diffusion"), run.work / "diffusion.failed")
    link_networks(run)
    own = run.networks / FOLDERS["diffusion"]
    if not (own / "unet").exists():
        shutil.copytree(run.folder("diffusion"), own, dirs_exist_ok=True)
    unet: Any = frozen_copy(UNet2DConditionModel.from_pretrained(own / "unet"), run.device)
    begin = run.start_from("diffusion")
    control = ControlNetModel.from_unet(unet, conditioning_channels=1, conditioning_embedding_out_channels=(16, 32, 64))
    if begin is not None and (begin / "controlnet").is_dir():
        control = ControlNetModel.from_pretrained(begin / "controlnet")
    control.to(run.device).requires_grad_(True)
    size = run.batch_of(256)
    signal, spread = tables(run.device)

    def step() -> dict[str, Tensor]:
        rows = torch.randint(len(encoded.latents), (size,), device=run.device)
        latents = encoded.latents[rows].float()
        times = torch.randint(1000, (size,), device=run.device)
        context = encoded.contexts(rows)
        # Depth must count on its own too: half of the items see neither text nor image.
        context[: size // 2] = 0
        a, b = signal[times][:, None, None, None], spread[times][:, None, None, None]
        noise = torch.randn_like(latents)
        noisy = a * latents + b * noise
        depth = encoded.scenes.depth[rows].float().unsqueeze(1)
        down, middle = control(noisy, times, context, controlnet_cond=depth, return_dict=False)
        found = unet(
            noisy, times, context, down_block_additional_residuals=down, mid_block_additional_residual=middle
        ).sample.float()
        return {"loss": functional.mse_loss(found, a * noise - b * latents)}

    summary = fit("controlnet", run, control, step, Recipe(rate=1e-3, warmup=100, average=0.995))
    save_half(control, run.networks / FOLDERS["controlnet"] / "controlnet")
    return {**summary, "parameters": parameters_of([control]), **measure(run)}


def measure(run: Run) -> dict[str, float]:
    """How well the depth of pictures drawn with depth (and text, or nothing else) follows the depth asked for."""
    n = run.judged_on(100)
    truth = held_out_conditions(run, n)
    diffusion = DualDiffusion(str(run.networks / FOLDERS["diffusion"]), device=run.device, batch_size=100)
    dpt = DptDepth(str(run.folder("depth")), device=run.device)
    text = {"text": truth.conditions["text"]}
    seeds = list(range(n))
    found = {
        "text": diffusion.generate(text, seeds),
        "text_depth": diffusion.generate(text, seeds, depth=truth.depth),
        "depth": diffusion.generate({}, seeds, depth=truth.depth),
    }
    write_sheet(
        run.work / "sheets" / "controlnet.png",
        {"truth": truth.images, "depth asked": grey(truth.depth), **found},
    )
    figures = judge_pictures(run, "text_depth", found["text_depth"], truth)
    for name, images in found.items():
        seen = dpt.depth(dpt.encode(images))
        r = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(seen, truth.depth, strict=True)]
        figures[f"{name}_depth_correlation"] = float(np.nanmean(r))
    return figures
