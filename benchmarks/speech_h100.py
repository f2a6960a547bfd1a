"""Heard speech at Gwilliams' size on random data: an epoch's time, its share of the roofline, and target extraction.

    python benchmarks/speech_h100.py --out speech.json        # under a minute on one H100
    python benchmarks/speech_h100.py --tiny                    # seconds on a CPU, for checking the script

27 people, 208 sensors, 56 h as 3 s segments of 360 samples (67,200 trials), targets of 360 x 1024 values, the network
of ``experiment=speech_meg`` in bfloat16. Trials and targets lie in main memory and are streamed; a part of them is
made, the epoch's time is that of the measured steps times the number of steps. Roofline: FLOPs / 777 TFLOP/s (bfloat16
matrix products measured on an H100); FLOPs: 6 a weight and time point of convolutions, linear maps, merger and subject
layers. Extraction: wav2vec2-large with random weights in bfloat16, passage by passage, from samples in main memory to
float32 target embeddings there.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from braindec.contracts import FitContext, TrainingData
from braindec.frozen.wav2vec2 import Wav2Vec2
from braindec.models.adapters.channels import SubjectLayer
from braindec.models.adapters.merger import ChannelMerger
from braindec.models.encoders.dilated_conv import DilatedConvEncoder
from braindec.models.heads.over_time import TimeHead
from braindec.models.shapes import n_parameters
from braindec.objectives.contrastive import InfoNCE
from braindec.objectives.weighted import Weighted
from braindec.signals.passages import Passage
from braindec.targets.passages import PassageTarget
from braindec.training.engine import Engine
from braindec.training.neural import NeuralDecoder
from braindec.training.settings import EngineSettings
from braindec.types import Space, Stimuli, TargetEmbeddings, Trials

FLOPS = 777e12
HOURS, SEGMENT_S = 56.0, 3.0


@dataclasses.dataclass(frozen=True)
class Size:
    """Shapes of the experiment; ``n_made`` trials of each subject and ``n_stimuli`` targets really exist."""

    n_subjects: int = 27
    n_sensors: int = 208
    n_times: int = 360
    n_dims: int = 1024
    n_made: int = 270
    n_stimuli: int = 1350
    batch: int = 256
    hidden: int = 320
    virtual: int = 270
    features: int = 2048

    @property
    def steps_per_epoch(self) -> float:
        """Steps that show 56 h of segments once."""
        return HOURS * 3600 / SEGMENT_S / (self.batch // self.n_subjects * self.n_subjects)


TINY = Size(3, 12, 40, 16, 24, 40, 12, 16, 8, 32)


def random_data(size: Size) -> TrainingData:
    """Trials of all subjects and float16 targets, random numbers."""
    draw = np.random.default_rng(0)
    ids = np.array([f"s{i}" for i in range(size.n_stimuli)])
    block = draw.standard_normal((size.n_made, size.n_sensors, size.n_times), dtype=np.float32)
    places = draw.normal(size=(size.n_sensors, 3))
    places /= 10 * np.linalg.norm(places, axis=1, keepdims=True)
    space = Space("channels", size.n_sensors, positions_m=places * [1, 1, 0.5] + [0, 0, 0.06])
    train = {}
    for subject in range(size.n_subjects):
        chosen = draw.permutation(size.n_stimuli)[: size.n_made]
        table = pd.DataFrame({"stimulus_id": ids[chosen], "concept": "", "session": 1, "run": 1, "repetition": 0})
        train[f"S{subject:02d}"] = Trials(f"S{subject:02d}", block.copy(), "z", space, table.assign(split="train"))
    row = draw.standard_normal((64, size.n_times, size.n_dims), dtype=np.float32).astype(np.float16)
    values = np.resize(row, (size.n_stimuli, size.n_times, size.n_dims))
    return TrainingData(train, {}, {"speech": TargetEmbeddings("speech", tuple(ids), values)})


def decoder_of(size: Size, tiny: bool) -> NeuralDecoder:
    known = {field.name for field in dataclasses.fields(EngineSettings)}
    fast: dict[str, Any] = {} if tiny else {"precision": "bf16"}
    # A recorded step is taken where the engine offers it.
    fast |= {"cuda_graph": True} if "cuda_graph" in known and not tiny else {}
    return NeuralDecoder(
        partial(SubjectLayer, n_channels=size.virtual),
        partial(DilatedConvEncoder, hidden=size.hidden, aggregation="none"),
        {"default": TimeHead},
        {"clip": Weighted(InfoNCE(temperature=1.0, symmetric=False, normalised="target"))},
        EngineSettings(
            1,
            size.batch,
            3e-4,
            weight_decay=0.0,
            schedule="constant",
            warmup=0.0,
            one_per_stimulus=False,
            data_on_device="never",
            **fast,
        ),
        stem=partial(ChannelMerger, n_virtual=size.virtual, n_features=size.features, n_channels=size.virtual),
        predicts="contrast",
    )


def step_flops(engine: Engine, size: Size) -> float:
    """FLOPs of one update, forward and backward."""
    network = engine.module.network
    total = 0.0

    def count(module: nn.Conv1d, _: Any, output: torch.Tensor) -> None:
        nonlocal total
        total += 6.0 * module.weight.numel() * output.shape[0] * output.shape[2]

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv1d)]
    batches = engine.batches(engine.epoch(0)[:1])
    batch = next(batches)
    with torch.no_grad(), torch.autocast(engine.accelerator.device.type, torch.bfloat16):
        network(batch.signals)
    batches.close()
    for hook in hooks:
        hook.remove()
    n_trials = size.batch // size.n_subjects * size.n_subjects
    merge = size.virtual * size.n_sensors + size.virtual * size.virtual
    return total + 6.0 * merge * n_trials * size.n_times + 6.0 * n_trials**2 * size.n_times * size.n_dims


class Clock:
    """Seconds until a device has done what it was given."""

    def __init__(self, device: str) -> None:
        self.cuda = device == "cuda"

    def now(self) -> float:
        if self.cuda:
            torch.cuda.synchronize()
        return time.perf_counter()


def timed_steps(engine: Engine, clock: Clock, seconds: float) -> float:
    """Seconds of an update with its streamed input, the best of three blocks after a warm-up."""
    blocks: list[float] = []
    epoch, step = 0, 0
    engine.wrapped.train()
    until = clock.now() + seconds
    while len(blocks) < 4 and (not blocks or clock.now() < until):
        plan = engine.epoch(epoch)
        batches = engine.batches(plan)
        started = clock.now()
        for _ in plan:
            engine.update(step, batches)
            step += 1
        blocks.append((clock.now() - started) / len(plan))
        batches.close()
        epoch += 1
    return min(blocks[1:] or blocks)


def input_seconds(engine: Engine, clock: Clock) -> float:
    """Seconds of a batch's way to the device by itself."""
    plan = engine.epoch(0)
    batches = engine.batches(plan)
    next(batches)
    started = clock.now()
    for _ in plan[1:]:
        next(batches)
    seconds = (clock.now() - started) / max(1, len(plan) - 1)
    batches.close()
    return seconds


