"""Images a second of the diffusion stage at true size with random weights, beside diffusers' own pipeline:

    PYTHONPATH=$PWD python benchmarks/diffusion_h100.py            # one GPU, under three minutes
    PYTHONPATH=$PWD python benchmarks/diffusion_h100.py --tiny     # the same at toy size on a CPU

Stable Diffusion 1.5's U-Net and VAE, 512 px, 50 DDIM steps of which strength 0.75 takes 37, guidance 7.5: from start
pictures and predicted text tokens to uint8 pictures. The pipeline is called as published code calls it: half
precision, eager, one picture at a time. Compilation is warmed up outside of the timing and reported by itself.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from braindec.contracts import StageContext
from braindec.stages.diffusion.families import StableDiffusion
from braindec.stages.diffusion.halves import FeatureReuse
from braindec.stages.latent_diffusion import LatentDiffusion
from braindec.types import Predictions, Reconstructions, Stimuli

SD15: dict[str, Any] = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
TINY: dict[str, Any] = {
    "sample_size": 8,
    "cross_attention_dim": 768,
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": 4,
    "norm_num_groups": 8,
}


class RandomStableDiffusion(StableDiffusion):
    """Stable Diffusion with a random U-Net; nothing of it is on disk but the VAE and the scheduler's settings."""

    settings = SD15

    def load_unet(self, path: Path) -> Any:
        from diffusers import UNet2DConditionModel

        self._empty = np.zeros((77, 768), np.float32)
        with torch.device(self.device):
            return UNet2DConditionModel(**self.settings)


def save_rest(folder: Path, tiny: bool) -> None:
    from diffusers import AutoencoderKL, DDIMScheduler

    widths = (8, 8) if tiny else (128, 256, 512, 512)
    AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        layers_per_block=1 if tiny else 2,
        latent_channels=4,
        norm_num_groups=4 if tiny else 32,
    ).save_pretrained(folder / "vae")
    betas = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    DDIMScheduler(**betas, clip_sample=False, steps_offset=1).save_pretrained(folder / "scheduler")


def material(n: int, side: int) -> tuple[Predictions, Reconstructions]:
    rng = np.random.default_rng(0)
    ids = [f"item{i}" for i in range(n)]
    table = pd.DataFrame({"item_id": ids, "subject": "s", "fold": "f", "stimulus_id": ids, "n_repetitions": 1})
    start = rng.integers(0, 256, (n, side // 8, side // 8, 3), dtype=np.uint8)
    return Predictions(table, {"text": rng.normal(size=(n, 77, 768)).astype(np.float32)}), Reconstructions(table, start)


def timed(work: Callable[[], Any]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def pipeline_rate(model: RandomStableDiffusion, n: int, steps: int) -> float:
    """Images a second of diffusers' pipeline, one at a time, on the same weights."""
    from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline

    pipeline = StableDiffusionImg2ImgPipeline(
        vae=model.vae.module,
        text_encoder=None,
        tokenizer=None,
        unet=model.halves.unet,
        scheduler=DDIMScheduler.from_config(model.scheduler_settings),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    tokens = torch.zeros(1, 77, 768, device=model.device, dtype=model.halves.unet.dtype)
    picture = torch.rand(1, 3, model.vae.image_size, model.vae.image_size, device=model.device).to(tokens.dtype)

    def one() -> None:
        pipeline(
            image=picture,
            prompt_embeds=tokens,
            negative_prompt_embeds=tokens,
            strength=0.75,
            num_inference_steps=steps,
            guidance_scale=7.5,
            output_type="np",
        )

    one()
    return n / timed(lambda: [one() for _ in range(n)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="toy size, for a CPU")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--compiled", action="store_true", help="compile at toy size too")
    parser.add_argument("--no-reuse", action="store_true", help="leave out feature reuse, whose halves compile anew")
    parser.add_argument("--out", type=Path, default=None, help="write the figures as JSON")
    given = parser.parse_args()
    logging.disable(logging.INFO)
    device = "cpu" if given.tiny else "cuda"
    if given.tiny:
        given.batch, given.images, given.steps = 2, 4, 4
        RandomStableDiffusion.settings = TINY
    with tempfile.TemporaryDirectory() as folder:
        save_rest(Path(folder), given.tiny)
        figures = measured(given, folder, device)
    if given.out is not None:
        given.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def measured(given: argparse.Namespace, folder: str, device: str) -> dict[str, Any]:
    """All figures, printed as they come."""
    dtype = "float32" if given.tiny else "bfloat16"
    context = StageContext({}, Stimuli(("t",)), {}, seed=0, device=device)
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    figures: dict[str, Any] = {"device": name, "batch": given.batch, "steps": given.steps}

    eager = RandomStableDiffusion(folder, dtype)
    figures["diffusers_one_at_a_time"] = pipeline_rate(eager.on(device), 2, given.steps)
    print(json.dumps(figures), flush=True)
    del eager

    model = RandomStableDiffusion(folder, dtype, compiled=given.compiled or not given.tiny)
    variants = {"ours": None} if given.no_reuse else {"ours": None, "ours_feature_reuse": FeatureReuse()}
    for name, reuse in variants.items():
        stage = LatentDiffusion(model, {"text": "text"}, given.steps, 0.75, 7.5, "ddim", reuse, batch_size=given.batch)
        few, many = material(given.batch, model_side(given.tiny)), material(given.images, model_side(given.tiny))
        figures[f"{name}_first_batch_s"] = timed(lambda: stage.run(*few, context))  # noqa: B023
        figures[name] = given.images / timed(lambda: stage.run(*many, context))  # noqa: B023
        figures[f"{name}_ratio"] = figures[name] / figures["diffusers_one_at_a_time"]
        print(json.dumps(figures), flush=True)
    return figures


def model_side(tiny: bool) -> int:
    return 16 if tiny else 512


if __name__ == "__main__":
    main()
