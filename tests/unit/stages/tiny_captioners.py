"""Small random captioners in transformers' layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

SMALL = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "on", "the", "beach", "red", "cube", "tree"]


def _save(model: Any, folder: Path) -> Path:
    from transformers import BertTokenizer

    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    BertTokenizer(vocab={word: index for index, word in enumerate(WORDS)}).save_pretrained(folder)
    return folder


def save_git(folder: Path) -> Path:
    from transformers import CLIPImageProcessor, GitConfig, GitForCausalLM

    torch.manual_seed(1)
    vision = {**SMALL, "image_size": 28, "patch_size": 14}
    special = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    _save(GitForCausalLM(GitConfig(**SMALL, vocab_size=len(WORDS), vision_config=vision, **special)), folder)
    CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}).save_pretrained(folder)
    return folder


def save_blip(folder: Path) -> Path:
    from transformers import BlipConfig, BlipForConditionalGeneration

    torch.manual_seed(1)
    special = {"bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0}
    text = {**SMALL, "vocab_size": len(WORDS), "encoder_hidden_size": 24, **special}
    vision = {**SMALL, "image_size": 32, "patch_size": 16}
    return _save(BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision)), folder)
