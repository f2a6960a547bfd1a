"""What training teaches on the simulated data set, where the truth is known. Nothing in it was measured.

    python benchmarks/learning.py objectives shared transfer ceiling --seeds 0 1 2 3 4 5 --processes 16 --out rows.json

Each seed is a world of its own: other scenes, other people, other noise, other starting weights. Two scores of every
test picture: *retrieval*, whether its own embedding is the nearest of all test pictures' by cosine; *reconstruction*,
the correlation of the decoded picture with the true one, both less the mean training picture. Embeddings are the 48
first principal components of the training pictures. Compared arms share data, network and settings, but for the two of
a new person, each of which has the learning rate, dropout and epochs that served it best. Settings were fixed on worlds
100 to 103.

Intervals (95%) resample pictures within seeds; differences are paired by picture.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

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
from braindec.types import TargetEmbeddings, Trials

ALPHAS = [1.0, 1e1, 1e2, 1e3, 3e3, 1e4, 1e5]
WIDTH = 512
SHARED: dict[str, Any] = {"dropout": 0.2, "adapter_dropout": 0.4, "batch": 16}
"""Dropout was the best of those tried on worlds 100 and 101, the batch (of 16, 32, 64) on world 100, for either arm."""
N_VALIDATION = 100


@dataclass
class World:
    """Simulated people and pictures, and the pictures' principal components."""

    dataset: Simulated
    target: TargetEmbeddings
    mean_D: np.ndarray
    trials: dict[str, Trials]

    @classmethod
    def make(cls, seed: int, **knobs: Any) -> World:
        dataset = Simulated(image_size=32, drift=0.0, n_sessions=1, seed=seed, **knobs)
        stimuli = dataset.stimuli()
        trials = {subject: dataset.trials(subject) for subject in dataset.subjects()}
        shown = trials["sim01"].table
        training = list(dict.fromkeys(shown["stimulus_id"][shown["split"] == "train"]))
        pca = ImagePCA(n_components=48, size=32)
        pca.fit(stimuli.select(training[: -N_VALIDATION or None]))
        target = TargetEmbeddings("pca", tuple(stimuli.ids), pca.embed(stimuli))
        return cls(dataset, target, target.of(training)[:, 0].mean(axis=0), trials)

    def data(self, subjects: Sequence[str], n_train: int | None = None) -> tuple[TrainingData, dict[str, Trials]]:
        """Training trials, validation trials (of the last training pictures) and averaged test trials."""
        train, validation, test = {}, {}, {}
        for subject in subjects:
            trials = self.trials[subject]
            split = trials.table["split"].to_numpy()
            shown = trials.table["stimulus_id"]
            ids = list(dict.fromkeys(sorted(shown[split == "train"])))
            held, kept = set(ids[-N_VALIDATION:]), set(ids[:-N_VALIDATION][:n_train])
            rows = {name: np.flatnonzero((split == "train") & shown.isin(part)) for name, part in
                    (("train", kept), ("validation", held))}  # fmt: skip
            scale = ZScore("all")
            scale.fit(trials.select(rows["train"]))
            train[subject] = scale.apply(trials.select(rows["train"]))
            validation[subject] = scale.apply(trials.select(rows["validation"]))
            test[subject] = average_repetitions(scale.apply(trials.select(np.flatnonzero(split == "test"))))
        shown = [t.table["stimulus_id"] for part in (train, validation) for t in part.values()]
        seen = tuple(dict.fromkeys(i for column in shown for i in column))
        return TrainingData(train, validation, {"pca": TargetEmbeddings("pca", seen, self.target.of(seen))}), test


