"""How long a step of a training takes, each way it can run, beside its roofline; for the benchmarks of this folder.

A step's roofline is the larger of FLOPs / 777 TFLOP/s (bfloat16 matrix products measured on an H100) and bytes / 2.98
TB/s. Bytes a weight: 42 = AdamW's float32 reads of weight, gradient and two moments (16) and writes of weight and
moments (12), the gradient's write (4), the cast to bfloat16 (4 + 2) and its reads forward and backward (2 + 2).
FLOPs: 6 a weight of a linear map and row that passes it. Activations and attention's own products are not counted.
Map by map: the same, but each linear map's larger time added up, as arithmetic of one does not hide bytes of another.

Each step is timed as single launches (eager), as one CUDA graph, and where compiling pays compiled, then as a graph.
The plain loop is the published style: a DataLoader that collates single items, AdamW as torch makes it, one look at the
loss a step; same network, loss and precision.
"""

from __future__ import annotations

import gc
import itertools
import tempfile
import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from braindec.contracts import FitContext, TrainingData
from braindec.models.shapes import n_parameters
from braindec.training.batches import Batch, MultiSubjectData
from braindec.training.compiling import compile_parts
from braindec.training.engine import Engine
from braindec.training.neural import NeuralDecoder
from braindec.training.step import Passes, RecordedPasses, StepInputs
from braindec.training.wide_gradients import WORTH_A_BREAK, WideGradientLinear

FLOPS = 777e12
BYTES = 2.98e12
BYTES_A_WEIGHT = 42


class Clock:
    """Seconds until a device has done what it was given."""

    def __init__(self, device: str) -> None:
        self.cuda = device.startswith("cuda")

    def now(self) -> float:
        if self.cuda:
            torch.cuda.synchronize()
        return time.perf_counter()


def work(engine: Engine) -> tuple[float, float]:
    """FLOPs of a step's linear maps, counted in one forward pass, and seconds of the maps one after the other.

    The latter takes for each map the larger of its arithmetic's and its weight's time: no map's weights are moved
    while another one computes. Attention's own products are left out of both.
    """
    flops, seconds = 0.0, 0.0
    rest = n_parameters(engine.module)

    def count(module: nn.Linear, inputs: tuple[torch.Tensor, ...], _: torch.Tensor) -> None:
        nonlocal flops, seconds, rest
        own, size = 6.0 * module.weight.numel() * inputs[0].numel() / inputs[0].shape[-1], module.weight.numel()
        flops, rest = flops + own, rest - size
        seconds += max(own / FLOPS, BYTES_A_WEIGHT * size / BYTES)

    hooks = [m.register_forward_hook(count) for m in engine.module.modules() if isinstance(m, nn.Linear)]
    with torch.no_grad(), torch.autocast(engine.accelerator.device.type, torch.bfloat16):
        engine.module(next(engine.batches(engine.epoch(0))), 0.5, None, None, False)
    for hook in hooks:
        hook.remove()
    return flops, seconds + BYTES_A_WEIGHT * max(rest, 0) / BYTES


def endless(engine: Engine) -> Generator[Any, None, None]:
    epoch = 0
    while True:
        yield from engine.batches(engine.epoch(epoch))
        epoch += 1


def block_seconds(engine: Engine, batches: Iterator[Any], clock: Clock, n_steps: int, warm: int) -> float:
    """Seconds of a step: the better of two blocks, after ``warm`` steps."""
    for step in range(warm):
        engine.update(step, batches)
    blocks = []
    for _ in range(2):
        started = clock.now()
        for step in range(n_steps):
            engine.update(step, batches)
        blocks.append((clock.now() - started) / n_steps)
    return min(blocks)


def ordinary(engine: Engine) -> Passes:
    """The engine's passes as single launches."""
    return engine.passes.passes if isinstance(engine.passes, RecordedPasses) else engine.passes


def record(engine: Engine) -> RecordedPasses:
    """From now on the engine replays its steps."""
    engine.passes = RecordedPasses(ordinary(engine), engine.accelerator.device)
    return engine.passes


def loss_difference(engine: Engine, batch: Batch) -> float:
    """Largest relative difference of a recorded step's losses from those of single launches, same weights and seed."""
    inputs = StepInputs((batch,), (None,), None)
    found = []
    for passes, progress in ((engine.passes, 0.5), (ordinary(engine), 0.5)):
        torch.manual_seed(7)
        found.append(passes(inputs, progress).values.clone())
    return float(((found[0] - found[1]).abs() / found[1].abs().clamp(min=1e-12)).max())


