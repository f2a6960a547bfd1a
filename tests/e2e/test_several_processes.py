"""``braindec train`` under torchrun: several processes make the run folder that one makes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from braindec.artifacts import RunFolder, read_table
from braindec.training.curves import read_curves
from braindec.training.processes import Processes, joined
from braindec.types import DataError
from tests.e2e.conftest import SMALL

ROOT = Path(__file__).resolve().parents[2]
# Without dropout, whose random numbers differ between processes.
TRAINED = [
    *SMALL,
    "decoder=mindbridge",
    "decoder.adapter.pooled_size=100",
    "decoder.adapter.width=16",
    "decoder.adapter.bottleneck=4",
    "decoder.adapter.dropout=0",
    "decoder.encoder.dropout=0",
    "decoder.engine.precision=float32",
    "decoder.engine.compile=false",
    "decoder.engine.epochs=3",
    "decoder.engine.batch_size=24",
    "decoder.engine.log_every=1",
]


def run(command: list[str], folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    arguments = [*command, "-m", "braindec.cli", "train", *TRAINED, *overrides, f"run_dir={folder}"]
    return subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_two_processes_make_the_run_of_one(tmp_path: Path) -> None:
    two = run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"], tmp_path / "two"
    )
    assert two.returncode == 0, two.stderr[-3000:]
    assert two.stderr.count("predictions are in") == 1
    one = run([sys.executable], tmp_path / "one")
    assert one.returncode == 0, one.stderr[-3000:]
    folders = [RunFolder.open(tmp_path / name) for name in ("one", "two")]
    (fold,) = folders[0].folds()
    curves = [read_curves(folder.decoder(fold) / "checkpoint") for folder in folders]
    assert curves[0] is not None
    assert curves[1] is not None
    for name in curves[0].columns:
        np.testing.assert_allclose(curves[1][name], curves[0][name], rtol=1e-5, atol=1e-7, err_msg=name)
    files = [sorted(p.relative_to(f.path) for p in f.path.rglob("*") if p.is_file()) for f in folders]
    assert files[0] == files[1]
    for path in sorted((tmp_path / "one" / "predictions" / "decoded").rglob("*.npy")):
        other = tmp_path / "two" / path.relative_to(tmp_path / "one")
        np.testing.assert_allclose(np.load(other), np.load(path), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_two_processes_in_bfloat16_follow_one_to_its_rounding(tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    losses = {}
    for name, command in (("one", [sys.executable]), ("two", torchrun)):
        made = run(command, tmp_path / name, "decoder.engine.precision=bf16")
        assert made.returncode == 0, made.stderr[-3000:]
        folder = RunFolder.open(tmp_path / name)
        curves = read_curves(folder.decoder(folder.folds()[0]) / "checkpoint")
        assert curves is not None
        losses[name] = curves["loss"].to_numpy()
    assert np.isfinite(losses["one"]).all()
    np.testing.assert_allclose(losses["two"], losses["one"], rtol=1e-3)


@pytest.mark.slow
def test_two_processes_pre_train_what_one_does(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    sizes = ["n_subjects=1", "n_train=10", "n_test=2", "n_sessions=1", "n_parcels=80", "n_scanned=3", "film_scenes=10"]
    given = [
        *(f"dataset.{size}" for size in [*sizes, "scans_per_run=40"]),
        "decoder=demo_scans",
        "decoder.encoder.width=16",
        "decoder.encoder.dropout=0",
        "pretraining=demo_scans",
        "pretraining.masking=some",
        # As many scans as are hidden, so that processes that draw for themselves hide the same ones.
        "pretraining.share=0.99",
        "pretraining.engine.epochs=2",
        "pretraining.engine.batch_size=8",
        "device=cpu",
    ]
    launches = {"one": [sys.executable], "two": [sys.executable, "-m", "torch.distributed.run", "--standalone",
                                                 "--nproc-per-node", "2"]}  # fmt: skip
    for name, launch in launches.items():
        command = [*launch, "-m", "braindec.cli", "pretrain", *given, f"run_dir={tmp_path / name}"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stderr.count("start a decoder from it") == 1
    tables = [read_table(tmp_path / name / "pretraining.csv") for name in launches]
    np.testing.assert_allclose(tables[0]["loss"], tables[1]["loss"], rtol=1e-3)


def test_one_process_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    alone = joined("cpu")
    assert alone == Processes()
    assert alone.is_main
    assert alone.share("x") == "x"
    assert alone.device("cuda") == "cuda"
    assert Processes(3, 4, 1).device("cuda") == "cuda:1"
    with alone.main_first():
        pass


def test_a_process_without_a_number_or_a_gpu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(DataError, match="torchrun"):
        joined("cpu")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(DataError, match="process 1 of this machine has no GPU: 1 are here"):
        joined("cuda")
