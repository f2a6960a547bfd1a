"""Small random networks, saved in the format of the published ones; used by unit and parity tests."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch


def save_clip_tokenizer(folder: Path) -> None:
    """CLIP's own vocabulary, taken from open_clip's copy."""
    import open_clip.tokenizer as tokenizer
    from transformers import CLIPTokenizer

    with gzip.open(tokenizer.default_bpe(), "rt", encoding="utf-8") as file:
        merges = file.read().split("\n")[1 : 49152 - 256 - 2 + 1]
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {names.get(key, key): value for key, value in tokenizer.SimpleTokenizer().encoder.items()}
    pairs = [tuple(merge.split()) for merge in merges]
    CLIPTokenizer(vocab=vocabulary, merges=pairs, model_max_length=77).save_pretrained(folder)


def save_clip(folder: Path) -> Path:
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": 28,
        "patch_size": 14,
        "projection_dim": 16,
    }
    text = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    text |= {"projection_dim": 16, "vocab_size": 49408, "bos_token_id": 49406, "eos_token_id": 49407}
    CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=16)).save_pretrained(folder)
    save_clip_tokenizer(folder)
    return folder


OPEN_CLIP_CONFIG: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 28, "layers": 4, "width": 32, "head_width": 8, "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 24, "heads": 4, "layers": 2},
}


def save_open_clip(folder: Path, config: dict[str, Any]) -> Path:
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    torch.manual_seed(0)
    model = open_clip.CLIP(**config)
    preprocess = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return folder


def smooth_pictures() -> np.ndarray:
    """Three smooth pictures with sharp edges, uint8 (3, 60, 45, 3)."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:60, :45]
    pictures = []
    for _ in range(3):
        waves = [np.sin(x * a + b) * np.cos(y * c) for a, b, c in rng.uniform(0.05, 0.4, (3, 3))]
        picture = np.stack(waves, axis=-1) * 100 + 128
        top, left = rng.integers(5, 25, 2)
        picture[top : top + 15, left : left + 15] = rng.integers(0, 256, 3)
        pictures.append(picture)
    return np.clip(np.stack(pictures), 0, 255).astype(np.uint8)
