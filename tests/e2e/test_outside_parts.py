"""A data set and a metric from outside the package: one file and one YAML each, through the command line."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

DATASET = '''
import numpy as np
import pandas as pd
from braindec.types import Space, Stimuli, Trials


class Toy:
    """Thirty flat greys; the signal is the grey with noise."""

    name = "toy"

    def __init__(self, noise: float = 0.1) -> None:
        self.noise = noise

    def subjects(self) -> tuple[str, ...]:
        return ("t1",)

    def stimuli(self) -> Stimuli:
        rng = np.random.default_rng(0)
        images = np.broadcast_to(rng.integers(0, 256, (30, 1, 1, 1), dtype=np.uint8), (30, 4, 4, 3)).copy()
        return Stimuli(tuple(f"c{i:02d}" for i in range(30)), images, concepts=("a", "b") * 15)

    def trials(self, subject: str) -> Trials:
        images = self.stimuli().images.reshape(30, -1).astype(np.float32) / 255
        rng = np.random.default_rng(1)
        signal = np.repeat(images, 3, axis=0) + self.noise * rng.standard_normal((90, 48), dtype=np.float32)
        table = pd.DataFrame({
            "stimulus_id": np.repeat([f"c{i:02d}" for i in range(30)], 3),
            "concept": np.repeat(["a", "b"] * 15, 3), "session": 0, "run": 0,
            "repetition": np.tile([0, 1, 2], 30), "split": np.repeat(["train"] * 20 + ["test"] * 10, 3),
        })
        return Trials(subject, signal.astype(np.float32)[:, :, None], "z", Space("channels", 48), table)

    def version(self) -> str:
        return f"toy-{self.noise}"
'''

METRIC = '''
import numpy as np
from braindec.types import Evidence, Scores


class Brightness:
    """Absolute difference of mean brightness."""

    def __init__(self, scale: float = 255.0) -> None:
        self.scale = scale

    def scores(self, evidence: Evidence) -> tuple[Scores, ...]:
        if evidence.images is None:
            return ()
        shown = np.asarray(evidence.gallery.images)[evidence.truth].mean(axis=(1, 2, 3))
        return (Scores("brightness", np.abs(shown - evidence.images.mean(axis=(1, 2, 3))) / self.scale, "lower"),)
'''


@pytest.fixture
def laboratory(tmp_path: Path) -> Path:
    (tmp_path / "toy_dataset.py").write_text(textwrap.dedent(DATASET))
    (tmp_path / "toy_metric.py").write_text(textwrap.dedent(METRIC))
    for group, text in (
        ("dataset", "_target_: toy_dataset.Toy\nnoise: 0.05\n"),
        ("metric", "# @package metrics.brightness\n_target_: toy_metric.Brightness\n"),
    ):
        (tmp_path / "configs" / group).mkdir(parents=True)
        (tmp_path / "configs" / group / ("toy.yaml" if group == "dataset" else "brightness.yaml")).write_text(text)
    return tmp_path


def braindec(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "braindec.cli", *arguments]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_outside_data_set_and_metric_run_through_the_command_line(laboratory: Path) -> None:
    chosen = ["dataset=toy", "target=[pixels]", "targets.pixels.size=4", "stage=[decode_target]"]
    trained = braindec(
        laboratory,
        "train",
        "--config-dir",
        "configs",
        *chosen,
        "metric=[mse,brightness]",
        "run_dir=out",
        "n_resamples=100",
    )
    assert trained.returncode == 0, trained.stderr
    for command in ("reconstruct", "evaluate"):
        done = braindec(laboratory, command, "run=out")
        assert done.returncode == 0, done.stderr
    scores = json.loads((laboratory / "out" / "scores.json").read_text())
    found = scores["metrics"]["brightness"]
    assert found["direction"] == "lower"
    assert found["ci95"][1] < scores["controls"]["shuffled_brain"]["brightness"]["value"]


def test_a_misspelt_key_of_an_outside_part_is_caught(laboratory: Path) -> None:
    (laboratory / "configs" / "dataset" / "toy.yaml").write_text("_target_: toy_dataset.Toy\nnoize: 0.05\n")
    done = braindec(laboratory, "train", "--config-dir", "configs", "dataset=toy", "run_dir=out")
    assert done.returncode == 2
    assert "dataset.noize: unknown key; did you mean 'noise'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (laboratory / "out").exists()
