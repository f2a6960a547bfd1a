"""Training speed at true shapes on random data: step times against their roofline, and whole trainings in seconds.

    python benchmarks/train_h100.py --out train.json          # about 4 minutes on one H100
    python benchmarks/train_h100.py --tiny                    # a few seconds on a CPU, for checking the script

A step's roofline is the larger of FLOPs / 777 TFLOP/s (bfloat16 matrix products measured on an H100) and bytes / 2.98
TB/s. Bytes a weight: 42 = AdamW's float32 reads of weight, gradient and two moments (16) and writes of weight and
moments (12), the gradient's write (4), the cast to bfloat16 (4 + 2) and its reads forward and backward (2 + 2).
FLOPs: 6 a weight of a linear map and row that passes it. Activations are not counted.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from braindec.contracts import FitContext, TrainingData
from braindec.models.adapters.channels import ChannelTokens, FlattenAdapter
from braindec.models.adapters.linear import RidgeAdapter
from braindec.models.adapters.pooled import PooledAdapter, PooledBuilder
from braindec.models.encoders.mixer import MixerEncoder
from braindec.models.encoders.mlp import NoEncoder, ResidualMLP
from braindec.models.encoders.temporal_spatial import ATMEncoder
from braindec.models.heads.dense import LinearHead, ProjectorHead
from braindec.models.priors.transformer import TransformerPrior
from braindec.models.shapes import n_parameters
from braindec.objectives.contrastive import InfoNCE, SoftCLIP
from braindec.objectives.internal import Cycle, PriorLoss, Reconstruction
from braindec.objectives.regression import Regression
from braindec.objectives.weighted import Weighted
from braindec.training.engine import Engine, compile_parts
from braindec.training.neural import NeuralDecoder
from braindec.training.settings import EngineSettings
from braindec.types import Space, TargetEmbeddings, Trials

FLOPS = 777e12
BYTES = 2.98e12
BYTES_A_WEIGHT = 42
MINUTE = 60.0


def random_data(
    n_trials: int, n_space: int, n_times: int, targets: Mapping[str, tuple[int, int]], repetitions: int = 1
) -> TrainingData:
    """One subject's trials and targets of standard normal numbers."""
    draw = np.random.default_rng(0)
    n_stimuli = n_trials // repetitions
    ids = tuple(f"s{i}" for i in range(n_stimuli))
    signal = draw.standard_normal((n_trials, n_space, n_times), dtype=np.float32)
    table = pd.DataFrame(
        {
            "stimulus_id": np.repeat(ids, repetitions),
            "concept": "c",
            "session": 1,
            "run": 1,
            "repetition": np.tile(np.arange(repetitions) + 1, n_stimuli),
            "split": "train",
        }
    )
    trials = Trials("s", signal, "z", Space("channels", n_space), table)
    embeddings = {
        name: TargetEmbeddings(name, ids, draw.standard_normal((n_stimuli, *shape), dtype=np.float32))
        for name, shape in targets.items()
    }
    return TrainingData({"s": trials}, {}, embeddings)


def engine_settings(epochs: int, batch_size: int, **changes: Any) -> EngineSettings:
    """Settings without checkpoints within a run."""
    given: dict[str, Any] = {"learning_rate": 1e-4, "checkpoint_seconds": 1e9, "check_every": 10**9, **changes}
    return EngineSettings(epochs, batch_size, **given)


def mindbridge(tiny: bool, fast: dict[str, Any]) -> tuple[NeuralDecoder, TrainingData, int]:
    pooled, width, batch = (64, 16, 8) if tiny else (8192, 2048, 50)
    shapes = {"image": (5, 6), "text": (3, 6)} if tiny else {"image": (257, 768), "text": (77, 768)}
    decoder = NeuralDecoder(
        partial(PooledAdapter, pooled_size=pooled, width=width),
        ResidualMLP,
        {"default": LinearHead},
        {
            "soft_clip": Weighted(SoftCLIP()),
            "mse": Weighted(Regression(normalised="embedding"), 1e4),
            "rebuilt": Weighted(Reconstruction()),
            "cycle": Weighted(Cycle()),
        },
        engine_settings(100, batch, **fast),
        builder=PooledBuilder,
    )
    return decoder, random_data(8 * batch, 100 if tiny else 15_724, 1, shapes), batch


def mindeye2(tiny: bool, fast: dict[str, Any], whole: bool) -> tuple[NeuralDecoder, TrainingData, int]:
    width, shape, batch = (16, (4, 8), 8) if tiny else (4096, (256, 1664), 24)
    prior = partial(TransformerPrior, n_heads=2, head_width=4) if tiny else TransformerPrior
    if not tiny:
        prior = partial(TransformerPrior, n_heads=32, head_width=52)
    objectives = {"soft_clip": Weighted(SoftCLIP())}
    decoder = NeuralDecoder(
        partial(RidgeAdapter, width=width, weight_decay=0.01),
        MixerEncoder,
        {"default": partial(LinearHead, projector_width=shape[1])},
        {**objectives, "prior": Weighted(PriorLoss(), 30.0)} if whole else objectives,
        engine_settings(100, batch, **fast),
        priors={"default": prior} if whole else None,
    )
    return decoder, random_data(8 * batch, 100 if tiny else 15_724, 1, {"image": shape}), batch