def deep(
    terms: Mapping[str, Weighted],
    epochs: int,
    n_subjects: int,
    dropout: float = 0.5,
    adapter_dropout: float | None = None,
    learning_rate: float = 1e-3,
    batch: int = 64,
    **changes: Any,
) -> NeuralDecoder:
    """A residual network with a regression and a contrast head; ``batch`` trials of each subject an update."""
    engine = EngineSettings(
        epochs=epochs, batch_size=batch * n_subjects, learning_rate=learning_rate, weight_decay=0.05, keep="last",
        ema_decay=0.99,
    )  # fmt: skip
    return NeuralDecoder(
        partial(LinearAdapter, width=WIDTH, dropout=dropout if adapter_dropout is None else adapter_dropout),
        partial(ResidualMLP, n_blocks=2, dropout=dropout),
        {"default": partial(TwoHeads, hidden=WIDTH, dropout=dropout)},
        terms, engine, **{"scaling": "scale", **changes},
    )  # fmt: skip


def clip(weight: float) -> Weighted:
    return Weighted(InfoNCE(temperature=0.1), weight)


def mse(weight: float) -> Weighted:
    return Weighted(Regression(), weight)


def both(contrast: float = 0.25) -> dict[str, Weighted]:
    return {"clip": clip(contrast), "mse": mse(1 - contrast)}


def item_scores(world: World, decoder: Decoder, trials: Trials) -> dict[str, np.ndarray]:
    """Retrieval and reconstruction of every trial, each from what was trained for it.

    A network with both losses is asked for both heads' similarities together, and for the regression head's pictures;
    with one loss, that loss's head must serve for both.
    """
    truth = world.target.of(list(trials.table["stimulus_id"]))[:, 0] - world.mean_D
    paths: dict[str, Any] = {"retrieval": "value", "reconstruction": "value"}
    if isinstance(decoder, NeuralDecoder):
        if "mse" not in decoder.objectives:
            paths = {"retrieval": "contrast", "reconstruction": "contrast"}
        elif "clip" in decoder.objectives:
            paths = {"retrieval": "joint", "reconstruction": "value"}
    found = {}
    for score, path in paths.items():
        if isinstance(decoder, NeuralDecoder):
            decoder.predicts = path
        predicted = decoder.predict(trials, "cpu")["pca"][:, 0] - world.mean_D
        unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (predicted, truth)]
        if score == "retrieval":
            found[score] = ((unit[0] @ unit[1].T).argmax(axis=1) == np.arange(len(truth))).astype(float)
        else:
            # Components are orthonormal: the cosine of centred components is the pictures' correlation about the mean.
            found[score] = (unit[0] * unit[1]).sum(axis=1)
    return found


def fit(decoder: Decoder, data: TrainingData, seed: int) -> Any:
    """The fitted decoder."""
    with tempfile.TemporaryDirectory() as folder:
        decoder.fit(data, FitContext(seed, "cpu", Path(folder)))
    return decoder


Rows = list[dict[str, Any]]


def score_rows(part: str, arm: str, world: World, decoder: Any, test: Mapping[str, Trials], seed: int) -> Rows:
    rows = []
    for subject, trials in test.items():
        for score, values in item_scores(world, decoder, trials).items():
            rows.append({"part": part, "arm": arm, "seed": seed, "subject": subject, "score": score, "values": values})
    return rows


def people(seed: int, n_subjects: int, n_train: int) -> World:
    """People with a mostly nonlinear code who all see the same training pictures once."""
    return World.make(seed, n_subjects=n_subjects, n_train=n_train + N_VALIDATION, n_test=400, repetitions_train=1,
                      repetitions_test=2, n_voxels=300, ncsnr=2.0, nonlinearity=0.85)  # fmt: skip


def objectives(seed: int) -> Iterator[Rows]:
    """Contrast and regression together against either alone: 2,000 trials of one person."""
    world = people(seed, 1, 2000)
    data, test = world.data(["sim01"])
    arms = {"both": both(0.05), "contrast alone": {"clip": clip(1.0)}, "regression alone": {"mse": mse(1.0)}}
    for name, terms in arms.items():
        decoder = fit(deep(terms, 30, 1, dropout=0.3), data, seed)
        yield score_rows("objectives", name, world, decoder, test, seed)
    yield score_rows("objectives", "ridge", world, fit(RidgeDecoder(ALPHAS), data, seed), test, seed)


