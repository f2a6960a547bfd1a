"""A step replayed as a CUDA graph trains as one launched kernel by kernel; streamed data train as resident ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from braindec.contracts import FitContext
from braindec.training import wide_gradients
from braindec.training.curves import read_curves
from braindec.training.step import RecordedPasses
from tests.golden.recipes import OF_TIME, TOY, toy_data, toy_decoder

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]


def losses(recipe: str, folder: Path, **engine: Any) -> list[float]:
    decoder = toy_decoder(recipe, epochs=6, **engine)
    prepared = decoder.prepare(toy_data(recipe in OF_TIME), FitContext(0, "cuda", folder))
    prepared.run()
    if engine.get("cuda_graph"):
        assert isinstance(prepared.passes, RecordedPasses)
        assert prepared.passes.possible, "the step could not be recorded"
        assert prepared.passes.recorded, "no step was recorded"
    curves = read_curves(folder)
    assert curves is not None
    return list(curves["loss"])


@pytest.mark.parametrize("recipe", sorted(TOY))
def test_a_cuda_graph_gives_the_losses_of_single_launches(recipe: str, tmp_path: Path) -> None:
    plain = losses(recipe, tmp_path / "plain")
    recorded = losses(recipe, tmp_path / "recorded", cuda_graph=True)
    np.testing.assert_allclose(recorded, plain, rtol=1e-4)


def test_streamed_data_give_the_losses_of_resident_ones(tmp_path: Path) -> None:
    found = [
        losses("mindbridge", tmp_path / where, data_on_device=where, cuda_graph=graph)
        for where, graph in (("always", False), ("never", True))
    ]
    np.testing.assert_allclose(*found, rtol=1e-4)


def test_wide_gradients_train_as_copied_ones(tmp_path: Path) -> None:
    device = torch.device("cuda")
    if not wide_gradients.possible(device):
        pytest.skip("this torch gives no float32 products of bfloat16 matrices")
    first, second = (torch.randn(shape, device=device).bfloat16() for shape in ((48, 7), (7, 24)))
    torch.testing.assert_close(wide_gradients.wide_product(first, second), first.float() @ second.float())
    found = [
        losses("mindbridge", tmp_path / str(wide), precision="bf16", cuda_graph=True, wide_gradients=wide)
        for wide in (False, True)
    ]
    np.testing.assert_allclose(*found, rtol=0.05)