def compute_seconds(engine: Engine, clock: Clock, n_steps: int) -> float:
    """Seconds of an update whose batch is on the device already."""
    plan = engine.epoch(0)
    batches = engine.batches(plan[:1])
    batch = next(batches)
    batches.close()

    def again() -> Any:
        while True:
            yield batch

    same = again()
    for step in range(3):
        engine.update(step, same)
    started = clock.now()
    for step in range(n_steps):
        engine.update(step, same)
    return (clock.now() - started) / n_steps


def training_row(size: Size, device: str, tiny: bool, seconds: float) -> dict[str, Any]:
    clock, data = Clock(device), random_data(size)
    with tempfile.TemporaryDirectory() as folder:
        engine = decoder_of(size, tiny).prepare(data, FitContext(0, device, Path(folder)))
        flops, weights = step_flops(engine, size), n_parameters(engine.module)
        step = timed_steps(engine, clock, seconds)
        alone, given = compute_seconds(engine, clock, 3 if tiny else 20), input_seconds(engine, clock)
    n_trials = size.batch // size.n_subjects * size.n_subjects
    row = {
        "name": "speech_meg, streamed",
        "weights": weights,
        "trials_a_step": n_trials,
        "recorded": bool(getattr(engine.settings, "cuda_graph", False)),
        "step_ms": 1e3 * step,
        "compute_ms": 1e3 * alone,
        "input_ms": 1e3 * given,
        "waits_for_data": max(0.0, 1 - alone / step),
        "roofline_ms": 1e3 * flops / FLOPS,
        "share_of_roofline": flops / FLOPS / step,
        "share_of_roofline_compute": flops / FLOPS / alone,
        "epoch_s": step * size.steps_per_epoch,
        "segments_per_s": n_trials / step,
        "peak_gb": torch.cuda.max_memory_allocated() / 1e9 if clock.cuda else 0.0,
    }
    del engine, data
    gc.collect()
    if clock.cuda:
        torch.cuda.empty_cache()
    return row


