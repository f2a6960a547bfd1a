"""Captions from predicted features by GIT and BLIP of true size with random weights, beside transformers' own search:

    PYTHONPATH=$PWD python benchmarks/captions.py              # four captions each on a CPU, some minutes

GIT-base's decoder reads 197 x 768, BLIP-large's 577 x 1024. Every caption has all of its 25 tokens. The library's GIT
is called without its cache, with which it gives other words (transformers 5 counts the picture's tokens into the words'
positions); its BLIP as its documentation says. Seconds a caption, their ratio, and how many captions are the same.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from braindec.frozen.beams import Search
from braindec.frozen.captioners import BlipCaptioner, Captioner, GitCaptioner, features_given

WORDS = 25


class Numbers:
    """A tokenizer that writes the tokens' numbers."""

    def batch_decode(self, rows: Sequence[Any], skip_special_tokens: bool = True) -> list[str]:
        return [" ".join(str(int(token)) for token in row) for row in rows]


def captioners() -> dict[str, tuple[Captioner, tuple[int, int]]]:
    """Networks of true size but for their image towers, which are not run, and the features' shape."""
    from transformers import BlipConfig, BlipForConditionalGeneration, GitConfig, GitForCausalLM

    torch.manual_seed(0)
    git = GitForCausalLM(GitConfig(vision_config={"num_hidden_layers": 1}, bos_token_id=101, eos_token_id=102))
    tower = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 1}
    text = {"encoder_hidden_size": 1024, "bos_token_id": 30522, "sep_token_id": 102, "num_attention_heads": 12}
    blip = BlipForConditionalGeneration(BlipConfig(vision_config=tower, text_config=text))
    made = {"GIT": (GitCaptioner("random").adopt(git), (197, 768))}
    made["BLIP"] = (BlipCaptioner("random").adopt(blip), (577, 1024))
    for network, _ in made.values():
        network.tokenizer_ = Numbers()
    return made


def library(network: Captioner, values: np.ndarray, beams: int) -> list[str]:
    """Captions as transformers finds them."""
    limits = {"max_length": WORDS, "min_length": WORDS - 1, "num_beams": beams}
    cached = {"use_cache": False} if isinstance(network, GitCaptioner) else {}
    with torch.inference_mode(), features_given(*network.tower_place()):
        tokens = network.module.generate(pixel_values=torch.from_numpy(values).unsqueeze(1), **limits, **cached)
    return network.tokenizer_.batch_decode(tokens)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=int, default=4)
    n = parser.parse_args().captions
    for name, (network, shape) in captioners().items():
        values = np.random.default_rng(0).standard_normal((n, *shape), dtype=np.float32)
        for beams in (1, 3):
            search = Search(WORDS, WORDS - 1, beams)
            began = time.perf_counter()
            own = [ranked[0][0].split() for ranked in network.candidates(values, search)]
            middle = time.perf_counter()
            theirs = [text.split() for text in library(network, values, beams)]
            ours, other = (middle - began) / n, (time.perf_counter() - middle) / n
            same = sum(a[: WORDS - 1] == b[: WORDS - 1] for a, b in zip(own, theirs, strict=True))
            print(f"{name}  beams={beams}  ours {ours:.2f} s  transformers {other:.2f} s a caption  "
                  f"ratio {other / ours:.1f}  same captions {same} of {n}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
