"""A compiled step, replayed as a CUDA graph, trains as one launched kernel by kernel; the network then predicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from braindec.contracts import FitContext
from braindec.training.curves import read_curves
from tests.golden.recipes import OF_TIME, toy_data, toy_decoder

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]


def trained(recipe: str, folder: Path, device: str, **engine: Any) -> tuple[list[float], dict[str, np.ndarray]]:
    """Losses of each update without dropout, and what the trained network predicts of the training trials."""
    decoder, data = toy_decoder(recipe, epochs=4, **engine), toy_data(recipe in OF_TIME)
    prepared = decoder.prepare(data, FitContext(0, device, folder))
    for part in prepared.module.modules():
        # Compiled code draws other random numbers; nothing has been compiled yet.
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        for name in ("dropout", "attention_dropout", "shuffle"):
            if isinstance(getattr(part, name, None), int | float):
                setattr(part, name, 0)
    prepared.run()
    curves = read_curves(folder)
    assert curves is not None
    return list(curves["loss"]), decoder.predict(data.train["sub1"], device)


@pytest.mark.parametrize("recipe", ["whole_brain", "vit3d", "sttm", "mindeye2"])
def test_compiled_training_follows_the_plain_one(recipe: str, tmp_path: Path) -> None:
    plain, predicted = trained(recipe, tmp_path / "plain", "cuda")
    compiled, found = trained(recipe, tmp_path / "compiled", "cuda", compile=True, cuda_graph=True)
    np.testing.assert_allclose(compiled, plain, rtol=2e-3)
    for name, values in predicted.items():
        distance = np.linalg.norm(found[name] - values) / np.linalg.norm(values)
        assert distance < 0.05, f"{name}: {distance}"
