"""Parts of trainable networks: shapes, published sizes, and what each must do by definition."""

from __future__ import annotations

import sys
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from braindec.compose import build, compose
from braindec.models.adapters.channels import ChannelTokens, SubjectLayer
from braindec.models.adapters.linear import LinearAdapter, ResidualAdapter, RidgeAdapter
from braindec.models.adapters.merger import ChannelMerger, flat_positions, fourier_features
from braindec.models.adapters.pooled import PooledAdapter, PooledBuilder, pooling_windows
from braindec.models.encoders.braindecode_model import NON_COMMERCIAL, BraindecodeModel
from braindec.models.encoders.dilated_conv import ConvBlock, DilatedConvEncoder
from braindec.models.encoders.mixer import MixerEncoder
from braindec.models.encoders.mlp import NoEncoder, ResidualMLP
from braindec.models.encoders.temporal_spatial import ATMEncoder, TemporalSpatialConv
from braindec.models.heads.dense import LinearHead, ProjectorHead, TwoHeads
from braindec.models.heads.latent_map import LatentMapHead
from braindec.models.heads.token_attention import TokenAttentionHead
from braindec.models.network import BrainNetwork, Parts
from braindec.models.priors.mlp_unet import MLPPrior
from braindec.models.priors.transformer import TransformerPrior
from braindec.models.shapes import SignalShape, n_parameters
from braindec.types import DataError


def true_size(recipe: str, n_space: int, n_times: int, target: tuple[int, int], n_subjects: int = 1) -> BrainNetwork:
    decoder = build(compose("train", [f"experiment={recipe}"]).decoder)
    with torch.device("meta"):
        signals = {f"s{i}": SignalShape(n_space, n_times) for i in range(n_subjects)}
        return BrainNetwork(decoder.parts, signals, {"image": target})


@pytest.mark.parametrize(
    ("part", "published"),
    [("adapters", 64.4e6), ("backbone", 1.90e9), ("priors", 259_865_216), ("all", 2.2e9)],
)
def test_mindeye2_has_its_published_size(part: str, published: float) -> None:
    network = true_size("mindeye2", 15_724, 1, (256, 1664))
    sizes = {"adapters": n_parameters(network.adapters), "priors": n_parameters(network.priors)}
    with torch.device("meta"):
        low_level = n_parameters(LatentMapHead((4096,), (4, 784)))
    sizes["backbone"] = n_parameters(network.encoder) + n_parameters(network.heads) + low_level
    sizes["all"] = sum(sizes.values())
    assert sizes[part] == pytest.approx(published, rel=0.015 if part == "all" else 0.01)


def test_atm_has_its_published_size() -> None:
    network = true_size("atm", 63, 250, (1, 1024), n_subjects=10)
    n_prior = n_parameters(network.priors)
    assert n_parameters(network) - n_prior == pytest.approx(3.66e6, rel=0.01)
    assert n_prior == 9_675_648


def test_mindbridge_s_shapes() -> None:
    network = true_size("mindbridge", 15_724, 1, (257, 768), n_subjects=4)
    weight = network.adapters["s0_"].embedding[1].weight
    assert weight.shape == (2048, 8192)
    assert network.heads["image_"].layers[1].weight.shape == (257 * 768, 2048)
    assert network.builders["s3_"].layers[0].weight.shape == (8192, 2048)
    assert len(network.encoder.layers) == 1 + 4


@pytest.mark.parametrize(
    ("adapter", "signal"),
    [
        (partial(LinearAdapter, width=6), SignalShape(5, 3)),
        (partial(RidgeAdapter, width=6, weight_decay=0.1), SignalShape(5, 3)),
        (partial(ResidualAdapter, width=6), SignalShape(5, 3)),
        (partial(PooledAdapter, pooled_size=7, width=6, bottleneck=2), SignalShape(5, 3)),
        (partial(SubjectLayer, n_channels=4), SignalShape(5, 3)),
        (partial(ChannelTokens, width=7), SignalShape(5, 3)),
    ],
)
def test_adapters_keep_the_shape_that_they_promise(adapter: Any, signal: SignalShape) -> None:
    made = adapter(signal=signal)
    assert tuple(made(torch.randn(2, signal.n_space, signal.n_times)).shape[1:]) == made.out_shape