def shared(seed: int) -> Iterator[Rows]:
    """One network for four people against four networks; every one of 600 trials is seen equally often."""
    world = people(seed, 4, 600)
    data, test = world.data(list(world.trials))
    yield score_rows("shared", "one for four", world, fit(deep(both(), 60, 4, **SHARED), data, seed), test, seed)
    for name in world.trials:
        own, own_test = world.data([name])
        yield score_rows("shared", "four single", world, fit(deep(both(), 60, 1, **SHARED), own, seed), own_test, seed)


def transfer(seed: int) -> Iterator[Rows]:
    """A new person with a tenth of the trials: a new adapter for a network of seven others, or all from scratch."""
    world = people(seed, 8, 640)
    data, _ = world.data(list(world.trials)[1:])
    pretrained = fit(deep(both(), 60, 7), data, seed)
    few, test = world.data(["sim01"], 64)
    with tempfile.TemporaryDirectory() as folder:
        write_state(Path(folder), pretrained.state())
        start = {"start_from": folder, "trainable": "adapters"}
        arms = {
            "adapter alone": deep(both(), 150, 1, adapter_dropout=0.6, learning_rate=3e-3, **start),
            "from scratch": deep(both(), 400, 1, learning_rate=3e-3),
        }
        for name, decoder in arms.items():
            yield score_rows("transfer", name, world, fit(decoder, few, seed), test, seed)
    yield score_rows("transfer", "ridge", world, fit(RidgeDecoder(ALPHAS), few, seed), test, seed)


def ideal_retrieval(world: World, trials: Trials) -> np.ndarray:
    """Whether the most likely of all test pictures is the true one, for who knows the code and its noise exactly.

    No decoder can do better: it compares the trials, as measured, with the noiseless response to every candidate, each
    voxel weighed by its planted noise-ceiling SNR.
    """
    dataset, subject = world.dataset, trials.subject
    known = dataset.instrument(subject)
    shown = list(trials.table["stimulus_id"])
    response_GS = dataset.cortex(subject).respond(dataset.features)[dataset.stimuli().rows(shown)]
    seen_GS = (trials.signal[:, :, 0] - known.baseline_psc) / known.amplitude_psc
    weighed = [x * known.ncsnr for x in (seen_GS, response_GS)]
    distance_GG = ((weighed[0][:, None] - weighed[1][None]) ** 2).sum(axis=2)
    return (distance_GG.argmin(axis=1) == np.arange(len(shown))).astype(float)


def ceiling(seed: int) -> Iterator[Rows]:
    """Retrieval of single test trials against the ideal observer's, for two levels of noise and a linear code.

    The embedding is what a picture's pixels say of colour and of contrast at each place (`SceneFeatures.colour` and
    ``energy``): 64 standardised principal components of each over the training pictures.
    """
    for ncsnr in (0.4, 1.0):
        dataset = Simulated(image_size=32, drift=0.0, n_sessions=1, seed=seed, n_subjects=1, n_train=2600, n_test=200,
                            repetitions_train=1, repetitions_test=1, n_voxels=400, ncsnr=ncsnr)  # fmt: skip
        trials = {"sim01": dataset.trials("sim01")}
        shown = trials["sim01"].table
        ids = dataset.stimuli().ids
        training = sorted(set(shown["stimulus_id"][shown["split"] == "train"]))[:-N_VALIDATION]
        rows = dataset.stimuli().rows(training)
        blocks = [standard_components(f, rows, 64) for f in (dataset.features.colour, dataset.features.energy)]
        target = TargetEmbeddings("pca", ids, np.concatenate(blocks, axis=1)[:, None].astype(np.float32))
        world = World(dataset, target, np.zeros(128), trials)
        data, test = world.data(["sim01"])
        raw = average_repetitions(trials["sim01"].select(np.flatnonzero(shown["split"] == "test")))
        part = f"ceiling at ncsnr {ncsnr}"
        yield [{"part": part, "arm": "ideal observer", "seed": seed, "subject": "sim01", "score": "retrieval",
                "values": ideal_retrieval(world, raw)}]  # fmt: skip
        found = score_rows(part, "ridge", world, fit(RidgeDecoder(ALPHAS), data, seed), test, seed)
        yield [row for row in found if row["score"] == "retrieval"]


