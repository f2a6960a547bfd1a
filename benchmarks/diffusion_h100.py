"""Pictures a second of the diffusion stages at true sizes with random weights, beside diffusers' own pipeline:

    PYTHONPATH=$PWD python benchmarks/diffusion_h100.py --out diffusion.json    # one H100, about 150 s
    PYTHONPATH=$PWD python benchmarks/diffusion_h100.py --tiny                  # the same at toy size on a CPU

Every rate is end to end, from predicted embeddings in host memory to PNG files on disk, through
`braindec.stages.chain.reconstruct_fold`:

- ``sd15``: Stable Diffusion 1.5 at 512 px, 50 DDIM steps of which strength 0.75 takes 37, guidance 7.5;
- ``sd15_reuse``: the same with features reused between steps;
- ``brain_diffuser``: VDVAE, then Versatile Diffusion, dual-guided, as above, and with features reused; seconds of 982
  pictures, measured with ``--whole``, else extrapolated from three batches; with the training latents' statistics,
  which are computed once;
- ``sdxl_turbo``: SDXL-Turbo with IP-Adapter, 4 steps at 512 px, no guidance;
- ``plain``: diffusers' pipelines as published code calls them: half precision, eager, one picture at a time.

Compilation is warmed up with few steps outside of the timing and reported by itself. A part that fails is reported
and does not stop the others.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import random_diffusion
import torch

from braindec.contracts import Stage, StageContext
from braindec.frozen.vdvae.model import VDVAE
from braindec.frozen.vdvae.network import VDVAENetwork
from braindec.stages.chain import reconstruct_fold
from braindec.stages.diffusion.halves import FeatureReuse
from braindec.stages.diffusion.model import DiffusionModel
from braindec.stages.diffusion.regions import many_shapes
from braindec.stages.latent_diffusion import LatentDiffusion
from braindec.stages.rescaling import mean_and_sd
from braindec.stages.vdvae import VdvaeStage
from braindec.types import Predictions, Reconstructions, Stimuli, TargetEmbeddings

BARS = {
    "sd15": 5.5,
    "sd15_reuse_gain": 1.3,
    "brain_diffuser_982_s": 240.0,
    "brain_diffuser_reuse_982_s": 240.0,
    "sdxl_turbo": 35.0,
}
N_TEST = 982
N_TRAINING = 8859


class Starts:
    """The stage that is said to have come before: small random pictures."""

    def run(self, predictions: Predictions, previous: Any, context: StageContext) -> Reconstructions:
        rng = np.random.default_rng(len(predictions))
        return Reconstructions(
            predictions.table, rng.integers(0, 256, (len(predictions), 64, 64, 3), dtype=np.uint8), chain=("starts",)
        )


def predictions_of(n: int, shapes: Mapping[str, tuple[int, int]]) -> Predictions:
    rng = np.random.default_rng(0)
    ids = [f"item{i}" for i in range(n)]
    table = pd.DataFrame({"item_id": ids, "subject": "s", "fold": "f", "stimulus_id": ids, "n_repetitions": 1})
    return Predictions(table, {name: rng.normal(size=(n, *shape)).astype(np.float32) for name, shape in shapes.items()})


def context_on(device: str, training: Mapping[str, TargetEmbeddings] | None = None) -> StageContext:
    return StageContext({}, Stimuli(("t",)), training or {}, seed=0, device=device)


def seconds(work: Callable[[], Any]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def chain_seconds(stages: dict[str, Stage], predictions: Predictions, context: StageContext, chunk: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        return seconds(lambda: reconstruct_fold(Path(folder), "key", stages, predictions, context, chunk))


class Benchmark:
    """The parts in order, their figures, and what went wrong."""

    def __init__(self, given: argparse.Namespace, folders: Mapping[str, Path]) -> None:
        self.given = given
        self.folders = folders
        self.device = "cpu" if given.tiny else "cuda"
        self.dtype: Any = "float32" if given.tiny else "bfloat16"
        self.compiled = given.compiled or not given.tiny
        self.batch = 2 if given.tiny else given.batch
        self.n = 4 if given.tiny else given.images
        self.steps = 8 if given.tiny else 50
        self.began = time.perf_counter()
        name = torch.cuda.get_device_name() if self.device == "cuda" else "cpu"
        self.figures: dict[str, Any] = {
            "device": name,
            "torch": torch.__version__,
            "batch": self.batch,
            "images": self.n,
            "errors": {},
            "elapsed_s": {},
        }

    def attempt(self, name: str, part: Callable[[], None], expected_s: float) -> None:
        """Run a part unless it would outrun the time; keep its error; write what there is."""
        begun = time.perf_counter() - self.began
        if name not in self.given.parts:
            return
        if begun + expected_s > self.given.budget_s:
            self.figures["errors"][name] = f"not begun: {begun:.0f} s of {self.given.budget_s:.0f} s were spent"
        else:
            try:
                part()
            except Exception as error:  # whatever it is, the other parts must still be measured
                traceback.print_exc()
                self.figures["errors"][name] = f"{type(error).__name__}: {str(error)[:500]}"
        gc.collect()
        if self.device == "cuda":
            self.figures[f"{name}_peak_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 1)
            torch.cuda.reset_peak_memory_stats()
            torch.cuda.empty_cache()
        self.figures["elapsed_s"][name] = round(time.perf_counter() - self.began - begun, 1)
        self.report()

    def report(self) -> None:
        """Print one line of JSON, and write it."""
        self.figures["total_s"] = round(time.perf_counter() - self.began, 1)
        self.figures["met"] = {
            name: bool(self.figures[name] <= bar if name.endswith("_s") else self.figures[name] >= bar)
            for name, bar in BARS.items()
            if name in self.figures
        }
        print(json.dumps(self.figures), flush=True)
        if self.given.out is not None:
            self.given.out.write_text(json.dumps(self.figures, indent=2) + "\n", encoding="utf-8")

    def stage(self, model: DiffusionModel, conditions: Mapping[str, str], **options: Any) -> LatentDiffusion:
        settings = {"steps": self.steps, "strength": 0.75, "guidance": 7.5, "scheduler": "ddim", **options}
        return LatentDiffusion(model, conditions, batch_size=self.batch, **settings)

    def warmed(self, name: str, stages: dict[str, Stage], shapes: Mapping[str, tuple[int, int]], context: Any) -> None:
        """Compile and allocate, with the stages that are given (of few steps)."""
        few = predictions_of(self.batch, shapes)
        self.figures[f"{name}_first_batch_s"] = round(chain_seconds(stages, few, context, self.batch), 1)

    def rate(self, stages: dict[str, Stage], shapes: Mapping[str, tuple[int, int]], context: Any, n: int) -> float:
        return n / chain_seconds(stages, predictions_of(n, shapes), context, self.batch)

    def network_rate(self, model: DiffusionModel, conditions: Mapping[str, tuple[int, int]], n: int) -> float:
        """Evaluations a second of the U-Net alone, ``n`` rows at a time."""
        rng = np.random.default_rng(0)
        with torch.inference_mode(), many_shapes():
            values = {name: rng.normal(size=(n, *shape)).astype(np.float32) for name, shape in conditions.items()}
            given = model.conditioning(values, range(n))
            latents = torch.randn(n, *model.latent_shape(), device=self.device, dtype=model.unet_dtype)
            times = torch.full((n,), 500, device=self.device)
            model.halves.whole(latents, times, given)
            repeats = 1 if self.given.tiny else 4
            spent = seconds(lambda: [model.halves.whole(latents, times, given) for _ in range(repeats)])
        return n * repeats / spent

    def sd15(self) -> None:
        """Stable Diffusion, then the same network with features reused."""
        model = random_diffusion.RandomStableDiffusion(str(self.folders["sd"]), self.dtype, compiled=self.compiled)
        shapes, context = {"text": (77, 768)}, context_on(self.device)
        conditions = {"text": "text"}
        few = self.stage(model, conditions, steps=3)
        self.warmed("sd15", {"starts": Starts(), "diffusion": few}, shapes, context)
        self.figures["sd15_unet_evaluations_per_s"] = self.network_rate(model, shapes, 2 * self.batch)
        stage = self.stage(model, conditions)
        self.figures["sd15"] = self.rate({"starts": Starts(), "diffusion": stage}, shapes, context, self.n)
        self.report()
        reuse = FeatureReuse()
        few = self.stage(model, conditions, steps=10, reuse=reuse)
        self.warmed("sd15_reuse", {"starts": Starts(), "diffusion": few}, shapes, context)
        stage = self.stage(model, conditions, reuse=reuse)
        self.figures["sd15_reuse"] = self.rate({"starts": Starts(), "diffusion": stage}, shapes, context, self.n)
        self.figures["sd15_reuse_gain"] = self.figures["sd15_reuse"] / self.figures["sd15"]

    def brain_diffuser(self) -> None:
        """VDVAE pictures start Versatile Diffusion."""
        with torch.device(self.device):
            network = VDVAENetwork(random_diffusion.SIZE.vdvae)
        vdvae = VDVAE("in memory", self.device, self.dtype, 64).adopt(network)
        width = random_diffusion.SIZE.vdvae.top_size
        few_rows = 8 if self.given.tiny else 256
        rng = np.random.default_rng(0)
        latents = rng.standard_normal((few_rows, 1, width), dtype=np.float32)
        training = {"vdvae": TargetEmbeddings("vdvae", tuple(f"t{i}" for i in range(few_rows)), latents)}
        context = context_on(self.device, training)
        first = VdvaeStage(vdvae)
        statistics_s = seconds(lambda: mean_and_sd(latents)) * N_TRAINING / few_rows
        self.figures["brain_diffuser_statistics_s"] = statistics_s
        model = random_diffusion.RandomVersatileDiffusion(str(self.folders["sd"]), self.dtype, compiled=self.compiled)
        conditions = {"image": "image", "text": "text"}
        tokens = {"image": (257, 768), "text": (77, 768)}
        shapes = {"vdvae": (1, width), **tokens}
        few = self.stage(model, conditions, steps=3)
        self.warmed("brain_diffuser", {"vdvae": first, "diffusion": few}, shapes, context)
        self.figures["brain_diffuser_unet_evaluations_per_s"] = self.network_rate(model, tokens, 2 * self.batch)
        for name, reuse in (("brain_diffuser", None), ("brain_diffuser_reuse", FeatureReuse())):
            n = N_TEST if name in self.given.whole else 3 * self.batch
            stages = {"vdvae": first, "diffusion": self.stage(model, conditions, reuse=reuse)}
            rate = self.rate(stages, shapes, context, n)
            self.figures |= {name: rate, f"{name}_pictures": n, f"{name}_982_s": N_TEST / rate + statistics_s}
            self.report()

    def sdxl_turbo(self) -> None:
        """Four steps without guidance, so that a batch of pictures is twice as large."""
        batch = 2 * self.batch
        model = random_diffusion.RandomTurbo(str(self.folders["turbo"]), self.dtype, compiled=self.compiled)
        shapes, context = {"image": (1, 1024)}, context_on(self.device)
        options: dict[str, Any] = {"strength": None, "guidance": 0.0, "scheduler": "checkpoint"}
        stage = LatentDiffusion(model, {"image": "image"}, steps=4, batch_size=batch, **options)
        few = LatentDiffusion(model, {"image": "image"}, steps=1, batch_size=batch, **options)
        self.figures["sdxl_turbo_first_batch_s"] = round(
            chain_seconds({"diffusion": few}, predictions_of(batch, shapes), context, batch), 1
        )
        self.figures["sdxl_turbo_unet_evaluations_per_s"] = self.network_rate(model, shapes, batch)
        n = 3 * self.n
        self.figures["sdxl_turbo"] = n / chain_seconds({"diffusion": stage}, predictions_of(n, shapes), context, batch)

    def plain(self) -> None:
        """Diffusers' pipeline on a network of the same size."""
        from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline

        dtype: Any = "float32" if self.given.tiny else "float16"
        model = random_diffusion.RandomStableDiffusion(str(self.folders["sd"]), dtype).on(self.device)
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
        tokens = torch.zeros(1, 77, 768, device=self.device, dtype=model.unet_dtype)
        side = model.vae.image_size
        picture = torch.rand(1, 3, side, side, device=self.device).to(tokens.dtype)

        def one(steps: int) -> None:
            pipeline(
                image=picture,
                prompt_embeds=tokens,
                negative_prompt_embeds=tokens,
                strength=0.75,
                num_inference_steps=steps,
                guidance_scale=7.5,
                output_type="np",
            )

        one(4)
        self.figures["plain"] = 2 / seconds(lambda: [one(self.steps) for _ in range(2)])
        if "sd15" in self.figures:
            self.figures["ratio_to_plain"] = self.figures["sd15"] / self.figures["plain"]


