"""Scores on validation trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch

from braindec.contracts import FitContext
from braindec.objectives.regression import Regression
from braindec.objectives.view import StepView
from braindec.objectives.weighted import Weighted
from tests.golden.recipes import toy_data, toy_decoder


class Watched(Regression):
    """Notes whether it runs in mixed precision."""

    seen: ClassVar[set[bool]] = set()

    def forward(self, view: StepView) -> torch.Tensor:
        """The loss."""
        self.seen.add(torch.is_autocast_enabled("cpu"))
        return super().forward(view)


def test_objectives_are_float32_in_validation_and_in_training(tmp_path: Path) -> None:
    decoder: Any = toy_decoder("ubp", epochs=1, precision="bf16")
    decoder.objectives = {"mse": Weighted(Watched())}
    Watched.seen.clear()
    encoded: set[bool] = set()
    engine = decoder.prepare(toy_data(True), FitContext(0, "cpu", tmp_path))
    engine.module.network.encoder.register_forward_hook(lambda *_: encoded.add(torch.is_autocast_enabled("cpu")))
    engine.run()
    assert encoded == {True}
    assert Watched.seen == {False}
