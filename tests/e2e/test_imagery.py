"""Imagined pictures are found where they were planted, and not where there was nothing to imagine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from braindec import evaluate, train
from braindec.compose import compose
from braindec.datasets.simulated.dataset import Simulated
from braindec.imagery import imagery
from braindec.types import DataError

WORLD = [
    "dataset.n_subjects=2", "dataset.n_train=200", "dataset.n_test=20", "dataset.n_voxels=300",
    "dataset.repetitions_test=1", "target=[words]", "stage=[]", "metric=[retrieval_words]", "controls=[]",
    "noise_ceiling=false", "n_resamples=20", "device=cpu", "decoder.alphas=[300]",
]  # fmt: skip
SMALL = {"n_subjects": 1, "n_train": 20, "n_test": 6, "n_voxels": 80, "n_sessions": 2}


def _run(folder: Path, *overrides: str) -> Path:
    train.train(compose("train", [*WORLD, *overrides, f"run_dir={folder}"]))
    return folder


def test_planted_imagery_is_significant_and_its_absence_is_not(tmp_path: Path) -> None:
    folder = _run(tmp_path / "run", "dataset.n_imagery=15", "dataset.imagery_strength=0.5")
    table = imagery(compose("imagery", [f"run={folder}", "n_permutations=999", "device=cpu"])).set_index("subject")
    assert table.loc["all", "p_value"] <= 0.01
    assert table.loc["all", "two_way"] > 0.65
    assert (table["n_candidates"] == 15).all()
    assert json.loads((folder / "imagery.json").read_text())["rows"][-1]["subject"] == "all"
    evaluate.evaluate(compose("evaluate", [f"run={folder}"]))
    page = (folder / "report.html").read_text()
    assert "What was imagined" in page
    assert f"{table.loc['all', 'p_value']:.4f}" in page
    with pytest.raises(DataError, match=r"expected n_permutations >= 1, found 0"):
        imagery(compose("imagery", [f"run={folder}", "n_permutations=0"]))
    everything = [f"scene-{i:06d}" for i in range(20)]
    wider = imagery(compose("imagery", [f"run={folder}", "n_permutations=99", "device=cpu",
                                        f"candidates=[{','.join(everything)}]"]))  # fmt: skip
    assert (wider["n_candidates"] == 20).all()
    with pytest.raises(DataError, match=r"imagined stimuli are not among the candidates"):
        imagery(compose("imagery", [f"run={folder}", "candidates=[scene-000000]", "device=cpu"]))
    with pytest.raises(DataError, match=r"no trial of task 'dream'; its tasks are \['imagery', 'perception'\]"):
        imagery(compose("imagery", [f"run={folder}", "task=dream", "device=cpu"]))
    trained = sorted({line.split(",")[1] for line in (folder / "folds/published/sim01.csv").read_text().splitlines()
                      if line.endswith(",train")})[:1]  # fmt: skip
    with pytest.raises(DataError, match=r"was trained on 1 of the candidates"):
        imagery(compose("imagery", [f"run={folder}", f"candidates=[{','.join(everything + trained)}]", "device=cpu"]))

    nothing = _run(tmp_path / "nothing", "dataset.n_imagery=15", "dataset.imagery_strength=0", "dataset.n_subjects=1")
    assert imagery(compose("imagery", [f"run={nothing}", "device=cpu"]))["p_value"].iloc[0] > 0.05


def test_a_data_set_without_tasks_is_named(tmp_path: Path) -> None:
    folder = _run(tmp_path / "run", "dataset.n_subjects=1", "dataset.n_train=40")
    with pytest.raises(DataError, match=r"simulated has no column 'task'; give the data set of the imagery trials"):
        imagery(compose("imagery", [f"run={folder}", "device=cpu"]))


def test_imagined_trials_are_weaker_copies_that_neither_train_nor_test() -> None:
    world = Simulated(**SMALL, ncsnr=1000, drift=0, n_imagery=3, repetitions_imagery=2, imagery_strength=0.5)
    trials = world.trials("sim01")
    imagined = trials.table[trials.table["task"] == "imagery"]
    assert len(imagined) == 6
    assert set(imagined["split"]) == {"unused"}
    assert sorted(imagined["repetition"]) == [0, 0, 0, 1, 1, 1]
    assert set(imagined["stimulus_id"]) == set(world.selection.test[:3])
    instrument = world.instrument("sim01")
    for stimulus, row in zip(imagined["stimulus_id"], imagined.index):
        own = trials.table["stimulus_id"] == stimulus
        seen = np.flatnonzero(own & (trials.table["task"] == "perception"))[0]
        deviations = [(trials.signal[i, :, 0] - instrument.baseline_psc) for i in (row, seen)]
        np.testing.assert_allclose(deviations[0], 0.5 * deviations[1], atol=0.1)


def test_without_imagery_nothing_changes() -> None:
    assert "task" not in Simulated(**SMALL).trials("sim01").table
    with pytest.raises(DataError, match=r"n_imagery must be at most n_test \(6\)"):
        Simulated(**SMALL, n_imagery=7)
