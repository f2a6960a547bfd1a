"""A small CLIP tokenizer: byte-pair encoding learned from the scenes' own captions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from braindec.datasets.simulated.captions import captions_of
from braindec.datasets.simulated.plan import plan_scene

from .plan import TEXT_LENGTH, TRAIN_SEED

_START, _END, _SUFFIX = "<|startoftext|>", "<|endoftext|>", "</w>"
PADDING = "<|padding|>"


def build_tokenizer(n_scenes: int = 4000, vocabulary: int = 1000) -> Any:
    """A `transformers.CLIPTokenizer` whose merges cover every word of the captions; other words fall into bytes."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    texts = [text for index in range(n_scenes) for text in captions_of(plan_scene(TRAIN_SEED, index))]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner = Tokenizer(models.BPE(end_of_word_suffix=_SUFFIX, continuing_subword_prefix=""))
    learner.pre_tokenizer = CLIPTokenizer(vocab={_START: 0, _END: 1}, merges=[]).backend_tokenizer.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=alphabet, end_of_word_suffix=_SUFFIX, show_progress=False
    )
    learner.train_from_iterator(texts, trainer)
    merges = _merges_of(learner)
    words = [*alphabet, *(letter + _SUFFIX for letter in alphabet)]
    words += dict.fromkeys(left + right for left, right in merges if left + right not in set(words))
    words += [PADDING, _START, _END]
    return CLIPTokenizer(
        vocab={word: index for index, word in enumerate(words)}, merges=merges, model_max_length=TEXT_LENGTH
    )


def _merges_of(learner: Any) -> list[tuple[str, str]]:
    import json

    merges = json.loads(learner.to_str())["model"]["merges"]
    return [tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in merges]


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write the tokenizer's files."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
