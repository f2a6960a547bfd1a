"""Training curves beside the table: TensorBoard and Weights & Biases."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from braindec.training.curves import Curves, read_curves
from braindec.types import DataError


def test_tensorboard_files_hold_the_curves(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    curves = Curves(tmp_path, 0, tensorboard=True)
    for step in (1, 2):
        curves.add(0, step, {"loss": 1 / step})
    curves.save()
    curves.close()
    events = reader.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 1.0), (2, 0.5)]
    table = read_curves(tmp_path)
    assert table is not None
    assert list(table["loss"]) == [1.0, 0.5]


def test_weights_and_biases_is_given_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    run = SimpleNamespace(log=lambda values, step: seen.append((step, values)), finish=lambda: seen.append("end"))
    made = SimpleNamespace(init=lambda **named: seen.append(named) or run)
    monkeypatch.setitem(sys.modules, "wandb", made)
    curves = Curves(tmp_path / "checkpoint", 0, wandb="pictures")
    curves.add(0, 1, {"loss": 0.5})
    curves.close()
    assert seen == [{"project": "pictures", "dir": str(tmp_path / "checkpoint")}, (1, {"loss": 0.5}), "end"]


def test_weights_and_biases_writes_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    curves = Curves(tmp_path / "checkpoint", 0, wandb="pictures")
    curves.add(0, 1, {"loss": 0.5})
    curves.close()
    assert list((tmp_path / "checkpoint" / "wandb").glob("offline-run-*/run-*.wandb"))


def test_a_package_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(DataError, match=r"engine.wandb=pictures: the package wandb is not installed"):
        Curves(tmp_path, 0, wandb="pictures")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(DataError, match="the package tensorboard is not installed"):
        Curves(tmp_path, 0, tensorboard=True)
