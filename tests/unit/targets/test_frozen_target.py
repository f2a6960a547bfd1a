from __future__ import annotations

import hashlib

import numpy as np
import pytest

from braindec.contracts import ImageTarget, Target
from braindec.targets.cache import load_or_compute
from braindec.targets.frozen import FrozenImageTarget, FrozenTarget
from braindec.types import DataError, Stimuli


class MeanColour:
    """Stands in for a frozen network: 3 values a picture; remembers where it ran."""

    batch_size = 2

    def __init__(self, weights: str = "one") -> None:
        self.weights = weights
        self.device = "cpu"
        self.used_on: list[str] = []
        self.seeds: list[int] = []

    def to(self, device: str) -> MeanColour:
        self.device = device
        return self

    def describe(self) -> dict:
        return {"sha256": hashlib.sha256(self.weights.encode()).hexdigest()}

    def encode(self, stimuli: Stimuli) -> np.ndarray:
        self.used_on.append(self.device)
        return np.asarray(stimuli.images).mean(axis=(1, 2), dtype=np.float32)[:, None]

    def encode_batches(self, stimuli: Stimuli, *, rows, kept: str):
        for own in rows:
            yield self.encode(stimuli.view([stimuli.ids[row] for row in own])).astype(kept)

    def decode(self, values: np.ndarray, seeds: list[int]) -> np.ndarray:
        self.seeds = list(seeds)
        return np.broadcast_to(values[:, :, None].round(), (len(values), 2, 2, 3)).astype(np.uint8)


@pytest.fixture
def stimuli() -> Stimuli:
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    return Stimuli(("a", "b", "c"), images=images)


def test_contracts() -> None:
    assert isinstance(FrozenTarget(MeanColour()), Target)
    assert isinstance(FrozenImageTarget(MeanColour()), ImageTarget)
    assert not hasattr(FrozenTarget(MeanColour()), "decode")


def test_embeds_on_the_asked_device_and_rests_on_the_cpu(stimuli: Stimuli) -> None:
    network = MeanColour()
    values = FrozenTarget(network, device="elsewhere").embed(stimuli)
    np.testing.assert_allclose(values[:, 0], stimuli.images.mean(axis=(1, 2)), rtol=1e-6)
    assert (network.used_on, network.device) == (["elsewhere"], "cpu")


def test_the_cache_is_found_again_and_is_another_for_other_weights(stimuli: Stimuli, tmp_path) -> None:
    networks = [MeanColour("one"), MeanColour("one"), MeanColour("two")]
    found = [load_or_compute(FrozenTarget(n, "cpu"), stimuli, tmp_path, "colour") for n in networks]
    # Once for the shape, then two batches.
    assert [len(network.used_on) for network in networks] == [3, 0, 3]
    np.testing.assert_array_equal(found[0].values, found[1].values)
    assert found[0].source["key"] != found[2].source["key"]


@pytest.mark.parametrize("cached", [True, False])
def test_embeddings_are_kept_in_the_dtype_asked_for(stimuli: Stimuli, tmp_path, cached: bool) -> None:
    network = MeanColour()
    target = FrozenTarget(network, "elsewhere", stored="float16")
    found = load_or_compute(target, stimuli, tmp_path if cached else None, "colour")
    np.testing.assert_array_equal(found.values, target.embed(stimuli).astype(np.float16))
    assert found.values.dtype == np.float16
    assert set(network.used_on) == {"elsewhere"}
    assert network.device == "cpu"


def test_each_local_process_takes_its_own_gpu(stimuli: Stimuli, monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    for variable, rank, device in (("LOCAL_RANK", "2", "cuda:2"), ("SLURM_LOCALID", "5", "cuda:1")):
        with monkeypatch.context() as patch:
            patch.setenv(variable, rank)
            network = MeanColour()
            FrozenTarget(network).embed(stimuli)
            assert network.used_on == [device]


def test_noise_seeds_belong_to_the_item(stimuli: Stimuli) -> None:
    network = MeanColour()
    target = FrozenImageTarget(network, "cpu")
    values = target.embed(stimuli)
    target.decode(values)
    together = network.seeds
    target.decode(values[::-1])
    assert network.seeds == together[::-1]
    assert len(set(together)) == 3
    with pytest.raises(DataError, match="NaN"):
        target.decode(np.full_like(values, np.nan))