def ubp(tiny: bool, fast: dict[str, Any]) -> tuple[NeuralDecoder, TrainingData, int]:
    n_trials, batch, epochs = (64, 16, 2) if tiny else (16_540, 1024, 50)
    decoder = NeuralDecoder(
        FlattenAdapter,
        NoEncoder,
        {"default": partial(ProjectorHead, dropout=0.3)},
        {"clip": Weighted(InfoNCE(temperature=0.366, learn_temperature=True, normalised="target"))},
        engine_settings(epochs, batch, schedule="constant", warmup=0.0, weight_decay=1e-4, **fast),
    )
    return decoder, random_data(n_trials, 17, 50 if tiny else 250, {"image": (1, 32 if tiny else 1024)}), batch


def atm(tiny: bool, fast: dict[str, Any]) -> tuple[NeuralDecoder, TrainingData, int]:
    n_trials, n_times, batch = (64, 100, 16) if tiny else (16_540, 250, 64)
    decoder = NeuralDecoder(
        partial(ChannelTokens, width=n_times),
        ATMEncoder,
        {"default": ProjectorHead},
        {"clip": Weighted(InfoNCE(temperature=0.376, learn_temperature=True, normalised="target"))},
        engine_settings(40, batch, schedule="constant", warmup=0.0, **fast),
    )
    return decoder, random_data(n_trials, 8 if tiny else 63, n_times, {"image": (1, 32 if tiny else 1024)}), batch


class Clock:
    """Seconds until a device has done what it was given."""

    def __init__(self, device: str) -> None:
        self.cuda = device.startswith("cuda")

    def now(self) -> float:
        if self.cuda:
            torch.cuda.synchronize()
        return time.perf_counter()


def matmul_flops(engine: Engine) -> float:
    """FLOPs of a step's linear maps, counted in one forward pass (attention's own products are left out)."""
    flops = 0.0

    def count(module: nn.Linear, inputs: tuple[torch.Tensor, ...], _: torch.Tensor) -> None:
        nonlocal flops
        flops += 6.0 * module.weight.numel() * inputs[0].numel() / inputs[0].shape[-1]

    hooks = [m.register_forward_hook(count) for m in engine.module.modules() if isinstance(m, nn.Linear)]
    with torch.no_grad(), torch.autocast(engine.accelerator.device.type, torch.bfloat16):
        engine.module(next(engine.batches(engine.epoch(0))), 0.5, None, None, False)
    for hook in hooks:
        hook.remove()
    return flops


def endless(engine: Engine) -> Iterator[Any]:
    epoch = 0
    while True:
        yield from engine.batches(engine.epoch(epoch))
        epoch += 1


def step_seconds(engine: Engine, batches: Iterator[Any], clock: Clock, n_steps: int) -> tuple[float, list[float]]:
    """Seconds of the first six steps together, and of a step in each of three blocks after them."""
    started = clock.now()
    for step in range(6):
        engine.update(step, batches)
    warm = clock.now() - started
    blocks = []
    for _ in range(3):
        started = clock.now()
        for step in range(n_steps):
            engine.update(step, batches)
        blocks.append((clock.now() - started) / n_steps)
    return warm, blocks


def measured(name: str, made: tuple[NeuralDecoder, TrainingData, int], device: str, n_steps: int) -> dict[str, Any]:
    """Seconds of a step, eager and compiled, and of its input alone, beside the roofline."""
    decoder, data, batch = made
    clock = Clock(device)
    with tempfile.TemporaryDirectory() as folder:
        engine = decoder.prepare(data, FitContext(0, device, Path(folder)))
    flops, n_weights = matmul_flops(engine), n_parameters(engine.module)
    engine.wrapped.train()
    batches = endless(engine)
    _, eager = step_seconds(engine, batches, clock, n_steps)
    warm, compiled = 0.0, eager
    if clock.cuda:
        compile_parts(engine.module)
        warm, compiled = step_seconds(engine, batches, clock, n_steps)
    started = clock.now()
    for _ in range(n_steps):
        next(batches)
    input_seconds = (clock.now() - started) / n_steps
    bound = max(BYTES_A_WEIGHT * n_weights / BYTES, flops / FLOPS)
    row = {
        "name": name,
        "batch": batch,
        "weights": n_weights,
        "step_ms": 1e3 * min(compiled),
        "roofline_ms": 1e3 * bound,
        "share_of_roofline": bound / min(compiled),
        "bound_by": "bytes" if bound > flops / FLOPS else "FLOPs",
        "eager_step_ms": 1e3 * min(eager),
        "input_ms": 1e3 * input_seconds,
        "input_share": input_seconds / min(compiled),
        "compile_s": round(warm, 2),
        "blocks_ms": [1e3 * block for block in compiled],
        "peak_gb": torch.cuda.max_memory_allocated() / 1e9 if clock.cuda else 0.0,
    }
    del engine, batches
    gc.collect()
    if clock.cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return row


