"""Parts for heard speech and read text: shapes, published sizes, and what each must do by definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from braindec.compose import build, compose
from braindec.models.adapters.time_tokens import TimeTokens
from braindec.models.encoders.queries import QueryEncoder
from braindec.models.heads.over_time import TimeHead
from braindec.models.heads.queries import NothingHead, PooledHead, QueriesHead
from braindec.models.network import BrainNetwork
from braindec.models.shapes import SignalShape, n_parameters
from braindec.types import DataError


def speech_network(n_subjects: int) -> BrainNetwork:
    decoder = build(compose("train", ["experiment=speech_meg", "dataset=gwilliams2022"]).decoder)
    places = np.random.default_rng(0).normal(size=(208, 3))
    signals = {f"S{i}": SignalShape(208, 360, places / 10) for i in range(n_subjects)}
    return BrainNetwork(decoder.parts, signals, {"wav2vec2": (360, 1024)})


def test_speech_meg_has_its_published_shapes() -> None:
    network = speech_network(2).eval()
    blocks = network.encoder.blocks
    assert len(blocks) == 10
    assert [block.layers[0].dilation[0] for block in blocks] == [1, 2, 4, 8, 16, 1, 2, 4, 8, 16]
    assert [block.layers[0].in_channels for block in blocks] == [270] + [320] * 9
    assert [type(block.gate).__name__ for block in blocks] == ["Identity", "Sequential"] * 5
    head = network.heads["wav2vec2_"].layers
    assert [(head[0].in_channels, head[0].out_channels), (head[2].in_channels, head[2].out_channels)] == [
        (320, 640),
        (640, 1024),
    ]
    assert network.stem.heads.shape == (270, 2048)
    with torch.no_grad():
        value = network({"S0": torch.randn(1, 208, 360)}).value["wav2vec2"]
    assert value.shape == (1, 360, 1024)


def test_speech_meg_has_as_many_weights_as_its_published_layers() -> None:
    """Counted from the layers that the paper names, for 27 people."""
    merger = 270 * 2048 + (270 * 270 + 270)
    subjects = 27 * (270 * 270 + 270)
    convolutions = (270 * 320 * 3 + 320) + 9 * (320 * 320 * 3 + 320) + 10 * 2 * 320
    gates = 5 * (320 * 640 * 3 + 640)
    head = (320 * 640 + 640) + (640 * 1024 + 1024)
    network = speech_network(27)
    constants = n_parameters(network.stem.places) + n_parameters(network.stem.features)
    assert n_parameters(network) - constants == merger + subjects + convolutions + gates + head


def test_the_speech_loss_gives_unit_length_to_candidates_only() -> None:
    clip = (
        build(compose("train", ["experiment=speech_meg", "dataset=gwilliams2022"]).decoder).objectives["clip"].objective
    )
    assert (clip.normalised, clip.symmetric, clip.temperature) == ("target", False, 1.0)


def test_a_target_at_another_rate_is_refused() -> None:
    with pytest.raises(DataError, match="output_rate_hz"):
        TimeHead((8, 100), (120, 4))
    head = TimeHead((8, 120), (20, 4))
    latent = torch.randn(1, 8, 120)
    whole = head.layers(latent)[0].T
    torch.testing.assert_close(head(latent).value_BKD[0, 3], whole[18:24].mean(dim=0))


def test_glim_has_its_published_shapes() -> None:
    config = compose("train", ["experiment=glim", "dataset=zuco1"]).decoder
    parts = build({key: config[key] for key in ("adapter", "encoder")})
    adapter = parts["adapter"](signal=SignalShape(104, 1280))
    encoder = parts["encoder"](in_shape=adapter.out_shape)
    assert adapter.out_shape == (1281, 128)
    assert encoder.out_shape == (96, 1024)
    assert len(encoder.blocks) == len(encoder.decoder) == 6
    with torch.no_grad():
        assert encoder.eval()(adapter(torch.randn(1, 104, 1280))).shape == (1, 96, 1024)


def test_time_tokens_keep_their_order() -> None:
    adapter = TimeTokens(SignalShape(2, 12), width=4, patch=3)
    signal = torch.zeros(1, 2, 12)
    signal[0, :, 6] = 1
    with torch.no_grad():
        moved = (adapter(signal) - adapter(torch.zeros_like(signal)))[0].abs().sum(dim=1)
    assert moved.nonzero().flatten().tolist() == [3]  # the prompt, then stretches of three
    with pytest.raises(DataError, match="does not divide"):
        TimeTokens(SignalShape(2, 12), patch=5)


def query_encoder() -> QueryEncoder:
    torch.manual_seed(0)
    return QueryEncoder((9, 16), depth=2, query_depth=2, n_queries=5, out_width=6, n_heads=2).eval()


def test_queries_see_only_earlier_queries() -> None:
    encoder, tokens = query_encoder(), torch.randn(1, 9, 16)
    with torch.no_grad():
        before = encoder(tokens)
        encoder.queries[3] += torch.randn(16)
        after = encoder(tokens)
    changed = (after - before)[0].abs().sum(dim=1) > 1e-5
    assert changed.tolist() == [False, False, False, True, True]


def test_the_prompt_changes_everything_once_trained_and_nothing_before() -> None:
    encoder, tokens = query_encoder(), torch.randn(1, 9, 16)
    other = tokens.clone()
    other[:, 0] += 1
    with torch.no_grad():
        torch.testing.assert_close(encoder(tokens), encoder(other))
        for block in encoder.blocks:
            torch.nn.init.normal_(block.modulate[1].weight, std=0.5)
        assert (encoder(tokens) - encoder(other)).abs().max() > 1e-3


def test_heads_of_queries() -> None:
    latent = torch.randn(2, 5, 6)
    assert QueriesHead((5, 6), (5, 6))(latent).value_BKD is latent
    with pytest.raises(DataError, match="n_queries"):
        QueriesHead((5, 6), (4, 6))
    pooled = PooledHead((5, 6), (2, 3))
    torch.testing.assert_close(pooled(latent).value_BKD, pooled(latent.flip(1)).value_BKD)
    assert not NothingHead((5, 6), (3, 7))(latent).value_BKD.any()
    with pytest.raises(DataError, match="TimeTokens"):
        QueryEncoder((9, 15), n_heads=2)
