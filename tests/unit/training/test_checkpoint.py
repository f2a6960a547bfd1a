"""Checkpoints on a disk that fills up, broken files, and weights of another shape."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from braindec.artifacts import ArtifactError, write_state
from braindec.contracts import FitContext
from braindec.training.checkpoint import LATEST, Standing, load_checkpoint, save_checkpoint
from braindec.types import DataError
from tests.golden.recipes import toy_data, toy_decoder


def optimised() -> tuple[dict[str, torch.Tensor], torch.optim.Optimizer]:
    weight = torch.nn.Parameter(torch.ones(3, 2))
    optimiser = torch.optim.AdamW([weight])
    weight.sum().backward()
    optimiser.step()
    return {"weight": weight}, optimiser


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("where", ["safetensors.torch.save_file", "torch.save"])
def test_a_disk_that_fills_up_while_saving_keeps_the_last_checkpoint(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, optimiser = optimised()
    save_checkpoint(tmp_path, "f", Standing(5), weights, None, None, optimiser)
    monkeypatch.setattr(where, full)
    with pytest.raises(ArtifactError, match=r"no room for a checkpoint .*; the one before it is kept"):
        save_checkpoint(tmp_path, "f", Standing(10), weights, None, None, optimiser)
    found = load_checkpoint(tmp_path, "f")
    assert found is not None
    assert found.standing.step == 5
    torch.testing.assert_close(found.weights["weight"], weights["weight"].detach())
    assert not list(tmp_path.rglob("*.tmp"))


def test_other_errors_while_saving_are_not_called_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(safetensors.torch, "save_file", broken)
    weights, optimiser = optimised()
    with pytest.raises(OSError, match="Input/output error"):
        save_checkpoint(tmp_path, "f", Standing(1), weights, None, None, optimiser)


def test_a_file_that_is_cut_short_is_named(tmp_path: Path) -> None:
    weights, optimiser = optimised()
    save_checkpoint(tmp_path, "f", Standing(5), weights, None, None, optimiser)
    path = tmp_path / "step-5" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ArtifactError, match=r"weights.safetensors: not readable safetensors"):
        load_checkpoint(tmp_path, "f")


def test_a_checkpoint_of_another_shape_is_refused(tmp_path: Path) -> None:
    data, context = toy_data(False), FitContext(0, "cpu", tmp_path / "checkpoint")
    toy_decoder("mindbridge", epochs=1).fit(data, context)
    wider = toy_decoder("mindbridge", epochs=1)
    wider.parts.adapter.keywords["width"] = 24
    with pytest.raises(DataError, match="other settings, shapes or trials"):
        wider.fit(data, context)
    assert json.loads((context.folder / LATEST).read_text())["step"] == 5


def test_weights_of_another_shape_are_not_started_from(tmp_path: Path) -> None:
    data = toy_data(False)
    first = toy_decoder("mindbridge", epochs=1)
    first.fit(data, FitContext(0, "cpu", tmp_path / "first"))
    write_state(tmp_path / "state", first.state())
    wider = toy_decoder("mindbridge", epochs=1)
    wider.parts.adapter.keywords["width"] = 24
    wider.start_from = str(tmp_path / "state")
    with pytest.raises(DataError, match=r"has shape \(.*\), this network needs"):
        wider.fit(data, FitContext(0, "cpu", tmp_path / "second"))