PARTS = {"sd15": 30.0, "plain": 8.0, "sdxl_turbo": 20.0, "brain_diffuser": 25.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="toy size, for a CPU")
    parser.add_argument("--batch", type=int, default=32, help="pictures together; the U-Net sees twice as many rows")
    parser.add_argument("--images", type=int, default=64, help="pictures timed")
    whole = ("brain_diffuser", "brain_diffuser_reuse")
    parser.add_argument("--whole", nargs="+", choices=whole, default=(), help="really make 982 pictures this way")
    parser.add_argument("--compiled", action="store_true", help="compile at toy size too")
    parser.add_argument("--autotune", action="store_true", help="let cuDNN try its algorithms for every new shape")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--budget-s", type=float, default=170.0, help="begin no part that would end after this time")
    parser.add_argument("--out", type=Path, default=None, help="write the figures as JSON")
    given = parser.parse_args()
    logging.disable(logging.INFO)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    torch.backends.cudnn.benchmark = given.autotune
    random_diffusion.set_size(given.tiny)
    with tempfile.TemporaryDirectory() as root:
        benchmark = Benchmark(given, random_diffusion.save_rest(Path(root)))
        for name, expected_s in PARTS.items():
            benchmark.attempt(name, getattr(benchmark, name), 0.0 if given.tiny else expected_s)


if __name__ == "__main__":
    main()