@pytest.mark.parametrize(
    ("encoder", "in_shape"),
    [
        (partial(ResidualMLP, width=6), (5, 3)),
        (NoEncoder, (5, 3)),
        (MixerEncoder, (6,)),
        (MixerEncoder, (3, 6)),
        (partial(DilatedConvEncoder, hidden=4, depth=3), (5, 20)),
        (partial(DilatedConvEncoder, hidden=4, depth=3, width=6, aggregation="none"), (5, 20)),
        (partial(DilatedConvEncoder, hidden=4, depth=3, width=6, aggregation="linear"), (5, 20)),
        (partial(DilatedConvEncoder, hidden=4, depth=3, width=6, aggregation="mean"), (5, 20)),
        (partial(TemporalSpatialConv, n_filters=3, kernel=5, pool=4, pool_step=3), (5, 20)),
        (partial(ATMEncoder, n_heads=3, hidden=8, n_filters=3, kernel=5, pool=4, pool_step=3), (5, 20)),
    ],
)
def test_encoders_keep_the_shape_that_they_promise(encoder: Any, in_shape: tuple[int, ...]) -> None:
    made = encoder(in_shape=in_shape)
    assert tuple(made(torch.randn(2, *in_shape)).shape[1:]) == tuple(made.out_shape)


@pytest.mark.parametrize(
    "head",
    [
        partial(LinearHead, projector_width=5),
        LinearHead,
        ProjectorHead,
        partial(TwoHeads, hidden=5),
        partial(TokenAttentionHead, token_width=4, n_heads=2, attention_width=6, projector_width=5),
        LatentMapHead,
    ],
)
def test_heads_make_the_target_s_shape(head: Any) -> None:
    output = head(in_shape=(6,), shape_KD=(3, 16))(torch.randn(2, 6))
    assert output.value_BKD.shape == output.contrast_BKD.shape == (2, 3, 16)


def test_merger_s_weights_follow_from_places_alone() -> None:
    draw = np.random.default_rng(0)
    places = draw.normal(size=(9, 3))
    order = draw.permutation(9)
    signals = {"a": SignalShape(9, 4, places), "b": SignalShape(9, 4, places[order])}
    merger = ChannelMerger(signals, n_virtual=5, n_features=32).eval()
    signal = torch.randn(2, 9, 4)
    torch.testing.assert_close(merger(signal, "a"), merger(signal[:, order], "b"))
    constant = merger(torch.ones(1, 9, 4), "a")
    torch.testing.assert_close(constant, torch.ones(1, 5, 4))  # attention weights sum to one


def test_merger_leaves_out_sensors_near_a_random_place_in_training() -> None:
    places = np.random.default_rng(0).normal(size=(30, 3))
    merger = ChannelMerger({"a": SignalShape(30, 1, places)}, n_virtual=3, n_features=32, dropout=0.4)
    seen = torch.stack([merger(torch.eye(30)[:, :, None], "a")[:, 0, 0] for _ in range(20)]).detach()
    zero = seen == 0
    assert zero.any(dim=0).float().mean() > 0.5  # every now and then most sensors are left out
    assert not zero.all(dim=1).any()
    torch.testing.assert_close(seen.sum(dim=1), torch.ones(20))


def test_merger_adds_noise_to_sensors_in_training_alone() -> None:
    places = np.random.default_rng(0).normal(size=(30, 3))
    merger = ChannelMerger({"a": SignalShape(30, 1, places)}, n_virtual=1, n_features=32, dropout=0.0, noise=0.5)
    signal = 10 * torch.randn(4000, 30, 1)
    weights_S = merger.eval()(torch.eye(30)[:, :, None], "a")[:, 0, 0]
    added = (merger.train()(signal, "a") - merger.eval()(signal, "a"))[:, 0, 0]
    # White noise of half the signal's SD at every sensor, then their weighted mean.
    assert added.std().item() == pytest.approx(5.0 * weights_S.norm().item(), rel=0.1)
    torch.testing.assert_close(merger.eval()(signal, "a"), merger.eval()(signal, "a"))


def test_merger_names_the_subject_without_positions() -> None:
    with pytest.raises(DataError, match=r"subject 'a'.*places of its sensors"):
        ChannelMerger({"a": SignalShape(9, 4)})


def test_fourier_features_are_their_definition() -> None:
    place = torch.tensor([[0.3, 0.8]])
    found = fourier_features(place, 3)[0]
    rate = 2 * np.pi / 1.4
    phases = [rate * (i * (0.3 + 0.2) + j * (0.8 + 0.2)) for i in range(3) for j in range(3)]
    np.testing.assert_allclose(found, [*np.cos(phases), *np.sin(phases)], atol=1e-5)


