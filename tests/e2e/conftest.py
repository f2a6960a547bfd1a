"""One small run, trained, reconstructed and evaluated once for all end-to-end tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from braindec import evaluate, reconstruct, train
from braindec.compose import compose

SMALL = (
    "+dataset.n_subjects=2",
    "+dataset.n_train=80",
    "+dataset.n_test=12",
    "+dataset.n_voxels=200",
    "metric=[pixcorr,ssim,mse,two_way,concept_accuracy]",
    "controls=[shuffled_brain,mean_training_stimulus]",
    "n_resamples=200",
    "device=cpu",
)


def make_run(folder: Path, *overrides: str) -> Path:
    """Train, reconstruct and evaluate a small demo run."""
    train.train(compose("demo", [*SMALL, f"run_dir={folder}", *overrides]))
    reconstruct.reconstruct(compose("reconstruct", [f"run={folder}"]))
    evaluate.evaluate(compose("evaluate", [f"run={folder}"]))
    return folder


@pytest.fixture(scope="session")
def evaluated_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluated run; tests must not change it."""
    return make_run(tmp_path_factory.mktemp("runs") / "first")
