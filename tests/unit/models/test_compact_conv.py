"""Small convolutional networks, and the signal that they see in training."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from braindec.models.adapters.channels import JitteredSignal
from braindec.models.adapters.linear import LinearAdapter
from braindec.models.adapters.pooled import PooledAdapter, PooledBuilder
from braindec.models.encoders.compact_conv import CompactConv, SpatialTemporalConv
from braindec.models.encoders.mlp import NoEncoder
from braindec.models.heads.dense import ClassHead, LinearHead
from braindec.models.network import BrainNetwork, Parts
from braindec.models.shapes import SignalShape
from braindec.types import DataError


@pytest.mark.parametrize("encoder", [CompactConv, SpatialTemporalConv])
def test_shapes_and_refusals(encoder: Any) -> None:
    made = encoder(in_shape=(5, 41))
    assert tuple(made(torch.randn(3, 5, 41)).shape[1:]) == made.out_shape
    for in_shape, options, message in (
        ((5,), {}, "channels, time"),
        ((5, 41), {"kernel": 4}, "odd kernels"),
        ((5, 3), {}, "fewer than"),
    ):
        with pytest.raises(DataError, match=message):
            encoder(in_shape=in_shape, **options)


def test_a_class_head_gives_probabilities_and_their_logits() -> None:
    output = ClassHead((6,), (1, 4))(torch.randn(3, 6))
    torch.testing.assert_close(output.value_BKD, output.contrast_BKD.softmax(dim=2))


def test_jitter_acts_in_training_alone() -> None:
    signal = torch.randn(40, 6, 30)
    jitter = JitteredSignal(SignalShape(6, 30), noise=0.5, shift=3, channel_dropout=0.3)
    torch.testing.assert_close(jitter.eval()(signal), signal)
    assert not torch.allclose(jitter.train()(signal), signal)


def test_each_kind_of_jitter_does_what_it_says() -> None:
    signal = torch.randn(200, 6, 30)
    shifted = JitteredSignal(SignalShape(6, 30), shift=2)(signal)
    steps = []
    for before, after in zip(signal, shifted, strict=True):
        found = [s for s in range(-2, 3) if torch.equal(after[:, 2:-2], before[:, 2 + s : 28 + s])]
        assert len(found) == 1
        steps += found
        assert torch.equal(after[:, 0], before[:, max(found[0], 0)])
    assert set(steps) == {-2, -1, 0, 1, 2}
    noise = JitteredSignal(SignalShape(6, 30), noise=0.5)(signal * 10) - signal * 10
    assert noise.std().item() == pytest.approx(5.0, rel=0.05)
    dropped = JitteredSignal(SignalShape(6, 30), channel_dropout=0.3)(signal)
    gone = (dropped == 0).all(dim=2)
    assert gone.float().mean().item() == pytest.approx(0.3, abs=0.05)
    torch.testing.assert_close(dropped[~gone], signal[~gone])


def network(pseudo_trials: bool = True) -> BrainNetwork:
    parts = Parts(
        partial(PooledAdapter, pooled_size=4, width=3, bottleneck=2, dropout=0.0),
        NoEncoder,
        {"default": LinearHead},
        builder=PooledBuilder,
        pseudo_trials=pseudo_trials,
    )
    return BrainNetwork(parts, {s: SignalShape(6, 1) for s in ("a", "b", "c")}, {"x": (1, 2)})


def test_pseudo_trials_pass_the_other_subject_s_adapter() -> None:
    made = network()
    signals = {s: torch.randn(n, 6, 1) for s, n in (("a", 2), ("b", 3), ("c", 4))}
    outputs = made(signals, cycle=("b", "c"))
    assert outputs.pseudo is not None
    assert outputs.pseudo.rows == slice(2, 5)
    built = made.builders["c_"](made.adapters["b_"](signals["b"]))
    expected = made.heads["x_"](made.adapters["c_"].embed(built)).value_BKD
    torch.testing.assert_close(outputs.pseudo.value["x"], expected)
    outputs.pseudo.value["x"].sum().backward()
    assert all(p.grad is None for p in made.builders.parameters())
    assert all(p.grad is None for p in made.adapters["b_"].parameters())
    assert any(p.grad is not None for p in made.adapters["c_"].parameters())
    assert made.eval()(signals, cycle=("b", "c")).pseudo is None
    assert network(False)(signals, cycle=("b", "c")).pseudo is None


def test_pseudo_trials_need_a_builder() -> None:
    parts = Parts(partial(LinearAdapter, width=3), NoEncoder, {"default": LinearHead}, pseudo_trials=True)
    with pytest.raises(DataError, match="pseudo_trials"):
        BrainNetwork(parts, {"a": SignalShape(4, 1)}, {"x": (1, 2)})