def test_flat_positions_fill_a_unit_square() -> None:
    flat = flat_positions(np.random.default_rng(0).normal(size=(20, 3)))
    assert flat.min() >= 0
    assert flat.max() <= 1 + 1e-6
    assert (flat.max(axis=0) - flat.min(axis=0)).max() == pytest.approx(1, abs=1e-5)


def test_conv_block_is_dilated_convolution_norm_gelu_residual_and_gate() -> None:
    block = ConvBlock(4, 4, kernel=3, dilation=2, dropout=0.0, gate=True, gate_context=1).eval()
    signal = torch.randn(2, 4, 11)
    convolution, norm = block.layers[0], block.layers[1]
    padded = nn.functional.pad(signal, (2, 2))
    plain = torch.stack(
        [sum(convolution.weight[:, :, k] @ padded[:, :, t + 2 * k, None] for k in range(3))[..., 0] for t in range(11)],
        dim=2,
    ) + convolution.bias[:, None]  # fmt: skip
    plain = plain / torch.sqrt(norm.running_var[:, None] + norm.eps)
    plain = nn.functional.gelu(plain) + signal
    gate = block.gate[0]
    gated = nn.functional.conv1d(plain, gate.weight, gate.bias, padding=1)
    torch.testing.assert_close(block(signal), gated[:, :4] * torch.sigmoid(gated[:, 4:]), atol=1e-5, rtol=1e-4)


def test_pooling_refuses_to_repeat_values() -> None:
    with pytest.raises(DataError, match="at most the 5 values"):
        PooledAdapter(SignalShape(5, 1), pooled_size=6, width=3)


def test_atm_uses_every_channel() -> None:
    encoder = ATMEncoder((1 + 5, 20), n_heads=2, hidden=8, n_filters=3, kernel=5, pool=4, pool_step=3).eval()
    tokens = torch.randn(1, 6, 20)
    for channel in range(1, 6):
        changed = tokens.clone()
        changed[:, channel] += torch.randn(20)
        assert not torch.allclose(encoder.convolution(changed[:, 1:]), encoder.convolution(tokens[:, 1:]))


@pytest.mark.parametrize(
    "prior",
    [partial(TransformerPrior, depth=1, n_heads=2, head_width=4), partial(MLPPrior, widths=(32, 16), n_time=16)],
)
def test_a_prior_learns_the_mean_of_constant_targets(prior: Any) -> None:
    torch.manual_seed(0)
    made = prior(shape_KD=(2, 8), n_levels=50, schedule="cosine", predicts="x0", n_steps=5, guidance=1.0)
    target = torch.randn(1, 2, 8).expand(32, 2, 8)
    optimiser = torch.optim.Adam(made.parameters(), lr=3e-3)
    first = made.loss(target, torch.randn(32, 2, 8)).item()
    for _ in range(160):
        optimiser.zero_grad()
        loss = made.loss(target, torch.randn(32, 2, 8))
        loss.backward()
        optimiser.step()
    draws = [made.sample(torch.randn(1, 2, 8), torch.Generator().manual_seed(seed)) for seed in range(16)]
    assert ((torch.cat(draws) - target[:16]) ** 2).mean(dim=(1, 2)).median() < 0.2 * first


def test_guidance_of_one_is_the_conditional_prediction() -> None:
    plain = TransformerPrior((2, 8), depth=1, n_heads=2, head_width=4, n_levels=20, n_steps=3)
    guided = TransformerPrior((2, 8), depth=1, n_heads=2, head_width=4, n_levels=20, n_steps=3, guidance=2.0)
    guided.load_state_dict(plain.state_dict())
    condition = torch.randn(3, 2, 8)
    first, second = (m.sample(condition, torch.Generator().manual_seed(0)) for m in (plain, guided))
    assert not torch.allclose(first, second)


def test_network_needs_one_shape_of_features() -> None:
    parts = Parts(partial(SubjectLayer, n_channels=3), NoEncoder, {"default": LinearHead})
    with pytest.raises(DataError, match="one common shape"):
        BrainNetwork(parts, {"a": SignalShape(4, 5), "b": SignalShape(4, 6)}, {"x": (1, 2)})


