"""A step of the whole-brain encoder at 1024 parcels, width 768, 4 blocks beside its roofline. One H100.

    python benchmarks/whole_brain_h100.py --out whole_brain_h100.json       (at most 90 s; --tiny: small, on a CPU)

Cases: ``scans``, pre-training on 192 windows of 20 scans; ``encoder``, contrast of 16 trials of 5 scans with image and
text embeddings; ``encoder 256``, the same of 256 trials; ``whole``, with 257 x 768 tokens and the prior, 16 trials.
Ways and columns are those of `step_times`, each printed and written when it is measured. Random data.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._dynamo
from limits import Row, guarded
from step_times import clear, copy_rate, measured
from true_shapes import engine_settings, random_data

from braindec.contracts import FitContext
from braindec.models.adapters.parcels import ParcelSequence
from braindec.models.encoders.transformer import TokenTransformer
from braindec.models.heads.dense import LinearHead
from braindec.models.priors.transformer import TransformerPrior
from braindec.objectives.contrastive import InfoNCE
from braindec.objectives.internal import PriorLoss
from braindec.objectives.weighted import Weighted
from braindec.training.engine import Engine
from braindec.training.neural import NeuralDecoder
from braindec.training.pretraining import Pretraining
from braindec.types import Series, Space


def wave(tiny: bool, fast: dict[str, Any], batch: int, whole: bool) -> tuple[NeuralDecoder, Any, int]:
    """WAVE's encoder with heads to image and text embeddings, or with tokens and their prior too."""
    small = {"width": 16, "n_heads": 2, "depth": 1} if tiny else {"depth": 4}
    batch, n_parcels, width = (4, 20, 8) if tiny else (batch, 1024, 768)
    targets = {"image": (1, width), "text": (1, width)}
    objectives = {"clip": Weighted(InfoNCE(learn_temperature=True, targets=["image", "text"]))}
    priors = None
    if whole:
        targets["tokens"] = (5, 8) if tiny else (257, 768)
        objectives["prior"] = Weighted(PriorLoss(), 30.0)
        priors = {"tokens": partial(TransformerPrior, **({"depth": 1, "n_heads": 2, "head_width": 4} if tiny else {}))}
    decoder = NeuralDecoder(
        partial(ParcelSequence, dropout=0.2, shuffle=True),
        partial(TokenTransformer, pooling="class_scan", causal=True, n_positions=50, activation="gelu_tanh", **small),
        {"default": LinearHead},
        objectives,
        engine_settings(100, batch, **fast),
        priors=priors,
    )
    return decoder, random_data(16 * batch, n_parcels, 5, targets), batch


class Scans:
    """Pre-training with the call that `measured` makes of decoders."""

    def __init__(self, tiny: bool, fast: dict[str, Any]) -> None:
        self.batch, self.n_scans, self.n_parcels = (8, 6, 20) if tiny else (192, 20, 1024)
        small = {"width": 16, "n_heads": 2, "depth": 1} if tiny else {"depth": 4}
        self.encoder = partial(
            TokenTransformer, pooling="class_scan", causal=True, n_positions=50, activation="gelu_tanh", **small
        )
        settings = engine_settings(100, self.batch, one_per_stimulus=False, **fast)
        self.fitting = Pretraining(settings, self.n_scans)

    def prepare(self, _: Any, context: FitContext) -> Engine:
        """The engine, on random runs."""
        rng, space = np.random.default_rng(0), Space("parcels", self.n_parcels)
        shape = (4 * self.batch * self.n_scans, self.n_parcels)
        runs = [Series("s", f"run-{k}", rng.standard_normal(shape, np.float32), space, 2.0) for k in range(2)]
        runs[1] = Series("s", "held-out", runs[1].signal[: 2 * self.n_scans], space, 2.0)
        decoder = NeuralDecoder(ParcelSequence, self.encoder, {"default": LinearHead}, {}, self.fitting.engine)
        return self.fitting.prepare(decoder, runs[:1], runs[1:], context)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="small shapes on the CPU")
    parser.add_argument("--out", type=Path, help="write the rows as JSON")
    names = ("scans", "encoder", "encoder 256", "whole")
    parser.add_argument("--only", nargs="+", choices=names, help="measure these cases alone")
    parser.add_argument("--seconds", type=float, default=85.0, help="give up what is not done by then")
    arguments = parser.parse_args()
    tiny = arguments.tiny
    device = "cpu" if tiny else "cuda"
    fast: dict[str, Any] = {} if tiny else {"precision": "bf16", "data_on_device": "always"}
    scans = Scans(tiny, fast)
    cases: dict[str, Callable[[], Any]] = {
        "scans": lambda: (scans, None, scans.batch),
        "encoder": lambda: wave(tiny, fast, 16, False),
        "encoder 256": lambda: wave(tiny, fast, 256, False),
        "whole": lambda: wave(tiny, fast, 16, True),
    }
    machine: dict[str, Any] = {"torch": torch.__version__, "device": "cpu"}
    if not tiny:
        torch.backends.cuda.matmul.allow_tf32 = True
        torch._dynamo.config.suppress_errors = True  # what does not compile runs as it is
        machine |= {"device": torch.cuda.get_device_name(), "copy_tb_per_s": copy_rate(device) / 1e12}
    began, rows = time.perf_counter(), list[dict[str, Any]]()

    def keep() -> None:
        if arguments.out is not None:
            arguments.out.write_text(json.dumps({**machine, "rows": rows}, indent=1) + "\n")

    for name in arguments.only or cases:
        left = arguments.seconds - (time.perf_counter() - began)
        if left < 5:
            print(f"{name}: left out", flush=True)
            continue
        clear()
        row = Row(name, keep)
        rows.append(row)
        with guarded(left, partial(row.__setitem__, "error")):
            measured(row, cases[name](), device, 2 if tiny else 20, compiled=not tiny)
    print(f"{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
