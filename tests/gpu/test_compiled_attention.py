"""The attention kernels, compiled, beside plain attention in float64."""

from __future__ import annotations

import pytest
import torch

from braindec.models.priors.fused_attention import biased_attention, possible
from braindec.models.priors.transformer import plain_attention

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]


@pytest.mark.parametrize(
    "shape", [(3, 12, 515, 516, 64), (2, 32, 256, 514, 52), (5, 3, 70, 71, 104), (1, 1, 16, 17, 8)]
)
@pytest.mark.parametrize("compiled", [False, True])
def test_values_and_gradients(shape: tuple[int, int, int, int, int], compiled: bool) -> None:
    batch, heads, length, n_keys, width = shape
    torch.manual_seed(length)
    given = [
        torch.randn(size, device="cuda")
        for size in ((batch, length, heads, width), *2 * ((batch, n_keys, width),), (heads, length, n_keys))
    ]
    given[0] *= 4 / width**0.5
    given = [v.bfloat16().float() for v in given]
    upstream = torch.randn(given[0].shape, device="cuda").bfloat16()

    def found(attend, kinds):  # type: ignore[no-untyped-def]
        inputs = [v.to(kind, copy=True).requires_grad_() for v, kind in zip(given, kinds)]
        out = attend(*inputs)
        out.backward(upstream.to(out.dtype))
        return [out.detach(), *(v.grad for v in inputs)]

    half = torch.bfloat16
    assert possible(given[0].to(half))
    attend = torch.compile(biased_attention) if compiled else biased_attention
    ours, again = (found(attend, (half, half, half, torch.float32)) for _ in range(2))
    assert all(torch.equal(first, second) for first, second in zip(ours, again)), "the same inputs give the same bits"
    exact = found(plain_attention, 4 * (torch.float64,))
    for name, mine, true in zip(("out", "query", "key", "value", "bias"), ours, exact):
        assert mine.isfinite().all(), name
        assert float((mine.double() - true).norm() / true.norm()) < 1e-2, name
