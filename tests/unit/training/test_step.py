"""Recorded steps: the plumbing of a CUDA graph with a recorder that runs on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from braindec.contracts import FitContext
from braindec.training.curves import read_curves
from braindec.training.engine import Engine
from braindec.training.step import WARM_UPS, Losses, RecordedPasses
from tests.golden.recipes import OF_TIME, TOY, toy_data, toy_decoder


class Recorder:
    """Like a CUDA graph: what is recorded is not done, and a replay writes to the recording's own memory."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.recorded = 0

    def __call__(self, run: Callable[[], Losses]) -> tuple[Losses, Callable[[], None]]:
        self.recorded += 1
        parameters = [p for p in self.engine.module.parameters() if p.requires_grad]
        before = {name: value.clone() for name, value in self.engine.module.state_dict().items()}
        seed = torch.get_rng_state()
        losses = run()
        self.engine.module.load_state_dict(before)
        torch.set_rng_state(seed)
        gradients = [p.grad for p in parameters]
        losses.values.fill_(float("nan"))
        for gradient in gradients:
            if gradient is not None:
                gradient.fill_(float("nan"))

        def replay() -> None:
            losses.values.copy_(run().values)
            for parameter, gradient in zip(parameters, gradients):
                assert (parameter.grad is None) == (gradient is None)
                if gradient is not None:
                    gradient.copy_(parameter.grad)
                parameter.grad = gradient

        return losses, replay


def trained(recipe: str, folder: Path, recorder: Any = None, **changes: Any) -> tuple[Any, list[float]]:
    decoder = toy_decoder(recipe, epochs=6, **changes)
    engine = decoder.prepare(toy_data(recipe in OF_TIME, n_subjects=2), FitContext(0, "cpu", folder))
    made = None
    if recorder is not None:
        made = recorder(engine)
        engine.passes = RecordedPasses(engine.passes, torch.device("cpu"), made)
    engine.run()
    curves = read_curves(folder)
    assert curves is not None
    return made, list(curves["loss"])


@pytest.mark.parametrize("recipe", sorted(TOY))
def test_a_recorded_step_trains_as_an_ordinary_one(recipe: str, tmp_path: Path) -> None:
    _, plain = trained(recipe, tmp_path / "plain")
    recorder, recorded = trained(recipe, tmp_path / "recorded", Recorder)
    assert recorder.recorded >= 1
    np.testing.assert_allclose(recorded, plain, rtol=1e-5)


def test_phases_and_cycles_have_recordings_of_their_own(tmp_path: Path) -> None:
    recorder, _ = trained("sttm", tmp_path / "a", Recorder)
    assert recorder.recorded == 2  # BiMixCo, then SoftCLIP
    recorder, _ = trained("mindbridge", tmp_path / "b", Recorder)
    assert recorder.recorded == 2  # a cycle either way
    recorder, with_two = trained("ubp", tmp_path / "c", Recorder, accumulate=2, clip_norm=0.5, ema_decay=0.9)
    _, plain = trained("ubp", tmp_path / "d", None, accumulate=2, clip_norm=0.5, ema_decay=0.9)
    assert recorder.recorded == 1
    np.testing.assert_allclose(with_two, plain, rtol=1e-5)


def test_a_step_that_cannot_be_recorded_runs_in_the_ordinary_way(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []

    def broken(engine: Engine) -> Callable[[Callable[[], Losses]], Any]:
        def record(run: Callable[[], Losses]) -> Any:
            tries.append(1)
            run()
            raise RuntimeError("operation not permitted when stream is capturing")

        return record

    _, plain = trained("ubp", tmp_path / "plain")
    with caplog.at_level("WARNING"):
        _, found = trained("ubp", tmp_path / "broken", broken)
    assert len(tries) == 1
    assert "cannot be recorded (operation not permitted" in caplog.text
    assert found == plain
    assert len(found) > WARM_UPS


def test_a_cuda_graph_is_without_effect_on_a_cpu(tmp_path: Path) -> None:
    _, plain = trained("nice", tmp_path / "plain")
    _, asked = trained("nice", tmp_path / "asked", cuda_graph=True)
    assert asked == plain
