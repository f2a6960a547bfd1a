"""Small runs of the whole chain, in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from braindec import evaluate, reconstruct, train
from braindec.artifacts import RunFolder
from braindec.compose import compose

SMALL = [
    "name=demo",
    "dataset.n_train=60",
    "dataset.n_test=12",
    "dataset.n_voxels=300",
    "dataset.repetitions_train=1",
    "dataset.repetitions_test=2",
    "targets.pixels.size=16",
    "metric=[pixcorr_native,ssim_native,mse,two_way,retrieval_words,concept_accuracy]",
    "n_resamples=200",
    "device=cpu",
]


@pytest.fixture(scope="session")
def small_overrides() -> list[str]:
    """Overrides that make a run take seconds."""
    return list(SMALL)


@pytest.fixture(scope="session")
def small_run(tmp_path_factory) -> RunFolder:
    """A trained, reconstructed and evaluated run of two simulated subjects."""
    folder: Path = tmp_path_factory.mktemp("runs") / "small"
    return RunFolder.open(make_run(folder))


def make_run(folder: Path, *overrides: str) -> Path:
    """Train, reconstruct and evaluate a small run."""
    train.train(compose("train", [*SMALL, f"run_dir={folder}", *overrides]))
    reconstruct.reconstruct(compose("reconstruct", [f"run={folder}"]))
    evaluate.evaluate(compose("evaluate", [f"run={folder}"]))
    return folder


@pytest.fixture(scope="session")
def evaluated_run(small_run: RunFolder) -> Path:
    """Folder of `small_run`; tests must not change it."""
    return small_run.path
