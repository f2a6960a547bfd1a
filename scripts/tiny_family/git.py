"""tiny_git: a GIT captioner of transformers' format, with its own image tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from braindec.datasets.simulated.scenes import SceneBatch
from braindec.frozen.captioners import GitCaptioner

from .clip import pixels_of, write_preprocessing
from .loop import Recipe, fit, parameters_of, save_half
from .plan import FOLDERS, SIZE, TEXT_LENGTH, Run
from .scenes import Scenes, held_out, load_scenes
from .words import PADDING, save_tokenizer


def build(scenes: Scenes) -> Any:
    """A `GitForCausalLM` with random weights."""
    from transformers import GitConfig, GitForCausalLM

    vision = {
        "hidden_size": 96,
        "intermediate_size": 288,
        "num_hidden_layers": 5,
        "num_attention_heads": 4,
        "image_size": SIZE,
        "patch_size": 8,
    }
    config = GitConfig(
        vision_config=vision,
        vocab_size=scenes.vocabulary,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=TEXT_LENGTH,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        bos_token_id=scenes.start,
        eos_token_id=scenes.end,
        pad_token_id=scenes.padding,
    )
    return GitForCausalLM(config)


def train(run: Run) -> dict[str, Any]:
    """Train, save, and measure what was saved."""
    from transformers import CLIPTokenizer

    torch.manual_seed(run.seed + 4)
    scenes = load_scenes(run, fields=("images", "tokens", "labels"))
    begin = run.start_from("git")
    model = build(scenes)
    if begin is not None:
        model = type(model).from_pretrained(begin, dtype="float32")
    model.to(run.device)
    size = run.batch_of(256)

    def step() -> dict[str, Tensor]:
        rows = scenes.draw(size)
        # Which of two things is the main one cannot be seen: with two, the paraphrase that names both.
        which = 1 + scenes.labels[rows, 2].long()
        tokens_NL = scenes.tokens[rows, which].long()
        logits = model(input_ids=tokens_NL, pixel_values=pixels_of(scenes.images[rows])).logits[:, -TEXT_LENGTH:]
        target = tokens_NL[:, 1:].clone()
        # The first end token is learned; those after it are padding.
        target[:, 1:][tokens_NL[:, 1:-1] == scenes.end] = -100
        loss = functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), target.flatten(), ignore_index=-100)
        return {"loss": loss}

    summary = fit("git", run, model, step, Recipe(rate=1e-3, warmup=300))
    folder = run.networks / FOLDERS["git"]
    save_half(model, folder)
    tokenizer = CLIPTokenizer.from_pretrained(run.work / "tokenizer", pad_token=PADDING)
    save_tokenizer(tokenizer, folder)
    write_preprocessing(folder)
    return {**summary, "parameters": parameters_of([model]), **measure(run)}


def measure(run: Run, n: int = 500) -> dict[str, Any]:
    """Share of held-out captions that name the main object, the place, and both."""
    batch = held_out(run.judged_on(n))
    captioner = GitCaptioner(str(run.networks / FOLDERS["git"]), device=run.device, batch_size=100)
    found = captioner.captions(captioner.encode(batch.images))
    lines = [f"{caption}   <-   {truth[0]}" for caption, truth in zip(found, batch.captions, strict=True)]
    sheet = run.work / "sheets" / "git.txt"
    sheet.parent.mkdir(parents=True, exist_ok=True)
    sheet.write_text("\n".join(lines[:60]) + "\n", encoding="utf-8")
    return naming(found, batch)


def naming(captions: Sequence[str], batch: SceneBatch) -> dict[str, float]:
    """Share of captions that name each thing."""
    objects, places, colours = [], [], []
    for caption, true in zip(captions, batch.attributes, strict=True):
        words = caption.replace(",", " ").split()
        objects.append(true["object"] in words)
        places.append(true["place"].removesuffix("s") in caption)
        colours.append(true["colour"] in words)
    both = [a and b for a, b in zip(objects, places, strict=True)]
    n = len(objects)
    return {
        "names_object": sum(objects) / n,
        "names_place": sum(places) / n,
        "names_both": sum(both) / n,
        "names_colour": sum(colours) / n,
    }
