"""The Triton kernels in Triton's interpreter, on a CPU, beside plain attention; `tests/gpu` runs them compiled."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

SCRIPT = """
import torch
from braindec.models.priors.fused_attention import biased_attention
from braindec.models.priors.transformer import plain_attention

torch.manual_seed(0)
for batch, heads, length, width in ((2, 4, 70, 12), (3, 2, 130, 20), (1, 3, 63, 72), (2, 1, 20, 16)):
    keys = 128 if length > 128 else length + 1
    sizes = (batch, length, heads, width), (batch, keys, width), (batch, keys, width)
    given = [torch.randn(size) for size in (*sizes, (heads, length, keys))]
    upstream = torch.randn(sizes[0])
    found = []
    for attend in (biased_attention, plain_attention):
        inputs = [v.clone().requires_grad_() for v in given]
        out = attend(*inputs)
        out.backward(upstream)
        found.append([out, *(v.grad for v in inputs)])
    for name, ours, plain in zip(("out", "query", "key", "value", "bias"), *found):
        error = float((ours - plain).norm() / plain.norm())
        assert error < 1e-5, (name, error)
print("equal")
"""


def test_kernels_give_the_values_and_gradients_of_plain_attention() -> None:
    # Triton decides when its module is imported whether kernels are interpreted: hence a process of its own.
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "equal", done.stderr[-3000:]
