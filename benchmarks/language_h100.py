"""Captions and answers a second by a language model of 7 billion random weights, beside their roofline:

    PYTHONPATH=$PWD python benchmarks/language_h100.py --out language.json    # one H100, at most 90 s
    PYTHONPATH=$PWD python benchmarks/language_h100.py --tiny                 # the same at toy size on a CPU

LLaMA's configuration at 7 B, bfloat16, through `braindec.stages.prefix_llm.PrefixCaption`: from 982 predicted
embeddings of 257 x 768 in host memory to texts. Random weights hardly ever end a text: every caption has all of its 24
tokens and every answer all of its 8, the most that there is to do. Parts, each printed and written when it is done:

- ``passes``: the model alone: reading all prefixes of a batch, and one more token of each;
- ``captions``: a first batch, then all 982;
- ``answers``: captions with the answer to one question;
- ``alone``: transformers' own ``generate`` called for one caption at a time, and how many times slower that is;
- ``mapper``: a step of fitting the mapper through the model;
- ``beams``: captions of a few by a search with 5 beams.

The roofline is the larger of FLOPs / 600 TFLOP/s and bytes / 3 TB/s of each pass through the model, added up: 2 FLOPs a
weight and token (4 with gradients of inputs), 2 bytes a weight and 2 a number of the keys and values read.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from limits import guarded, shown

from braindec.contracts import StageContext
from braindec.frozen.beams import Search
from braindec.frozen.prefix_lm import PrefixLanguageModel
from braindec.stages.prefix_llm import PrefixCaption
from braindec.types import Predictions, Stimuli, TargetEmbeddings

SHAPE = (257, 768)
WORDS = 24
ANSWER = 8
PREFIX = 10
QUESTION = "w7 w8 w9 w10 w11 w12"
LESSON = 20
BEAMS = 5
TRAIN_BATCH = 40
FLOPS = 600e12
BYTES = 3e12


def random_model(tiny: bool, device: str) -> Any:
    """LLaMA of 7 billion random weights, or a toy: laid out without memory, then drawn where it is to be."""
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    toy = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(**(toy if tiny else {}), vocab_size=32_000)
    usual = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.bfloat16)
        with torch.device("meta"):
            module = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(usual)
    module.to_empty(device=device)
    torch.manual_seed(0)
    with torch.no_grad():
        for weights in module.parameters():
            weights.fill_(1.0) if weights.ndim == 1 else weights.normal_(0.0, 0.02)
    with torch.device(device):
        module.model.rotary_emb = LlamaRotaryEmbedding(config)
    return module


def word_tokenizer(n: int) -> Any:
    """A tokenizer of ``n`` numbered words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({f"w{index}": index for index in range(n)}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def material(n: int, device: str) -> tuple[Predictions, StageContext]:
    """``n`` predictions, and 64 training stimuli."""
    rng = np.random.default_rng(0)
    ids = [f"item{number}" for number in range(n)]
    table = pd.DataFrame({"item_id": ids, "subject": "s", "fold": "f", "stimulus_id": ids, "n_repetitions": 1})
    training = tuple(f"train{number}" for number in range(64))
    embeddings = TargetEmbeddings("clip", training, rng.standard_normal((64, *SHAPE), dtype=np.float32))
    stimuli = Stimuli(training, captions=((" ".join(f"w{word}" for word in range(100, 120)),),) * 64)
    predicted = {"clip": rng.standard_normal((n, *SHAPE), dtype=np.float32)}
    return Predictions(table, predicted), StageContext({}, stimuli, {"clip": embeddings}, seed=0, device=device)


class Benchmark:
    """Times parts and reports each figure at once."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.device = "cpu" if given.tiny else "cuda"
        self.n, self.batch, self.few = (20, 8, 2) if given.tiny else (982, given.batch, 6)
        self.began = time.perf_counter()
        self.figures: dict[str, Any] = {"device": "cpu" if given.tiny else torch.cuda.get_device_name()}
        self.note(torch=torch.__version__, captions=self.n, batch=self.batch, tokens_a_caption=WORDS)
        module = random_model(given.tiny, self.device)
        self.network = PrefixLanguageModel("random", self.device, "bfloat16", self.batch).adopt(module)
        self.network.tokenizer_ = word_tokenizer(32_000)
        module.requires_grad_(False)
        self.weights = sum(p.numel() for p in module.parameters()) - module.get_input_embeddings().weight.numel()
        self.note(weights=self.weights, model_ready_s=round(self.now() - self.began, 1))
        self.predictions, self.context = material(self.n, self.device)
        self.stage = self.of(Search(WORDS + 1))
        self.note(ready_s=round(self.now() - self.began, 1))

    def of(self, search: Search) -> PrefixCaption:
        """A stage on the model, its mapper untrained but for a step."""
        return PrefixCaption(
            self.network, "clip", search, answer_length=ANSWER + 1, prefix=PREFIX, steps=1, train_batch_size=TRAIN_BATCH
        )

    def note(self, **figures: Any) -> None:
        """Print figures and write all so far."""
        self.figures |= figures
        print("  ".join(shown(key, value) for key, value in figures.items()), flush=True)
        if self.given.out is not None:
            self.given.out.write_text(json.dumps(self.figures, indent=2) + "\n", encoding="utf-8")

    def now(self) -> float:
        """The time when the device has done what it was given."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def seconds(self, work: Callable[[], Any]) -> float:
        """Wall time of some work, the device's included."""
        began = self.now()
        work()
        return self.now() - began

    def bound(self, rows: int, new: int, length: int) -> float:
        """Seconds that one pass of ``new`` tokens for each row takes at least, ``length`` tokens in the cache."""
        config = self.network.module.config
        cached = 2 * config.num_hidden_layers * config.hidden_size * rows * length
        return max(2 * self.weights * rows * new / FLOPS, 2 * (self.weights + cached) / BYTES)

    def search_bound(self, rows: int, before: int, words: int) -> float:
        """Seconds of a greedy search at least: one pass over what comes before, then a pass a word."""
        return self.bound(rows, before, before) + sum(self.bound(rows, 1, before + w) for w in range(1, words))

    def whole_bound(self, before: int, words: int) -> float:
        """The same for all predictions in batches."""
        sizes = [min(self.batch, self.n - start) for start in range(0, self.n, self.batch)]
        return sum(self.search_bound(size, before, words) for size in sizes)

    def passes(self) -> None:
        """The model alone at the captions' batch."""
        module, length = self.network.module, PREFIX + 1
        inputs = torch.randn(self.batch, length, self.network.width, device=self.device, dtype=torch.bfloat16)
        one = inputs[:, :1]
        with torch.inference_mode():
            module(inputs_embeds=inputs, use_cache=True, logits_to_keep=1)
            began = self.now()
            cache = module(inputs_embeds=inputs, use_cache=True, logits_to_keep=1).past_key_values
            read = self.now() - began
            module(inputs_embeds=one, past_key_values=cache)
            began = self.now()
            for _ in range(8):
                module(inputs_embeds=one, past_key_values=cache)
            step = (self.now() - began) / 8
        self.note(
            read_ms=1e3 * read,
            read_roofline_ms=1e3 * self.bound(self.batch, length, length),
            token_ms=1e3 * step,
            token_roofline_ms=1e3 * self.bound(self.batch, 1, length + 5),
        )

    def captions(self) -> None:
        """A first batch, which warms up, then all."""
        few = self.predictions.select(np.arange(self.batch))
        self.note(mapper_ready_s=self.seconds(lambda: self.stage._mapper(self.context, SHAPE, "fit")))
        self.note(first_batch_s=self.seconds(lambda: self.stage.run(few, None, self.context)))
        spent = self.seconds(lambda: self.stage.run(self.predictions, None, self.context))
        bound = self.whole_bound(PREFIX + 1, WORDS)
        self.note(captions_s=spent, captions_roofline_s=bound, captions_per_s=self.n / spent, share=bound / spent)

    def answers(self) -> None:
        """Captions, then one question of each."""
        self.stage.questions = (QUESTION,)
        spent = self.seconds(lambda: self.stage.run(self.predictions, None, self.context))
        self.stage.questions = ()
        asked = self.whole_bound(PREFIX + 1 + len(QUESTION.split()), ANSWER)
        bound = self.whole_bound(PREFIX + 1, WORDS) + asked
        self.note(captions_and_answers_s=spent, captions_and_answers_roofline_s=bound)

    def alone(self) -> None:
        """One caption at a time by a direct call of transformers."""
        module, mapper = self.network.module, self.stage._mapper(self.context, SHAPE, "plain")
        begin = module.get_input_embeddings()(torch.tensor([[module.config.bos_token_id]], device=self.device))

        def work() -> None:
            for row in range(self.few):
                values = torch.from_numpy(self.predictions.embeddings["clip"][row : row + 1]).to(self.device)
                inputs = torch.cat([mapper(values).to(begin.dtype), begin], dim=1)
                module.generate(inputs_embeds=inputs, max_new_tokens=WORDS, do_sample=False, pad_token_id=0)

        with torch.inference_mode():
            one = self.seconds(work) / self.few
        self.note(alone_s=one, alone_roofline_s=self.search_bound(1, PREFIX + 1, WORDS), alone_per_s=1 / one)
        if "captions_per_s" in self.figures:
            self.note(times_alone=self.figures["captions_per_s"] * one)

    def mapper(self) -> None:
        """Steps of fitting the mapper, the first left out."""
        stage, steps = self.of(Search(WORDS + 1)), self.given.steps
        once = self.seconds(lambda: stage._mapper(self.context, SHAPE, "fit"))
        stage._fitted, stage.steps = None, steps + 1
        spent = (self.seconds(lambda: stage._mapper(self.context, SHAPE, "fit")) - once) / steps
        tokens = PREFIX + LESSON + 1
        bound = max(4 * self.weights * TRAIN_BATCH * tokens / FLOPS, 4 * self.weights / BYTES)
        self.note(mapper_step_ms=1e3 * spent, mapper_step_roofline_ms=1e3 * bound)

    def beams(self) -> None:
        """One batch of rows, five of them a caption."""
        stage, n = self.of(Search(WORDS + 1, beams=BEAMS)), max(1, self.batch // BEAMS)
        stage._fitted = self.stage._fitted
        few = self.predictions.select(np.arange(n))
        spent = self.seconds(lambda: stage.run(few, None, self.context))
        bound = self.search_bound(n * BEAMS, PREFIX + 1, WORDS)
        self.note(beams_captions=n, beams_s=spent, beams_roofline_s=bound, beams_captions_per_s=n / spent)


PARTS = {"passes": 3.0, "captions": 10.0, "answers": 8.0, "alone": 8.0, "mapper": 8.0, "beams": 8.0}
"""Seconds that a part is expected to take at most on a H100."""


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="toy size, for a CPU")
    parser.add_argument("--batch", type=int, default=982, help="captions together")
    parser.add_argument("--steps", type=int, default=8, help="steps of the mapper's training")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=85.0, help="begin no part that would end after this time")
    parser.add_argument("--part-seconds", type=float, default=25.0, help="give a part up after this time")
    parser.add_argument("--out", type=Path, default=None, help="write the figures as JSON")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    benchmark = Benchmark(given)
    for part in given.parts:
        spent = time.perf_counter() - benchmark.began
        if spent + PARTS[part] > given.seconds:
            benchmark.note(**{f"{part}_left_out_after_s": round(spent, 1)})
            continue
        if benchmark.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        with guarded(given.part_seconds, lambda error, part=part: benchmark.note(**{f"{part}_error": error})):
            getattr(benchmark, part)()
        if benchmark.device == "cuda":
            benchmark.note(**{f"{part}_peak_gb": torch.cuda.max_memory_allocated() / 1e9})
    benchmark.note(total_s=round(time.perf_counter() - benchmark.began, 1))


if __name__ == "__main__":
    main()
