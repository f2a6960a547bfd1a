"""tiny_depth: a DPT of transformers' format at 64 px; nearer is larger."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from braindec.frozen.dpt import DptDepth

from .clip import pixels_of, write_preprocessing
from .loop import Recipe, fit, parameters_of, save_half
from .plan import FOLDERS, SIZE, Run
from .scenes import held_out, load_scenes
from .sheets import grey, write_sheet


def build() -> Any:
    """A `DPTForDepthEstimation` with random weights."""
    from transformers import DPTConfig, DPTForDepthEstimation

    return DPTForDepthEstimation(
        DPTConfig(
            hidden_size=96,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=288,
            image_size=SIZE,
            patch_size=8,
            backbone_out_indices=[0, 1, 2, 3],
            reassemble_factors=[2, 1, 0.5, 0.25],
            neck_hidden_sizes=[24, 32, 48, 48],
            fusion_hidden_size=32,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            is_hybrid=False,
            readout_type="project",
            use_auxiliary_head=False,
        )
    )


def train(run: Run) -> dict[str, Any]:
    """Train, save, and measure what was saved."""
    torch.manual_seed(run.seed + 3)
    begin = run.start_from("depth")
    model = build()
    if begin is not None:
        model = type(model).from_pretrained(begin, dtype="float32")
    model.to(run.device)
    size = run.batch_of(256)
    scenes = load_scenes(run, fields=("images", "depth"))

    def step() -> dict[str, Tensor]:
        rows = scenes.draw(size)
        truth = scenes.depth[rows].float()
        found = model(pixel_values=pixels_of(scenes.images[rows])).predicted_depth.float()
        error = (found - truth).abs().mean()
        edges = sum((found.diff(dim=axis) - truth.diff(dim=axis)).abs().mean() for axis in (1, 2))
        return {"loss": error + edges, "error": error}

    summary = fit("depth", run, model, step, Recipe(rate=1e-3))
    folder = run.networks / FOLDERS["depth"]
    save_half(model, folder)
    write_preprocessing(folder)
    return {**summary, "parameters": parameters_of([model]), **measure(run)}


def measure(run: Run, n: int = 300) -> dict[str, float]:
    """Mean absolute error and mean correlation with the true depth of held-out scenes."""
    batch = held_out(run.judged_on(n))
    dpt = DptDepth(str(run.networks / FOLDERS["depth"]), device=run.device, batch_size=50)
    found = dpt.depth(dpt.encode(batch.images))
    correlation = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(found, batch.depth, strict=True)]
    rows = {"picture": batch.images, "true depth": grey(batch.depth), "found depth": grey(found)}
    write_sheet(run.work / "sheets" / "depth.png", rows)
    error = float(np.abs(found - batch.depth).mean())
    return {"mean_absolute_error": error, "correlation": float(np.mean(correlation))}
