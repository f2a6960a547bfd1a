"""Several runs from one command: Hydra's multirun, and its launchers for clusters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from braindec.artifacts import RunFolder
from braindec.locations import configs_folder
from tests.e2e.conftest import SMALL

ROOT = Path(__file__).resolve().parents[2]


def test_the_slurm_launcher_composes() -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    with initialize_config_dir(str(configs_folder()), version_base="1.3"):
        config = compose("train", ["hydra/launcher=slurm", "hydra.launcher.timeout_min=30"], return_hydra_config=True)
    launcher = config.hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher")
    assert (launcher.timeout_min, launcher.gpus_per_node, launcher.tasks_per_node) == (30, 1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "submitit_local"])
def test_a_sweep_makes_a_run_a_value(launcher: str, tmp_path: Path) -> None:
    if launcher != "basic":
        pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "braindec.cli", "train", "-m", *SMALL, "seed=1,2", f"hydra/launcher={launcher}"]
    places = [f"run_dir={tmp_path}/run_${{seed}}", f"hydra.sweep.dir={tmp_path}/sweep"]
    found = subprocess.run([*command, *places], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr[-3000:]
    runs = [RunFolder.open(tmp_path / f"run_{seed}") for seed in (1, 2)]
    assert [run.manifest()["seed"] for run in runs] == [1, 2]
    assert all((run.predictions("decoded", run.folds()[0]) / "table.csv").exists() for run in runs)
