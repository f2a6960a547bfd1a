"""The convolutional M/EEG decoder against neuraltrain's SimpleConvTimeAgg (MIT), given the same weights.

Install neuraltrain (it needs Python 3.12), or put a checkout's ``neuraltrain-repo`` and ``exca`` on PYTHONPATH.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from braindec.models.adapters.channels import SubjectLayer
from braindec.models.adapters.merger import ChannelMerger
from braindec.models.encoders.dilated_conv import DilatedConvEncoder
from braindec.models.shapes import SignalShape

simpleconv = pytest.importorskip("neuraltrain.models.simpleconv", reason="neuraltrain is not installed")
common = pytest.importorskip("neuraltrain.models.common", reason="neuraltrain is not installed")

N_SENSORS, N_TIMES, N_VIRTUAL, HIDDEN, DEPTH, WIDTH = 11, 40, 6, 8, 7, 5
SUBJECTS = ("a", "b")


def ours() -> tuple[ChannelMerger, dict[str, SubjectLayer], DilatedConvEncoder]:
    draw = np.random.default_rng(0)
    signals = {s: SignalShape(N_SENSORS, N_TIMES, draw.normal(size=(N_SENSORS, 3))) for s in SUBJECTS}
    stem = ChannelMerger(signals, N_VIRTUAL, n_features=32, dropout=0.0, n_channels=N_VIRTUAL)
    adapters = {s: SubjectLayer(stem.out_signal(signals[s]), HIDDEN) for s in SUBJECTS}
    encoder = DilatedConvEncoder((HIDDEN, N_TIMES), hidden=HIDDEN, depth=DEPTH, dilation_period=3, width=WIDTH)
    return stem, adapters, encoder


def theirs() -> Any:
    merger = common.ChannelMerger(
        n_virtual_channels=N_VIRTUAL,
        fourier_emb_config=common.FourierEmb(n_freqs=None, total_dim=32, n_dims=2),
        dropout=0.0,
    )
    config = simpleconv.SimpleConvTimeAgg(
        hidden=HIDDEN,
        depth=DEPTH,
        kernel_size=3,
        dilation_growth=2,
        dilation_period=3,
        skip=True,
        glu=2,
        glu_context=1,
        gelu=True,
        batch_norm=True,
        complex_out=True,
        backbone_out_channels=WIDTH,
        initial_linear=N_VIRTUAL,
        merger_config=merger,
        subject_layers_config=common.SubjectLayers(n_subjects=len(SUBJECTS)),
        time_agg_out="att",
    )
    model = config.build(N_SENSORS, WIDTH)
    model(torch.zeros(1, N_SENSORS, N_TIMES), torch.zeros(1, dtype=torch.long), torch.rand(1, N_SENSORS, 2))
    return model


def copy_weights(model: Any, stem: ChannelMerger, adapters: dict[str, SubjectLayer], encoder: Any) -> None:
    def same(target: Any, source: Any) -> None:
        target.load_state_dict(copy.deepcopy(source.state_dict()))

    with torch.no_grad():
        model.merger.heads.copy_(stem.heads)
        for number, subject in enumerate(SUBJECTS):
            model.subject_layers.weights[number] = adapters[subject].weight.T
            model.subject_layers.bias[number] = adapters[subject].bias
        model.final[2].weight.copy_(encoder.project[2].weight.transpose(0, 1))
        model.final[2].bias.copy_(encoder.project[2].bias)
    same(model.initial_linear[0], stem.project)
    for block, layers, gate in zip(encoder.blocks, model.encoder.sequence, model.encoder.glus):
        same(layers[0], block.layers[0])
        same(layers[1], block.layers[1])
        assert (gate is None) == isinstance(block.gate, torch.nn.Identity)
        if gate is not None:
            same(gate[0], block.gate[0])
    same(model.final[0], encoder.project[0])
    same(model.time_agg_out.Wa, encoder.aggregate.score[0])
    same(model.time_agg_out.Va, encoder.aggregate.score[2])


@pytest.mark.parametrize("training", [True, False])
def test_the_same_weights_give_the_same_latent_and_gradient(training: bool) -> None:
    torch.manual_seed(0)
    stem, adapters, encoder = ours()
    model = theirs()
    copy_weights(model, stem, adapters, encoder)
    for part in (stem, encoder, model):
        part.train(training)
    signals = {s: torch.randn(4, N_SENSORS, N_TIMES, requires_grad=True) for s in SUBJECTS}
    found = encoder(torch.cat([adapters[s](stem(signals[s], s)) for s in SUBJECTS]))
    places = torch.cat([stem.places[s].expand(4, -1, -1) for s in SUBJECTS])
    numbers = torch.arange(len(SUBJECTS)).repeat_interleave(4)
    expected = model(torch.cat(list(signals.values())), numbers, places)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    weight = torch.randn_like(found)
    for ours_, theirs_ in zip(
        torch.autograd.grad((found * weight).sum(), list(signals.values())),
        torch.autograd.grad((expected * weight).sum(), list(signals.values())),
    ):
        torch.testing.assert_close(ours_, theirs_, rtol=1e-3, atol=1e-5)