class OneByOne(Dataset):
    """Trials one at a time, as the published loops read them."""

    def __init__(self, data: TrainingData) -> None:
        self.signal, self.target = data.train["s"].signal, data.targets["image"].values

    def __len__(self) -> int:
        return len(self.signal)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(self.signal[row]), torch.from_numpy(self.target[row])


def plain_epoch_seconds(decoder: NeuralDecoder, data: TrainingData, batch: int, device: str) -> float:
    """An epoch of the same network in the authors' style: a DataLoader that collates items, float32, eager AdamW."""
    module = decoder.network_.to(device).train()
    objective = InfoNCE(temperature=0.366, learn_temperature=True, normalised="target").to(device)
    optimiser = torch.optim.AdamW([*module.parameters(), *objective.parameters()], lr=1e-4)
    clock, seconds = Clock(device), []
    for _ in range(2):
        started = clock.now()
        for signal, target in DataLoader(OneByOne(data), batch, shuffle=True, drop_last=True):
            predicted = nn.functional.normalize(module({"s": signal.to(device)}).contrast["image"].flatten(1), dim=1)
            logits = predicted @ nn.functional.normalize(target.to(device).flatten(1), dim=1).T * 2.7
            labels = torch.arange(len(logits), device=device)
            loss = nn.functional.cross_entropy(logits, labels) + nn.functional.cross_entropy(logits.T, labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            loss.item()
        seconds.append(clock.now() - started)
    return min(seconds)


def ubp_row(device: str, fast: dict[str, Any], n_subjects: int) -> dict[str, Any]:
    """Ten subjects, one after the other, each its own training, with its checkpoint at the end."""
    tiny, clock = device == "cpu", Clock(device)
    decoder, data, batch = ubp(tiny, fast)
    seconds = []
    for subject in range(n_subjects):
        with tempfile.TemporaryDirectory() as folder:
            started = clock.now()
            report = decoder.fit(data, FitContext(subject, device, Path(folder)))
            seconds.append(clock.now() - started)
    plain = plain_epoch_seconds(decoder, data, batch, device)
    epochs = decoder.engine.epochs
    return {
        "name": "ubp",
        "subjects": n_subjects,
        "epochs": epochs,
        "total_s": sum(seconds),
        "first_fit_s": seconds[0],
        "epoch_ms": 1e3 * min(seconds) / epochs,
        "update_ms": 1e3 * report["seconds_per_update"],
        "plain_epoch_ms": 1e3 * plain,
        "times_faster_than_plain": plain * epochs / min(seconds),
        "goal_s": 45,
    }


def atm_row(device: str, fast: dict[str, Any], n_steps: int) -> dict[str, Any]:
    """A part of one subject's training, and what 40 epochs would take at that rate."""
    tiny = device == "cpu"
    row = measured("atm", atm(tiny, fast), device, n_steps)
    best = min(row["step_ms"], row["eager_step_ms"]) / 1e3
    per_epoch = (64 if tiny else 16_540) // row["batch"]
    return {
        **row,
        "extrapolated_40_epochs_s": 40 * per_epoch * best,
        "extrapolated_40_epochs_single_trials_s": 160 * per_epoch * best,
        "goal_s": 60,
    }


def print_row(row: dict[str, Any]) -> None:
    values = {k: v for k, v in row.items() if k not in ("name", "blocks_ms")}
    print(f"{row['name']:18s} " + "  ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in values.items()), flush=True)  # fmt: skip  # noqa: E501


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="small shapes on the CPU")
    parser.add_argument("--out", type=Path, help="write the rows as JSON")
    parser.add_argument("--minutes", type=float, default=4.0, help="leave out what would start later than this")
    arguments = parser.parse_args()
    tiny = arguments.tiny
    device = "cpu" if tiny else "cuda"
    fast: dict[str, Any] = {} if tiny else {"precision": "bf16", "data_on_device": "always"}
    n_steps = 3 if tiny else 30
    if not tiny:
        torch.backends.cuda.matmul.allow_tf32 = True
    parts = {
        "ubp": lambda: ubp_row(device, fast, 2 if tiny else 10),
        "mindbridge": lambda: measured("mindbridge", mindbridge(tiny, fast), device, n_steps),
        "mindeye2 backbone": lambda: measured("mindeye2 backbone", mindeye2(tiny, fast, whole=False), device, n_steps),
        "atm": lambda: atm_row(device, fast, 3 * n_steps),
        "mindeye2 whole": lambda: measured("mindeye2 whole", mindeye2(tiny, fast, whole=True), device, n_steps),
    }
    began, rows = time.perf_counter(), []
    for name, part in parts.items():
        if time.perf_counter() - began > MINUTE * arguments.minutes * 0.85:
            print(f"{name}: left out, the time is up")
            continue
        rows.append(part())
        print_row(rows[-1])
        machine = {"device": torch.cuda.get_device_name() if device == "cuda" else "cpu", "torch": torch.__version__}
        if arguments.out is not None:
            arguments.out.write_text(json.dumps({**machine, "rows": rows}, indent=1) + "\n")
    print(f"{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
