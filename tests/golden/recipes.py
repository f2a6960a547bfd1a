"""Toy sizes of the published recipes, toy data for them, and their seeded loss curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from braindec.compose import build, compose
from braindec.contracts import FitContext, TrainingData
from braindec.training.curves import read_curves
from braindec.training.neural import NeuralDecoder
from braindec.types import Space, TargetEmbeddings, Trials

N_UPDATES = 50
PRIOR = ["depth=1", "n_heads=2", "head_width=4", "n_levels=20", "n_steps=4"]
CONVOLUTION = ["n_filters=4", "kernel=5", "pool=9"]


def _set(prefix: str, values: list[str]) -> list[str]:
    return [f"+{prefix}.{value}" for value in values]


TOY = {
    "mindbridge": ["decoder.adapter.pooled_size=20", "decoder.adapter.width=16", "+decoder.adapter.bottleneck=4"],
    "sttm": [
        "decoder.adapter.width=16",
        *_set("decoder.heads.default", ["token_width=8", "n_heads=2", "attention_width=12", "projector_width=16"]),
        *_set("decoder.priors.default", PRIOR),
    ],
    "mindeye2": [
        "decoder.adapter.width=16",
        "decoder.heads.default.projector_width=12",
        "~decoder.priors.default.n_heads",
        "~decoder.priors.default.head_width",
        *_set("decoder.priors.default", PRIOR),
    ],
    "meg_realtime": [
        "+decoder.stem.n_virtual=6",
        "+decoder.stem.n_features=32",
        "decoder.stem.n_channels=6",
        "decoder.adapter.n_channels=6",
        *_set("decoder.encoder", ["hidden=8", "depth=4", "dilation_period=2"]),
        "decoder.encoder.width=12",
        "decoder.heads.default.hidden=12",
        "decoder.engine.keep=last",
        "~decoder.engine.patience",
    ],
    "atm": [
        "decoder.adapter.width=40",
        *_set("decoder.encoder", [*CONVOLUTION, "hidden=16"]),
        *_set("decoder.priors.default", ["widths=[16,8]", "n_time=8", "n_levels=20", "n_steps=4"]),
    ],
    "nice": [*_set("decoder.encoder", CONVOLUTION), "decoder.engine.keep=last"],
    "ubp": [],
    "vit3d": [
        *_set("decoder.stem", ["shape=[4,4,4]", "patch=2"]),
        *_set("decoder.encoder", ["width=16", "depth=2", "n_heads=2"]),
    ],
    "braindec": [
        f"decoder.decoder.members.networks.members.network.{value}"
        for value in (
            "stem.n_virtual=6",
            "stem.n_features=32",
            "adapter.n_channels=6",
            "encoder.width=16",
            "heads.default.hidden=12",
            "objectives.clip.objective.targets=[image,text]",
        )
    ],
    "whole_brain": [
        "decoder.adapter.n_parcels=8",
        "decoder.encoder.depth=2",
        *_set("decoder.encoder", ["width=16", "n_heads=2"]),
    ],
}
OF_TIME = ("meg_realtime", "atm", "nice", "ubp", "whole_brain", "braindec")


def toy_decoder(recipe: str, **engine: Any) -> NeuralDecoder:
    """A recipe at toy size: 2 subjects x 8 trials a step, 5 steps an epoch, float32, one row of the curves a step."""
    config = compose("train", [f"experiment={recipe}", *TOY[recipe]])
    decoder = OmegaConf.to_container(config.decoder)
    assert isinstance(decoder, dict)
    # A recipe that chooses among targets, or averages several networks, trains the one inside.
    decoder = decoder.get("decoder", decoder)
    while "members" in decoder:
        decoder = next(iter(decoder["members"].values()))
    decoder["engine"] |= {"epochs": 10, "batch_size": 16, "log_every": 1, "precision": "float32", "compile": False}
    decoder["engine"] |= engine
    return build(decoder)


def toy_data(of_time: bool, n_subjects: int = 2, n_trials: int = 60, seed: int = 0) -> TrainingData:
    """Signals and two targets that follow from the same few numbers; 40 training and 20 validation stimuli."""
    draw = np.random.default_rng(seed)
    n_space, n_times = (8, 40) if of_time else (30, 1)
    hidden = draw.normal(size=(n_trials, 6))
    ids = tuple(f"s{i:03d}" for i in range(n_trials))
    places = draw.normal(size=(n_space, 3))
    space = Space("channels", n_space, positions_m=places)
    if not of_time:
        # Half the volume only, so that some patches hold no voxel.
        space = Space("voxels", n_space, grid_index=np.stack(np.unravel_index(np.arange(n_space), (3, 5, 4)), axis=1))
    table = pd.DataFrame(
        {"stimulus_id": ids, "concept": "c", "session": 1, "run": 1, "repetition": 1, "split": "train"}
    )
    train, validation = {}, {}
    for number in range(n_subjects):
        subject = f"sub{number + 1}"
        signal = hidden @ draw.normal(size=(6, n_space * n_times)) + 0.3 * draw.normal(
            size=(n_trials, n_space * n_times)
        )
        whole = signal.reshape(n_trials, n_space, n_times).astype(np.float32)
        trials = Trials(subject, whole, "z", space, table)
        train[subject] = trials.select(np.arange(40))
        validation[subject] = trials.select(np.arange(40, n_trials))
    targets = {}
    for name, shape in {"image": (4, 6), "text": (2, 6)}.items():
        values = np.tanh(hidden @ draw.normal(size=(6, shape[0] * shape[1]))).reshape(n_trials, *shape)
        targets[name] = TargetEmbeddings(name, ids, values.astype(np.float32))
    return TrainingData(train, validation, targets)


def loss_curve(recipe: str, folder: Path, epochs: int = 10) -> list[float]:
    """Loss of each update, five an epoch."""
    toy_decoder(recipe, epochs=epochs).fit(toy_data(recipe in OF_TIME), FitContext(0, "cpu", folder))
    curves = read_curves(folder)
    assert curves is not None
    return [float(value) for value in curves["loss"]]