def standard_components(features: np.ndarray, rows: np.ndarray, n: int) -> np.ndarray:
    """Principal components (pictures, n) of mean 0 and SD 1 over the given rows."""
    from sklearn.decomposition import PCA

    flat = features.reshape(len(features), -1)
    return PCA(n, whiten=True, svd_solver="randomized", random_state=0).fit(flat[rows]).transform(flat)


PARTS = {"objectives": objectives, "shared": shared, "transfer": transfer, "ceiling": ceiling}


def summary(rows: Rows, n_resamples: int = 2000) -> list[dict[str, Any]]:
    """Mean, interval over pictures within seeds, and the paired difference of the part's first arm from each other."""
    found = []
    keys = list(dict.fromkeys((row["part"], row["score"]) for row in rows))
    for part, score in keys:
        inside = [row for row in rows if (row["part"], row["score"]) == (part, score)]
        arms = list(dict.fromkeys(row["arm"] for row in inside))
        # People of one seed see the same pictures: a resampled picture takes all people with it.
        values = {a: _by_seed([row for row in inside if row["arm"] == a]) for a in arms}
        n_seeds, n_pictures = values[arms[0]].shape
        picks = np.random.default_rng(0).integers(0, n_pictures, (n_resamples, n_seeds, n_pictures))

        def drawn(means_SP: np.ndarray, picks: np.ndarray = picks) -> list[float]:
            taken = np.take_along_axis(np.broadcast_to(means_SP, picks.shape), picks, axis=2)
            return [float(x) for x in np.percentile(taken.mean(axis=(1, 2)), [2.5, 97.5])]

        for arm in arms:
            above = values[arms[0]] - values[arm]
            found.append(
                {"part": part, "score": score, "arm": arm, "value": float(values[arm].mean()),
                 "ci95": drawn(values[arm]), "first_above": float(above.mean()), "first_above_ci95": drawn(above),
                 "first_above_by_seed": above.mean(axis=1).tolist()}
            )  # fmt: skip
    return found


def _by_seed(rows: Rows) -> np.ndarray:
    """Means over people, (seeds, pictures)."""
    seeds = sorted({row["seed"] for row in rows})
    return np.stack([np.mean([r["values"] for r in rows if r["seed"] == seed], axis=0) for seed in seeds])


def measured(job: tuple[str, int]) -> Rows:
    """All rows of a part in one world."""
    part, seed = job
    torch.set_num_threads(1)
    started = time.perf_counter()
    rows: Rows = []
    for made in PARTS[part](seed):
        rows += made
        means = {row["score"]: round(float(row["values"].mean()), 3) for row in made}
        print(f"{part}, seed {seed}, {made[0]['arm']}: {means}", flush=True)
    print(f"{part}, seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=list(PARTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the table as JSON")
    arguments = parser.parse_args()
    jobs = [(part, seed) for part in arguments.parts for seed in arguments.seeds]
    rows: Rows = []
    with get_context("spawn").Pool(arguments.processes) as pool:
        for made in pool.imap_unordered(measured, jobs):
            rows += made
            table = summary(sorted(rows, key=lambda row: (row["part"], row["seed"])))
            if arguments.out is not None:
                arguments.out.write_text(json.dumps(table, indent=1) + "\n")
    print(pd.DataFrame(table).round(4).to_string(index=False))


if __name__ == "__main__":
    main()
