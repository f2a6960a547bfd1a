from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from braindec.frozen.base import DecodableNetwork, draw_seeds
from braindec.frozen.loading import LoadReport, load_strictly, read_checkpoint
from braindec.types import DataError, Stimuli


class MeanColour(DecodableNetwork):
    """Mean colour times a weight; decodes to a flat picture with seeded noise."""

    def load(self, path: Path) -> tuple[nn.Module, LoadReport]:
        module = nn.Linear(3, 3, bias=False)
        return module, load_strictly(module, read_checkpoint(path))

    def preprocessing(self) -> dict[str, Any]:
        return {"mean": True}

    def encode_batch(self, inputs: np.ndarray) -> Tensor:
        assert not torch.is_grad_enabled()
        pixels = torch.from_numpy(inputs).to(self.torch_dtype).mean(dim=(1, 2))
        return self.module(pixels).unsqueeze(1)

    def decode_batch(self, values: Tensor, seeds: Sequence[int]) -> Tensor:
        noise = torch.stack([torch.rand(3, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
        return (values[:, 0] / 127.5 - 1 + 0.1 * noise)[:, :, None, None].expand(-1, -1, 4, 4)


@pytest.fixture
def network(tmp_path: Path) -> MeanColour:
    save_file({"weight": torch.eye(3)}, tmp_path / "a.safetensors")
    return MeanColour(str(tmp_path), batch_size=2)


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, (5, 4, 4, 3), dtype=np.uint8)


class Lazy:
    """Images that only give batches, as a memory-mapped file would."""

    shape = (5, 4, 4, 3)

    def __init__(self, pictures: np.ndarray) -> None:
        self.pictures = pictures
        self.asked: list[int] = []

    def __getitem__(self, rows: Any) -> np.ndarray:
        self.asked.append(len(rows))
        return self.pictures[rows]


def test_stimuli_are_read_a_batch_at_a_time_with_progress(network: MeanColour, pictures: np.ndarray) -> None:
    lazy = Lazy(pictures)
    captions: list[str] = []

    def progress(items: Iterable[Any], caption: str) -> Iterable[Any]:
        captions.append(caption)
        return items

    found = network.encode(Stimuli(ids=tuple("abcde"), images=lazy), progress)
    assert lazy.asked == [2, 2, 1]
    assert captions == ["MeanColour (image)"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, 0], pictures.mean(axis=(1, 2)), rtol=1e-5)


def test_the_network_is_frozen_and_described(network: MeanColour) -> None:
    described = network.describe()
    assert not network.module.training
    assert not network.module.weight.requires_grad
    assert described["preprocessing"] == {"mean": True}
    assert described["network"].endswith("MeanColour")
    assert len(described["sha256"]) == 64
    assert network.to("cpu", "bfloat16").module.weight.dtype == torch.bfloat16
    assert network.describe()["dtype"] == "bfloat16"


def test_embeddings_that_are_not_finite_are_refused(network: MeanColour, pictures: np.ndarray) -> None:
    with torch.no_grad():
        network.module.weight.fill_(float("inf"))
    with pytest.raises(DataError, match=r"stimuli 0\.\.1 are not finite in float32"):
        network.encode(pictures)


def test_batches_may_be_chosen_and_kept_in_half_precision(network: MeanColour, pictures: np.ndarray) -> None:
    rows = [np.array([4, 0]), np.array([2])]
    found = list(network.encode_batches(pictures, rows=rows, kept="float16"))
    whole = network.encode(pictures).astype(np.float16)
    assert [part.dtype for part in found] == [np.float16, np.float16]
    for part, own in zip(found, rows, strict=True):
        np.testing.assert_array_equal(part, whole[own])
    loud = nn.Linear(3, 3, bias=False).requires_grad_(False)
    network.adopt(loud)
    loud.weight.copy_(1e4 * torch.eye(3))
    with pytest.raises(DataError, match=r"kept in float16.*keep in float32"):
        list(network.encode_batches(pictures, kept="float16"))


def test_nothing_to_encode_is_refused(network: MeanColour, pictures: np.ndarray) -> None:
    with pytest.raises(DataError, match="at least one stimulus"):
        network.encode(pictures[:0])
    with pytest.raises(DataError, match="no image"):
        network.encode(Stimuli(ids=("a",), texts=("x",)))


def test_decoding_is_seeded_an_item(network: MeanColour, pictures: np.ndarray) -> None:
    values = network.encode(pictures)
    whole = network.decode(values, seeds=[5, 6, 7, 8, 9])
    assert whole.shape == (5, 4, 4, 3)
    np.testing.assert_array_equal(network.decode(values[1:4], seeds=[6, 7, 8]), whole[1:4])
    drawn = draw_seeds(5, torch.Generator().manual_seed(1))
    by_generator = network.decode(values, generator=torch.Generator().manual_seed(1))
    np.testing.assert_array_equal(by_generator, network.decode(values, seeds=drawn))
    with pytest.raises(DataError, match="at least one embedding"):
        network.decode(values[:0])
    with pytest.raises(DataError, match=r"pictures 2\.\.3 are not finite"):
        network.decode(np.where(np.arange(5)[:, None, None] == 3, np.nan, values))
    with pytest.raises(DataError, match="expected 5 seeds, found 2"):
        network.decode(values, seeds=[1, 2])