def streamed_seconds(engine: Engine, data: TrainingData, clock: Clock, n_steps: int) -> float:
    """Seconds of a step whose rows come from memory-mapped files."""
    kept = engine.train_data
    device = engine.accelerator.device
    with tempfile.TemporaryDirectory() as folder:
        targets = {}
        for name, target in data.targets.items():
            np.save(Path(folder) / f"{name}.npy", target.values)
            targets[name] = replace(target, values=np.load(Path(folder) / f"{name}.npy", mmap_mode="r"))
        engine.train_data = MultiSubjectData(data.train, targets, {}, device, resident=False)
        epochs = itertools.chain.from_iterable(engine.epoch(epoch) for epoch in itertools.count())
        batches = engine.batches(list(itertools.islice(epochs, 2 * n_steps + 10)))  # as in one long epoch
        seconds = block_seconds(engine, batches, clock, n_steps, 6)
        batches.close()
    engine.train_data = kept
    return seconds


FAMILIES = {
    "matrix products": ("nvjet", "gemm", "cutlass", "splitKreduce"),
    "attention": ("sdpa", "flash", "forward", "query_gradient", "key_gradients", "bias_gradient"),
    "optimiser": ("FusedOptimizer", "FusedAdam", "multi_tensor"),
    "compiled elementwise": ("triton_",),
}
"""Parts of kernels' names; a kernel belongs to the first family that it matches."""


def family(kernel: str) -> str:
    """Name of the family of a kernel."""
    return next((name for name, parts in FAMILIES.items() if any(part in kernel for part in parts)), "other")


