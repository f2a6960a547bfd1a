"""Volumes cut into patches, parcels over time, and the transformer that reads both."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from braindec.compose import build, compose
from braindec.models.adapters.parcels import ParcelSequence
from braindec.models.adapters.volume import VolumePatches
from braindec.models.encoders.transformer import TokenTransformer
from braindec.models.heads.dense import PerceptronHead
from braindec.models.network import BrainNetwork
from braindec.models.shapes import SignalShape, n_parameters
from braindec.types import DataError


def voxels(shape: tuple[int, int, int], n: int, seed: int = 0) -> np.ndarray:
    flat = np.random.default_rng(seed).permutation(int(np.prod(shape)))[:n]
    return np.stack(np.unravel_index(np.sort(flat), shape), axis=1)


def shape_of(grid: np.ndarray, n_times: int = 1) -> SignalShape:
    return SignalShape(len(grid), n_times, None, grid)


@given(
    st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6)),
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
    st.integers(1, 3),
    st.integers(1, 2),
)
@settings(max_examples=25, deadline=None)
def test_patches_are_cubes_of_the_trilinear_volume(
    own: tuple[int, int, int], counts: tuple[int, int, int], patch: int, n_times: int
) -> None:
    grid = voxels(own, max(1, int(np.prod(own)) // 2))
    shape = (counts[0] * patch, counts[1] * patch, counts[2] * patch)
    signal = torch.randn(2, len(grid), n_times)
    dense = torch.zeros(2, n_times, *own)
    dense[:, :, grid[:, 0], grid[:, 1], grid[:, 2]] = signal.transpose(1, 2)
    volume = torch.nn.functional.interpolate(dense, size=shape, mode="trilinear", align_corners=False)
    if not volume.any():
        with pytest.raises(DataError, match="none of its .* voxels is seen"):
            VolumePatches({"s": shape_of(grid, n_times)}, shape, patch, grid_shape=own)
        return
    stem = VolumePatches({"s": shape_of(grid, n_times)}, shape, patch, grid_shape=own)
    patches = stem(signal, "s").reshape(2, *counts, patch, patch, patch, n_times)
    for i, j, k in np.ndindex(*counts):
        a, b, c = (slice(x * patch, (x + 1) * patch) for x in (i, j, k))
        torch.testing.assert_close(patches[:, i, j, k], volume[:, :, a, b, c].permute(0, 2, 3, 4, 1))
    assert stem.out_signal(shape_of(grid, n_times)) == SignalShape(int(np.prod(counts)), patch**3 * n_times)


def test_without_a_grid_shape_the_voxels_box_is_aligned() -> None:
    grid = voxels((4, 4, 4), 40)
    stem = VolumePatches({"a": shape_of(grid), "b": shape_of(grid + 7)}, (4, 4, 4), 2)
    signal = torch.randn(3, 40, 1)
    torch.testing.assert_close(stem(signal, "a"), stem(signal, "b"))


def test_subjects_of_different_grids_meet_one_encoder() -> None:
    decoder = build(
        compose(
            "train",
            [
                "decoder=vit3d",
                "+decoder.stem.shape=[4,6,4]",
                "+decoder.stem.patch=2",
                "+decoder.encoder.width=8",
                "+decoder.encoder.depth=1",
                "+decoder.encoder.n_heads=2",
            ],
        ).decoder
    )
    signals = {"a": shape_of(voxels((5, 5, 5), 60)), "b": shape_of(voxels((9, 4, 7), 33))}
    network = BrainNetwork(decoder.parts, signals, {"x": (2, 3)}).eval()
    outputs = network({s: torch.randn(2, shape.n_space, 1) for s, shape in signals.items()})
    assert outputs.value["x"].shape == (4, 2, 3)
    assert n_parameters(network.adapters) == n_parameters(network.stem) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (4, 5, 4)}, "multiples of the patch 2"),
        ({"grid_shape": (3, 3, 3)}, "do not fit into grid_shape"),
        ({"signals": {"s": SignalShape(5, 1)}}, r"subject 's': VolumePatches needs the places of its voxels"),
    ],
)
def test_volumes_that_cannot_be_cut_are_refused(change: dict, message: str) -> None:
    given = {"signals": {"s": shape_of(voxels((5, 5, 5), 9))}, "shape": (4, 4, 4), "patch": 2, **change}
    with pytest.raises(DataError, match=message):
        VolumePatches(**given)


def test_one_after_another_tokens_are_read_by_place_and_a_mean_is_not() -> None:
    tokens = torch.randn(3, 6, 5)
    order = torch.tensor([1, 0, 2, 3, 5, 4])
    for pooling in ("concat", "mean"):
        made = TokenTransformer((6, 5), width=8, depth=1, n_heads=2, pooling=pooling).eval()
        assert made.out_shape == ((48,) if pooling == "concat" else (8,))
        with torch.no_grad():
            made.position.zero_()  # what is left to tell places apart is the pooling
        found, exchanged = made(tokens), made(tokens[:, order])
        assert found.shape[1:] == made.out_shape
        assert torch.allclose(found, exchanged, atol=1e-5) == (pooling == "mean")
    torch.testing.assert_close(made.tokens(tokens).mean(dim=1), made(tokens))


@pytest.mark.parametrize("pooling", ["class", "mean", "concat"])
def test_empty_tokens_change_nothing(pooling: str) -> None:
    made = TokenTransformer((6, 5), width=8, depth=2, n_heads=2, pooling=pooling, skip_empty=True).eval()
    tokens = torch.randn(3, 6, 5)
    tokens[:, 2] = 0
    before = made(tokens)
    with torch.no_grad():
        made.position[2] += 10.0  # what an empty token holds is never looked at
    torch.testing.assert_close(made(tokens), before)
    tokens[:, 2] = 0.1
    assert not torch.allclose(made(tokens), before)


@pytest.mark.parametrize(("pooling", "causal"), [("last", True), ("last", False), ("class_scan", True)])
def test_the_last_block_makes_what_is_pooled_as_if_it_made_all(pooling: str, causal: bool) -> None:
    options = {"width": 8, "depth": 2, "n_heads": 2, "dropout": 0.0, "causal": causal}
    made = TokenTransformer((5, 4), pooling=pooling, **options)
    tokens = torch.randn(3, 5, 4)
    if pooling == "last":
        whole = made.tokens(tokens)
    else:
        asked = made.embed(made.class_scan) + made.class_position
        whole = torch.cat([made.embed(tokens) + made.position, asked.expand(3, 1, -1)], dim=1)
        for block in made.blocks:
            whole = block(whole, None, causal)
        whole = made.norm(whole)
    torch.testing.assert_close(made(tokens), made.pool(whole[:, -1]))


def test_a_causal_transformer_s_tokens_see_only_those_before() -> None:
    made = TokenTransformer((5, 4), width=8, depth=2, n_heads=2, pooling="last", causal=True, dropout=0.0).eval()
    tokens = torch.randn(1, 5, 4, requires_grad=True)
    hidden = made.embed(tokens) + made.position
    for block in made.blocks:
        hidden = block(hidden, None, True)
    (gradient,) = torch.autograd.grad(hidden[:, 2].sum(), tokens)
    assert gradient[0, :3].abs().sum() > 0
    assert gradient[0, 3:].abs().sum() == 0
    (gradient,) = torch.autograd.grad(made(tokens).sum(), tokens)
    assert (gradient[0].abs().sum(dim=1) > 0).all()


def test_a_transformer_refuses_what_it_cannot_do() -> None:
    with pytest.raises(DataError, match="pooling=last"):
        TokenTransformer((5, 4), causal=True)
    with pytest.raises(DataError, match="12 heads divide"):
        TokenTransformer((5, 4), width=10)
    with pytest.raises(DataError, match="token, value"):
        TokenTransformer((5,))


def test_parcels_become_a_sequence_of_scans() -> None:
    adapter = ParcelSequence(SignalShape(300, 5), n_parcels=300, dropout=0.2, shuffle=True)
    signal = torch.randn(50, 300, 5) + 10
    torch.testing.assert_close(adapter.eval()(signal), signal.transpose(1, 2))
    seen = adapter.train()(signal)
    assert (seen == 0).float().mean() == pytest.approx(0.2, abs=0.01)
    # Every scan comes once, in one order for all its parcels.
    order = torch.stack([(seen[:, [t]] == signal.transpose(1, 2)).float().mean(dim=2).argmax(dim=1) for t in range(5)])
    assert (order.sort(dim=0).values == torch.arange(5)[:, None]).all()
    assert (order != torch.arange(5)[:, None]).any()
    with pytest.raises(DataError, match="expected 300 parcels, found 4 positions"):
        ParcelSequence(SignalShape(4, 5), n_parcels=300)


def test_sizes_of_the_two_recipes() -> None:
    """The causal transformer's blocks have a GPT-2 block's size: 12 W^2 + 13 W."""
    with torch.device("meta"):
        gpt = TokenTransformer((5, 1024), depth=4, pooling="last", causal=True)
        vit = TokenTransformer((288, 14**3), skip_empty=True)
    block = 12 * 768**2 + 13 * 768
    assert [n_parameters(b) for b in gpt.blocks] == [block] * 4
    pooler, embed = 768 * 769, 1024 * 768 + 3 * 768
    assert n_parameters(gpt) == 4 * block + pooler + embed + 5 * 768 + 2 * 768
    assert n_parameters(vit) == 12 * block + 14**3 * 768 + 3 * 768 + 289 * 768 + 2 * 768


def test_a_perceptron_head_makes_the_target_s_shape() -> None:
    output = PerceptronHead((6,), (3, 4), hidden=5)(torch.randn(2, 6))
    assert output.value_BKD.shape == (2, 3, 4)
    assert output.value_BKD is output.contrast_BKD


def test_voxels_that_fall_between_all_cells_are_refused() -> None:
    with pytest.raises(DataError, match="none of its 1 voxels is seen"):
        VolumePatches({"s": shape_of(np.array([[0, 0, 0]]))}, (1, 1, 1), 1, grid_shape=(1, 1, 3))
