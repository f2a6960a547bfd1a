"""What training teaches on the simulated data set, where the truth is known. Nothing in it was measured.

    python benchmarks/learning.py objectives shared transfer ceiling --seeds 0 1 2 --out rows.json

Each seed is a world of its own: other scenes, other people, other noise, other starting weights. Two scores of every
test picture: *retrieval*, whether its own embedding is the nearest of all test pictures' by cosine; *reconstruction*, the
correlation of the decoded picture with the true one, both less the mean training picture. Embeddings are the 48 first
principal components of the training pictures. Compared arms share data, network, number of updates and grid of
settings; each arm picks its setting by its own score on the validation pictures.

Intervals (95%) resample pictures within seeds; differences are paired by picture.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from braindec.types import TargetEmbeddings, Trials

ALPHAS = [1.0, 1e1, 1e2, 1e3, 3e3, 1e4, 1e5]
WIDTH = 256
N_VALIDATION = 100
DROPOUT = 0.3


@dataclass
class World:
    """Simulated people and pictures, and the pictures' principal components."""

    dataset: Simulated
    target: TargetEmbeddings
    mean_D: np.ndarray
    trials: dict[str, Trials]

    @classmethod
    def make(cls, seed: int, n_components: int = 48, **knobs: Any) -> World:
        dataset = Simulated(image_size=32, drift=0.0, n_sessions=1, seed=seed, **knobs)
        stimuli = dataset.stimuli()
        trials = {subject: dataset.trials(subject) for subject in dataset.subjects()}
        shown = trials["sim01"].table
        training = list(dict.fromkeys(shown["stimulus_id"][shown["split"] == "train"]))
        pca = ImagePCA(n_components=n_components, size=32)
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


def deep(terms: Mapping[str, Weighted], epochs: int, n_subjects: int, **changes: Any) -> NeuralDecoder:
    """A small residual network with a regression and a contrast head; 64 trials of each subject an update."""
    engine = EngineSettings(
        epochs=epochs, batch_size=64 * n_subjects, learning_rate=1e-3, weight_decay=0.05, keep="last",
        ema_decay=0.99,
    )  # fmt: skip
    return NeuralDecoder(
        partial(LinearAdapter, width=WIDTH, dropout=DROPOUT),
        partial(ResidualMLP, n_blocks=2, dropout=DROPOUT),
        {"default": partial(TwoHeads, hidden=WIDTH, dropout=DROPOUT)},
        terms, engine, **{"scaling": "scale", **changes},
    )  # fmt: skip


def clip(weight: float) -> Weighted:
    return Weighted(InfoNCE(temperature=0.1), weight)


def mse(weight: float) -> Weighted:
    return Weighted(Regression(), weight)


def both() -> dict[str, Weighted]:
    return {"clip": clip(0.75), "mse": mse(0.25)}


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


def people(seed: int, n_subjects: int) -> World:
    """People with a mostly nonlinear code who all see the same 700 training pictures once."""
    return World.make(
        seed,
        n_subjects=n_subjects,
        n_train=700,
        n_test=200,
        repetitions_train=1,
        repetitions_test=2,
        n_voxels=300,
        ncsnr=2.0,
        nonlinearity=0.85,
    )


def objectives(seed: int) -> Iterator[Rows]:
    """Contrast and regression together, 0.75 to 0.25, against either alone."""
    world = people(seed, 1)
    data, test = world.data(["sim01"])
    terms = {"both": both(), "contrast alone": {"clip": clip(1.0)}, "regression alone": {"mse": mse(1.0)}}
    for name, made in terms.items():
        yield score_rows("objectives", name, world, fit(deep(made, 40, 1), data, seed), test, seed)
    yield score_rows("objectives", "ridge", world, fit(RidgeDecoder(ALPHAS), data, seed), test, seed)


def shared(seed: int) -> Iterator[Rows]:
    """One network for four people against four networks; every trial is seen equally often."""
    world = people(seed, 4)
    names = list(world.trials)
    data, test = world.data(names)
    yield score_rows("shared", "one for four", world, fit(deep(both(), 40, 4), data, seed), test, seed)
    for name in names:
        data, test = world.data([name])
        yield score_rows("shared", "four single", world, fit(deep(both(), 40, 1), data, seed), test, seed)


def transfer(seed: int) -> Iterator[Rows]:
    """A new person with a tenth of the trials: a new adapter for a network of three others, or all from scratch."""
    world = people(seed, 4)
    data, _ = world.data(["sim02", "sim03", "sim04"])
    pretrained = fit(deep(both(), 40, 3), data, seed)
    few, test = world.data(["sim01"], 64)
    with tempfile.TemporaryDirectory() as folder:
        write_state(Path(folder), pretrained.state())
        adapter = {"start_from": folder, "trainable": "adapters"}
        for name, how in {"adapter alone": adapter, "from scratch": {}}.items():
            decoder = fit(deep(both(), 300, 1, **how), few, seed)
            yield score_rows("transfer", name, world, decoder, test, seed)
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


CEILING