def top_kernels(engine: Engine, batches: Iterator[Any], n_steps: int = 3) -> dict[str, float]:
    """Milliseconds a step of all kernels, of each family, and of the kernels that take most."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as found:
        for step in range(n_steps):
            engine.update(step, batches)
        torch.cuda.synchronize()
    rows = sorted(found.key_averages(), key=lambda row: -row.self_device_time_total)
    total = sum(row.self_device_time_total for row in rows)
    families = dict.fromkeys([*FAMILIES, "other"], 0.0)
    for row in rows:
        families[family(row.key)] += row.self_device_time_total
    busy = {row.key[:110]: row.self_device_time_total for row in rows[:14]}
    return {name: round(us / n_steps / 1e3, 4) for name, us in {"all kernels": total, **families, **busy}.items()}


class OneByOne(Dataset):
    """Trials one at a time, as the published loops read them."""

    def __init__(self, data: TrainingData) -> None:
        self.signal = data.train["s"].signal
        self.targets = {name: target.values for name, target in data.targets.items()}

    def __len__(self) -> int:
        return len(self.signal)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, dict[str, torch.Tensor], int]:
        targets = {name: torch.from_numpy(values[row]) for name, values in self.targets.items()}
        return torch.from_numpy(self.signal[row]), targets, row


def plain_seconds(engine: Engine, data: TrainingData, batch: int, clock: Clock, most_steps: int) -> float:
    """Seconds of a step of the same network in the published style."""
    module, device = engine.module, engine.accelerator.device
    module.zero_grad(set_to_none=True)
    optimiser = torch.optim.AdamW(module.parameters(), lr=1e-4)
    seconds, n_steps = 0.0, 0
    for first in (True, False):
        started = clock.now()
        loader = DataLoader(OneByOne(data), batch, shuffle=True, drop_last=True)
        for n_steps, (signal, targets, stimuli) in enumerate(itertools.islice(loader, most_steps), 1):
            made = Batch({"s": signal.to(device)}, {n: v.to(device) for n, v in targets.items()}, stimuli.to(device))
            loss, _ = engine.wrapped(made, 0.5, None, None, False)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            loss.item()
            if first and n_steps == 3:
                break
        seconds = (clock.now() - started) / n_steps
    return seconds


def measured(
    row: dict[str, Any],
    made: tuple[NeuralDecoder, TrainingData, int],
    device: str,
    n_steps: int,
    compiled: bool = False,
    eager: bool = True,
    details: bool = False,
) -> None:
    """Milliseconds of a step in each way beside the roofline; ``details``: also streamed, plain loop and kernels."""
    decoder, data, batch = made
    clock = Clock(device)
    started = clock.now()
    with tempfile.TemporaryDirectory() as folder, torch.device(device):
        engine = decoder.prepare(data, FitContext(0, device, Path(folder)))
    row |= {"batch": batch, "prepare_s": round(clock.now() - started, 2)}
    (flops, one_by_one), n_weights = work(engine), n_parameters(engine.module)
    bound = max(BYTES_A_WEIGHT * n_weights / BYTES, flops / FLOPS)
    row |= {
        "weights": n_weights,
        "roofline_ms": 1e3 * bound,
        "map_by_map_ms": 1e3 * one_by_one,
        "bound_by": "bytes" if bound > flops / FLOPS else "FLOPs",
    }
    engine.wrapped.train()
    engine.passes = ordinary(engine)
    batches = endless(engine)
    if eager:
        row["eager_ms"] = 1e3 * block_seconds(engine, batches, clock, n_steps, 4)
        if clock.cuda:
            row["eager_peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
    if details:
        plain = plain_seconds(engine, data, batch, clock, n_steps)
        row |= {"plain_ms": 1e3 * plain}
    if clock.cuda:
        recorded = record(engine)
        torch.cuda.reset_peak_memory_stats()
        row["graph_ms"] = 1e3 * block_seconds(engine, batches, clock, n_steps, 6)
        row |= {"graph_possible": recorded.possible, "peak_gb": torch.cuda.max_memory_allocated() / 1e9}
        if n_weights < 1e9:  # twice the gradients and activations of a larger network may not fit
            row["graph_loss_difference"] = loss_difference(engine, next(batches))
    if clock.cuda and compiled:
        engine.passes, recorded = ordinary(engine), None
        engine.module.zero_grad(set_to_none=True)
        clear()
        started = clock.now()
        for part in engine.module.modules():  # as `Engine` does: small maps are the compiler's
            if isinstance(part, WideGradientLinear) and part.weight.numel() < WORTH_A_BREAK:
                part.__class__ = nn.Linear
        compile_parts(engine.module)
        for step in range(3):
            engine.update(step, batches)
        row["compile_s"] = round(clock.now() - started, 2)
        row["compiled_ms"] = 1e3 * block_seconds(engine, batches, clock, n_steps, 1)
        recorded = record(engine)
        torch.cuda.reset_peak_memory_stats()
        row["compiled_graph_ms"] = 1e3 * block_seconds(engine, batches, clock, n_steps, 6)
        row |= {"compiled_graph_possible": recorded.possible, "peak_gb": torch.cuda.max_memory_allocated() / 1e9}
    if clock.cuda:
        row["reserved_gb"] = torch.cuda.memory_reserved() / 1e9
        last = row.get("compiled_graph_ms", row["graph_ms"])
        fixed = itertools.repeat(next(batches))
        row["without_input_ms"] = 1e3 * block_seconds(engine, fixed, clock, n_steps, 1)
        row["input_share"] = 1 - row["without_input_ms"] / last
    ways = {way: row[way] for way in ("eager_ms", "graph_ms", "compiled_ms", "compiled_graph_ms") if way in row}
    best_way = min(sorted(ways), key=lambda way: row[way])
    best = row[best_way] / 1e3
    row |= {"step_ms": 1e3 * best, "best_way": best_way}
    row |= {"share_of_roofline": bound / best, "share_of_map_by_map": one_by_one / best}
    if details:
        row["times_faster_than_plain"] = plain / best
        streamed = streamed_seconds(engine, data, clock, n_steps)
        row["streamed_ms"] = 1e3 * streamed
        if clock.cuda:
            row["streamed_input_share"] = 1 - row["without_input_ms"] / row["streamed_ms"]
    if clock.cuda:
        row["kernels_ms"] = top_kernels(engine, batches)
    batches.close()


def copy_rate(device: str) -> float:
    """Bytes a second that a large copy reads and writes."""
    values = torch.empty(1 << 30, dtype=torch.uint8, device=device)
    other = torch.empty_like(values)
    clock = Clock(device)
    for _ in range(3):
        other.copy_(values)
    started = clock.now()
    for _ in range(20):
        other.copy_(values)
    return 2 * 20 * values.numel() / (clock.now() - started)


def clear() -> None:
    """Give the last case's memory back."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