def test_network_names_a_target_without_head() -> None:
    parts = Parts(partial(LinearAdapter, width=3), NoEncoder, {"y": LinearHead})
    with pytest.raises(DataError, match="no head for the target 'x'"):
        BrainNetwork(parts, {"a": SignalShape(4, 5)}, {"x": (1, 2)})


def test_builder_and_cycle_see_the_other_subject() -> None:
    parts = Parts(
        partial(PooledAdapter, pooled_size=4, width=3, bottleneck=2, dropout=0.0),
        NoEncoder,
        {"default": LinearHead},
        builder=PooledBuilder,
    )
    network = BrainNetwork(parts, {"a": SignalShape(6, 1), "b": SignalShape(5, 1)}, {"x": (1, 2)})
    signals = {"a": torch.randn(2, 6, 1), "b": torch.randn(3, 5, 1)}
    outputs = network(signals, cycle=("a", "b"))
    source, other = outputs.cycled[0]
    pseudo = network.builders["b_"](network.adapters["a_"](signals["a"]))
    torch.testing.assert_close(other, network.adapters["b_"].embed(pseudo))
    torch.testing.assert_close(source, network.adapters["a_"](signals["a"]))
    assert outputs.value["x"].shape == (5, 1, 2)


@pytest.mark.parametrize("name", sorted(NON_COMMERCIAL))
def test_braindecode_s_non_commercial_networks_are_named(name: str) -> None:
    with pytest.raises(DataError, match=f"{name} is licensed for non-commercial use only"):
        BraindecodeModel((4, 100), name, 8)


def test_braindecode_networks_are_made_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class Net(nn.Module):
        def __init__(self, n_chans: int, n_times: int, n_outputs: int, sfreq: float, drop_prob: float) -> None:
            super().__init__()
            self.given = (n_chans, n_times, n_outputs, sfreq, drop_prob)
            self.layer = nn.Linear(n_chans * n_times, n_outputs)

        def forward(self, signal: torch.Tensor) -> torch.Tensor:
            return self.layer(signal.flatten(1))[:, :, None]

    package = ModuleType("braindecode")
    package.models = ModuleType("braindecode.models")  # type: ignore[attr-defined]
    package.models.Net = Net
    monkeypatch.setitem(sys.modules, "braindecode", package)
    made = BraindecodeModel((4, 10), "Net", 8, rate_hz=250.0, options={"drop_prob": 0.1})
    assert made.network.given == (4, 10, 8, 250.0, 0.1)
    assert made(torch.randn(3, 4, 10)).shape == (3, 8)
    Net._hub_mixin_info = SimpleNamespace(model_card_data=SimpleNamespace(license="cc-by-nc-4.0"))  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"Net is licensed for non-commercial use only \(cc-by-nc-4.0\)"):
        BraindecodeModel((4, 10), "Net", 8, rate_hz=250.0, options={"drop_prob": 0.1})
    BraindecodeModel((4, 10), "Net", 8, 250.0, options={"drop_prob": 0.1}, allow_non_commercial=True)
    with pytest.raises(DataError, match="has no 'Nett'; it has Net"):
        BraindecodeModel((4, 10), "Nett", 8)
    monkeypatch.setitem(sys.modules, "braindecode", None)
    with pytest.raises(DataError, match="pip install "):
        BraindecodeModel((4, 10), "Net", 8)


def test_temporal_convolution_and_pooling_in_one_are_what_they_are_in_turn() -> None:
    part = TemporalSpatialConv((5, 60), n_filters=3, kernel=7, pool=9, pool_step=4)
    signal = torch.randn(2, 5, 60, requires_grad=True)
    found, expected = part.pooled(signal), part.layers[:2](signal[:, None])
    torch.testing.assert_close(found, expected)
    weight = torch.randn_like(found)
    wanted = [signal, *part.layers[0].parameters()]
    for ours, theirs in zip(
        torch.autograd.grad((found * weight).sum(), wanted), torch.autograd.grad((expected * weight).sum(), wanted)
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("n_values", "n_windows"), [(15_724, 8192), (30, 20), (20, 20), (100, 7)])
def test_pooling_by_windows_is_adaptive_pooling(n_values: int, n_windows: int) -> None:
    signal = torch.randn(3, n_values)
    found = signal[:, pooling_windows(n_values, n_windows)].amax(dim=2)
    expected = torch.nn.functional.adaptive_max_pool1d(signal[:, None], n_windows)[:, 0]
    assert torch.equal(found, expected)