def extraction_row(device: str, tiny: bool, seconds: float) -> dict[str, Any]:
    """wav2vec2-large of xlsr-53's architecture: layer norm in the features, stable layer norm, 24 layers of 1024."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    large = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    small = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}
    small |= {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
    config = Wav2Vec2Config(
        **(small if tiny else large), feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True
    )
    with torch.device(device):
        module = Wav2Vec2Model(config)
    weights, layers = n_parameters(module), (2, 3) if tiny else (14, 15, 16, 17, 18)
    module.encoder.layers = module.encoder.layers[: max(layers) + 1]  # as `Wav2Vec2.load` does
    network = Wav2Vec2(device=device, dtype="float32" if tiny else "bfloat16", layers=layers)
    network.adopt(module.requires_grad_(False))
    length_s, clock = 3.0 if tiny else 30.0, Clock(device)
    draw = np.random.default_rng(0)
    sounds = [draw.standard_normal(round(length_s * 16_000)).astype(np.float32) for _ in range(2 if tiny else 16)]
    for _ in range(2):
        network.encode(Stimuli(("warm",), audio=(sounds[0],), audio_rate_hz=16_000.0))
    n_passages, started = 0, clock.now()
    while n_passages == 0 or (clock.now() - started < seconds and not tiny):
        sound = sounds[n_passages % len(sounds)]
        network.encode(Stimuli((f"p{n_passages}",), audio=(sound,), audio_rate_hz=16_000.0))
        n_passages += 1
    whole = clock.now() - started
    target = PassageTarget(network, standardise=False, device=device)
    passage = Passage("p", sounds[0], 16_000.0)
    starts = np.array([0.0]) if tiny else np.arange(0.0, 26.9, 0.4)
    ids = tuple(f"s{i}" for i in range(len(starts)))
    extras = {"passage": (passage,) * len(starts), "start_s": starts, "length_s": np.full(len(starts), 3.0)}
    segments = Stimuli(ids, extras=extras)
    target.fit(segments)
    return {
        "name": "wav2vec2-large targets",
        "weights": weights,
        "passage_s": length_s,
        "audio_s_per_s": n_passages * length_s / whole,
        "passages_per_s": n_passages / whole,
        "segment_shape": list(target.embed(segments).shape[1:]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="small shapes on the CPU")
    parser.add_argument("--out", type=Path, help="write the rows as JSON")
    parser.add_argument("--seconds", type=float, default=14.0, help="longest time of each measurement")
    arguments = parser.parse_args()
    device = "cpu" if arguments.tiny else "cuda"
    if not arguments.tiny:
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "torch": torch.__version__,
        "rows": [],
    }
    parts = {
        "targets": lambda: extraction_row(device, arguments.tiny, arguments.seconds / 2),
        "training": lambda: training_row(TINY if arguments.tiny else Size(), device, arguments.tiny, arguments.seconds),
    }
    for name, part in parts.items():
        try:
            result["rows"].append(part())
        except RuntimeError as error:  # one part out of memory must not cost the other's figures
            result["rows"].append({"name": name, "error": str(error).splitlines()[0]})
        if arguments.out is not None:
            arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
