"""Noise that belongs to an item, not to its batch nor to the threads that draw it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from braindec.frozen import noise
from braindec.frozen.noise import noise_of

SHAPES = st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple)
SEEDS = st.lists(st.integers(0, 2**62), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(seeds=SEEDS, shape=SHAPES, law=st.sampled_from(["normal", "uniform"]), threads=st.booleans())
def test_each_row_is_what_its_own_generator_draws(seeds, shape, law, threads):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noise, "_WORTH_THREADS", 1 if threads else 1 << 40)
        found = noise_of(seeds, shape, "cpu", law)
    draw = {"normal": torch.randn, "uniform": torch.rand}[law]
    wanted = [draw(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    assert found.dtype == torch.float32
    assert torch.equal(found, torch.stack(wanted))


def test_threads_draw_inside_inference_mode(monkeypatch):
    monkeypatch.setattr(noise, "_WORTH_THREADS", 1)
    outside = noise_of([1, 2, 3], (5, 7), "cpu")
    with torch.inference_mode():
        inside = noise_of([1, 2, 3], (5, 7), "cpu")
        assert inside.is_inference()
    assert torch.equal(inside, outside)


def test_a_row_does_not_depend_on_its_neighbours():
    assert torch.equal(noise_of([5, 6, 7], (40,), "cpu")[1], noise_of([6], (40,), "cpu")[0])
