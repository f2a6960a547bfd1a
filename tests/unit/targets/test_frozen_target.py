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
    assert [len(network.used_on) for network in networks] == [1, 0, 1]
    np.testing.assert_array_equal(found[0].values, found[1].values)
    assert found[0].source["key"] != found[2].source["key"]


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
