"""tiny_judge: a ResNet of transformers' format that names object and place; no generator is trained with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from braindec.datasets.simulated.vocabulary import CATEGORIES, PLACES
from braindec.frozen.hub import load_transformers

from .clip import pixels_of, write_preprocessing
from .loop import Recipe, batches, fit, parameters_of, save_half
from .plan import FOLDERS, Run
from .render import labels_of
from .scenes import held_out, load_scenes

N_OBJECTS = len(CATEGORIES)


def build() -> Any:
    """A `ResNetForImageClassification` whose first 16 outputs are objects, the other 9 places."""
    from transformers import ResNetConfig, ResNetForImageClassification

    names = [f"object:{name}" for name in CATEGORIES] + [f"place:{name}" for name in PLACES]
    return ResNetForImageClassification(
        ResNetConfig(
            embedding_size=24,
            hidden_sizes=[24, 48, 80, 112],
            depths=[1, 1, 1, 1],
            layer_type="basic",
            id2label=dict(enumerate(names)),
            label2id={name: index for index, name in enumerate(names)},
        )
    )


def train(run: Run) -> dict[str, Any]:
    """Train, save, and measure what was saved."""
    torch.manual_seed(run.seed + 5)
    begin = run.start_from("judge")
    model = build()
    if begin is not None:
        model = type(model).from_pretrained(begin, dtype="float32")
    model.to(run.device, memory_format=torch.channels_last)
    size = run.batch_of(256)
    scenes = load_scenes(run, fields=("images", "labels"))

    def step() -> dict[str, Tensor]:
        rows = scenes.draw(size)
        pixels = pixels_of(scenes.images[rows])
        # Generated pictures are a little noisy and soft: the judge must not depend on the finest detail.
        pixels = pixels + 0.1 * torch.rand(size, 1, 1, 1, device=run.device) * torch.randn_like(pixels)
        logits = model(pixel_values=pixels).logits.float()
        labels = scenes.labels[rows].long()
        objects = functional.cross_entropy(logits[:, :N_OBJECTS], labels[:, 0])
        places = functional.cross_entropy(logits[:, N_OBJECTS:], labels[:, 1])
        return {"loss": objects + places, "objects": objects, "places": places}

    summary = fit("judge", run, model, step, Recipe(rate=2e-3, average=0.99, weight_decay=0.02))
    model.to(memory_format=torch.contiguous_format)
    folder = run.networks / FOLDERS["judge"]
    save_half(model, folder)
    write_preprocessing(folder)
    batch = held_out(run.judged_on(1000))
    logits, _ = judged(folder, batch.images, run.device)
    truth = labels_of(batch)
    return {**summary, "parameters": parameters_of([model]), **accuracy(logits, truth)}


def judged(folder: Path, images: np.ndarray, device: str) -> tuple[np.ndarray, np.ndarray]:
    """Logits (n, 25) and pooled features (n, 112) of uint8 images."""
    from transformers import ResNetForImageClassification

    model, _ = load_transformers(ResNetForImageClassification, folder)
    model.to(device).eval()
    logits, features = [], []
    with torch.inference_mode():
        for part in batches(len(images), 200):
            pixels = pixels_of(torch.from_numpy(images[part]).to(device))
            pooled = model.resnet(pixels).pooler_output.flatten(1)
            features.append(pooled.cpu().numpy())
            logits.append(model.classifier(pooled).cpu().numpy())
    return np.concatenate(logits), np.concatenate(features)


def accuracy(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Share of pictures whose object and place are named right."""
    objects = logits[:, :N_OBJECTS].argmax(axis=1) == labels[:, 0]
    places = logits[:, N_OBJECTS:].argmax(axis=1) == labels[:, 1]
    return {"object_accuracy": float(objects.mean()), "place_accuracy": float(places.mean())}


def two_way(found: np.ndarray, truth: np.ndarray) -> float:
    """Two-way identification: share of others j whose true features correlate less with found i than its own."""
    n = len(found)
    r = np.corrcoef(found, truth)[:n, n:]
    own = np.diag(r)
    return float(((r < own[:, None]).sum(axis=1) / (n - 1)).mean())
