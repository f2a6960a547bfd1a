"""Decoders at their published sizes, with random data of the true shapes, for benchmarks of training."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from braindec.contracts import TrainingData
from braindec.models.adapters.channels import ChannelTokens, FlattenAdapter, IdentityAdapter
from braindec.models.adapters.linear import ResidualAdapter, RidgeAdapter
from braindec.models.adapters.pooled import PooledAdapter, PooledBuilder
from braindec.models.encoders.mixer import MixerEncoder
from braindec.models.encoders.mlp import NoEncoder, ResidualMLP
from braindec.models.encoders.temporal_spatial import ATMEncoder
from braindec.models.heads.dense import LinearHead, ProjectorHead
from braindec.models.heads.token_attention import TokenAttentionHead
from braindec.models.priors.transformer import TransformerPrior
from braindec.objectives.contrastive import InfoNCE, SoftCLIP
from braindec.objectives.internal import Cycle, PriorLoss, Reconstruction
from braindec.objectives.regression import Regression
from braindec.objectives.weighted import Weighted
from braindec.training.neural import NeuralDecoder
from braindec.training.settings import EngineSettings
from braindec.types import Space, TargetEmbeddings, Trials


def random_data(
    n_trials: int,
    n_space: int,
    n_times: int,
    targets: Mapping[str, tuple[int, int]],
    grid_index: np.ndarray | None = None,
) -> TrainingData:
    """One subject's trials and targets of standard normal numbers."""
    draw = np.random.default_rng(0)
    ids = tuple(f"s{i}" for i in range(n_trials))
    signal = draw.standard_normal((n_trials, n_space, n_times), dtype=np.float32)
    table = pd.DataFrame(
        {
            "stimulus_id": ids,
            "concept": "c",
            "session": 1,
            "run": 1,
            "repetition": 1,
            "split": "train",
        }
    )
    trials = Trials("s", signal, "z", Space("voxels", n_space, grid_index=grid_index), table)
    embeddings = {
        name: TargetEmbeddings(name, ids, draw.standard_normal((n_trials, *shape), dtype=np.float32))
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


def sttm(tiny: bool, fast: dict[str, Any]) -> tuple[NeuralDecoder, TrainingData, int]:
    width, shape, batch = (16, (4, 8), 8) if tiny else (4096, (257, 768), 128)
    head = partial(TokenAttentionHead, token_width=8, n_heads=2, attention_width=12, projector_width=16)
    prior = partial(TransformerPrior, depth=1, n_heads=2, head_width=4)
    decoder = NeuralDecoder(
        partial(ResidualAdapter, width=width),
        ResidualMLP,
        {"default": head if tiny else TokenAttentionHead},
        {"soft_clip": Weighted(SoftCLIP()), "prior": Weighted(PriorLoss(), 30.0)},
        engine_settings(100, batch, **fast),
        priors={"default": prior if tiny else TransformerPrior},
    )
    return decoder, random_data(4 * batch, 100 if tiny else 15_724, 1, {"image": shape}), batch


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
    return decoder, random_data(4 * batch, 100 if tiny else 15_724, 1, {"image": shape}), batch


def ubp(tiny: bool, fast: dict[str, Any], n_trials: int = 16_540) -> tuple[NeuralDecoder, TrainingData, int]:
    n_trials, batch, epochs = (64, 16, 2) if tiny else (n_trials, 1024, 50)
    decoder = NeuralDecoder(
        FlattenAdapter,
        NoEncoder,
        {"default": partial(ProjectorHead, dropout=0.3)},
        {"clip": Weighted(InfoNCE(temperature=0.366, learn_temperature=True, normalised="target"))},
        engine_settings(epochs, batch, schedule="constant", warmup=0.0, weight_decay=1e-4, **fast),
    )
    return decoder, random_data(n_trials, 17, 50 if tiny else 250, {"image": (1, 32 if tiny else 1024)}), batch


def atm(tiny: bool, fast: dict[str, Any], epochs: int = 40) -> tuple[NeuralDecoder, TrainingData, int]:
    n_trials, n_times, batch = (64, 100, 16) if tiny else (16_540, 250, 64)
    decoder = NeuralDecoder(
        partial(ChannelTokens, width=n_times),
        ATMEncoder,
        {"default": ProjectorHead},
        {"clip": Weighted(InfoNCE(temperature=0.376, learn_temperature=True, normalised="target"))},
        engine_settings(epochs, batch, schedule="constant", warmup=0.0, **fast),
    )
    return decoder, random_data(n_trials, 8 if tiny else 63, n_times, {"image": (1, 32 if tiny else 1024)}), batch


def vit3d(tiny: bool, fast: dict[str, Any]) -> tuple[NeuralDecoder, TrainingData, int]:
    """Raises ImportError where this version has no such recipe."""
    from braindec.models.adapters.volume import VolumePatches
    from braindec.models.encoders.transformer import TokenTransformer
    from braindec.models.heads.dense import PerceptronHead

    sizes = (12, 12, 12) if tiny else (81, 104, 83)
    batch, n_voxels, target = (8, 100, (2, 8)) if tiny else (128, 15_724, (257, 768))
    draw = np.random.default_rng(0)
    grid = np.stack([draw.integers(0, size, n_voxels) for size in sizes], axis=1)
    small = {"shape": (12, 12, 12), "patch": 4} if tiny else {}
    decoder = NeuralDecoder(
        IdentityAdapter,
        partial(TokenTransformer, skip_empty=True, **({"width": 16, "depth": 1, "n_heads": 2} if tiny else {})),
        {"default": PerceptronHead},
        {"mse": Weighted(Regression())},
        engine_settings(100, batch, **fast),
        stem=partial(VolumePatches, **small),
    )
    return decoder, random_data(4 * batch, n_voxels, 1, {"image": target}, grid), batch


def whole_brain(tiny: bool, fast: dict[str, Any]) -> tuple[NeuralDecoder, TrainingData, int]:
    """Raises ImportError where this version has no such recipe."""
    from braindec.models.adapters.parcels import ParcelSequence
    from braindec.models.encoders.transformer import TokenTransformer

    small = {"width": 16, "n_heads": 2} if tiny else {}
    batch, n_parcels, target = (8, 20, (1, 8)) if tiny else (64, 1024, (1, 768))
    decoder = NeuralDecoder(
        partial(ParcelSequence, dropout=0.2, shuffle=True),
        partial(TokenTransformer, depth=4, pooling="last", causal=True, **small),
        {"default": LinearHead},
        {"clip": Weighted(InfoNCE(learn_temperature=True))},
        engine_settings(100, batch, **fast),
    )
    return decoder, random_data(16 * batch, n_parcels, 5, {"image": target}), batch
