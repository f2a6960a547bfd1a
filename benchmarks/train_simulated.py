"""What trainable decoders gain on the simulated data set, where the truth is known. Nothing in it was measured.

    python benchmarks/train_simulated.py ridge objectives transfer --out rows.json    # about 6 minutes on one core

Pictures' 32 principal components are decoded from a mostly nonlinear code (nonlinearity 0.7). Scores on 150 test
pictures, three repetitions averaged: top-1 retrieval by cosine (chance 0.007) from the contrast path where one is
trained, and R2 over all components from the value path where one is trained. Intervals are 95% bootstrap over pictures.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from braindec.artifacts import write_state
from braindec.contracts import Decoder, FitContext, TrainingData
from braindec.datasets.simulated.dataset import Simulated
from braindec.models.adapters.linear import LinearAdapter
from braindec.models.encoders.mlp import ResidualMLP
from braindec.models.heads.dense import TwoHeads
from braindec.models.linear import RidgeDecoder
from braindec.objectives.contrastive import InfoNCE
from braindec.objectives.regression import Regression
from braindec.objectives.weighted import Weighted
from braindec.signals.average import average_repetitions
from braindec.signals.normalise import ZScore
from braindec.targets.image_pca import ImagePCA
from braindec.training.neural import NeuralDecoder
from braindec.training.settings import EngineSettings
from braindec.types import Stimuli, TargetEmbeddings, Trials

ALPHAS = [1.0, 1e1, 1e2, 1e3, 3e3, 1e4, 1e5]
WIDTH = 256


class World:
    """Three simulated subjects with one set of pictures."""

    def __init__(self, n_train: int) -> None:
        self.dataset = Simulated(
            n_subjects=3, n_train=n_train, n_test=150, repetitions_train=1, repetitions_test=3, image_size=32,
            n_voxels=400, ncsnr=2.0, nonlinearity=0.7, drift=0.0, n_sessions=1,
        )  # fmt: skip
        self.stimuli: Stimuli = self.dataset.stimuli()
        self.trials = {subject: self.dataset.trials(subject) for subject in self.dataset.subjects()}
        shown = self.trials["sim01"].table
        self.training_ids = list(dict.fromkeys(shown["stimulus_id"][shown["split"] == "train"]))
        self.pca = ImagePCA(n_components=32, size=32)
        self.pca.fit(self.stimuli.select(self.training_ids))
        ids = tuple(self.stimuli.ids)
        self.target = TargetEmbeddings("pca", ids, self.pca.embed(self.stimuli))

    def data(self, subjects: list[str], n_train: int | None = None) -> tuple[TrainingData, dict[str, Trials]]:
        """Training data (a tenth of it for validation) and averaged test trials."""
        train, validation, test = {}, {}, {}
        for subject in subjects:
            trials = self.trials[subject]
            split = trials.table["split"].to_numpy()
            rows = np.flatnonzero(split == "train")[:n_train]
            scale, n_held = ZScore("all"), max(len(rows) // 10, 20)
            scale.fit(trials.select(rows[:-n_held]))
            train[subject] = scale.apply(trials.select(rows[:-n_held]))
            validation[subject] = scale.apply(trials.select(rows[-n_held:]))
            test[subject] = average_repetitions(scale.apply(trials.select(np.flatnonzero(split == "test"))))
        shown = [t.table["stimulus_id"] for part in (train, validation) for t in part.values()]
        ids = tuple(dict.fromkeys(i for column in shown for i in column))
        return TrainingData(train, validation, {"pca": TargetEmbeddings("pca", ids, self.target.of(ids))}), test


def deep(objectives: Mapping[str, Weighted], batch_size: int = 96, epochs: int = 40, **changes: Any) -> NeuralDecoder:
    """A small residual network with a regression and a contrast head."""
    engine = EngineSettings(
        epochs=epochs, batch_size=batch_size, learning_rate=1e-3, weight_decay=0.05, keep="best", ema_decay=0.99
    )
    return NeuralDecoder(
        partial(LinearAdapter, width=WIDTH),
        partial(ResidualMLP, n_blocks=2, dropout=0.3),
        {"default": partial(TwoHeads, hidden=WIDTH, dropout=0.3)},
        objectives,
        engine,
        scaling="scale",
        **changes,
    )


def clip(weight: float) -> Weighted:
    return Weighted(InfoNCE(temperature=0.1), weight)


def mse(weight: float) -> Weighted:
    return Weighted(Regression(), weight)


def both() -> dict[str, Weighted]:
    return {"clip": clip(0.1), "mse": mse(0.9)}


def bootstrap(values: np.ndarray, of: Any) -> list[float]:
    draw = np.random.default_rng(0)
    found = [of(values[draw.integers(0, len(values), len(values))]) for _ in range(1000)]
    return [float(x) for x in np.percentile(found, [2.5, 97.5])]


def scores(world: World, decoder: Decoder, test: Trials) -> dict[str, Any]:
    """Retrieval and R2, each from the path that was trained for it."""
    mean = world.target.of(world.training_ids)[:, 0].mean(axis=0)
    truth = world.target.of(list(test.table["stimulus_id"]))[:, 0] - mean
    paths = {"top1": "value", "r2": "value"}
    if isinstance(decoder, NeuralDecoder):
        trained = decoder.objectives
        paths = {
            "top1": "contrast" if "clip" in trained else "value",
            "r2": "value" if "mse" in trained else "contrast",
        }
    found: dict[str, Any] = {}
    for score, path in paths.items():
        if isinstance(decoder, NeuralDecoder):
            decoder.predicts = path  # type: ignore[assignment]
        predicted = decoder.predict(test, "cpu")["pca"][:, 0] - mean
        if score == "top1":
            unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (predicted, truth)]
            hits = ((unit[0] @ unit[1].T).argmax(axis=1) == np.arange(len(truth))).astype(float)
            found["top1"], found["top1_ci95"] = float(hits.mean()), bootstrap(hits, np.mean)
        else:
            squares = np.stack([((predicted - truth) ** 2).sum(axis=1), (truth**2).sum(axis=1)], axis=1)
            found["r2"] = float(1 - squares[:, 0].sum() / squares[:, 1].sum())
            found["r2_ci95"] = bootstrap(squares, lambda s: 1 - s[:, 0].sum() / s[:, 1].sum())
    return found


def run(
    world: World, name: str, decoder: Decoder, data: TrainingData, test: Mapping[str, Trials], seed: int = 0
) -> Any:
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        decoder.fit(data, FitContext(seed, "cpu", Path(folder)))
    for subject in data.train:
        row = {"name": name, "subject": subject, "seed": seed, **scores(world, decoder, test[subject])}
        row |= {"trials": len(data.train[subject]), "seconds": round(time.perf_counter() - started, 1)}
        print("  ".join(f"{k}={v:.3f}" if isinstance(v, float) else f"{k}={v}" for k, v in row.items()), flush=True)
        yield row


def ridge(world: World) -> list[dict[str, Any]]:
    """The planted code is nonlinear: a deep decoder against ridge on the same trials."""
    data, test = world.data(["sim01"])
    rows = list(run(world, "ridge", RidgeDecoder(ALPHAS), data, test))
    return rows + list(run(world, "deep", deep(both()), data, test))


def objectives(world: World) -> list[dict[str, Any]]:
    """Contrastive and regression together against either alone, from few trials."""
    data, test = world.data(["sim01"], 600)
    rows = []
    for seed in range(2):
        for name, terms in {"mse": {"mse": mse(1.0)}, "clip": {"clip": clip(1.0)}, "both": both()}.items():
            rows += run(world, f"objectives: {name}", deep(terms, 64), data, test, seed)
    return rows


def transfer(world: World) -> list[dict[str, Any]]:
    """A new subject with a tenth of the trials: from scratch, or a new adapter for a network of two other subjects."""
    data, test = world.data(["sim02", "sim03"])
    pretrained = deep(both())
    rows = list(run(world, "transfer: pretraining", pretrained, data, test))
    few, test = world.data(["sim01"], len(world.training_ids) // 10)
    rows += run(world, "transfer: ridge", RidgeDecoder(ALPHAS), few, test)
    with tempfile.TemporaryDirectory() as folder:
        write_state(Path(folder), pretrained.state())
        for seed in range(2):
            rows += run(world, "transfer: from scratch", deep(both(), 48, 240), few, test, seed)
            adapted = deep(both(), 48, 240, start_from=folder, trainable="adapters")
            rows += run(world, "transfer: adapter", adapted, few, test, seed)
    return rows


def main() -> None:
    parts = {"ridge": ridge, "objectives": objectives, "transfer": transfer}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=list(parts))
    parser.add_argument("--n-train", type=int, default=2400, help="training pictures a subject")
    parser.add_argument("--out", type=Path, help="write the rows as JSON")
    arguments = parser.parse_args()
    world = World(arguments.n_train)
    rows = [row for name in arguments.parts for row in parts[name](world)]
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
