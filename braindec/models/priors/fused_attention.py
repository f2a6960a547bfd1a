"""Multi-query attention with a learned additive bias that never holds the scores in memory.

Legend: B batch, H heads, L queries, M keys (all heads share them), D width of a head, R = L x H rows of queries.

Scores are ``query . key + bias[h, l, m]``. PyTorch's fused attention takes such a bias, but repeats keys for every head
and writes the bias' gradient once a batch item, (B, H, L, M), before summing it; here each block of that gradient is
summed over the batch by the program that makes it. As heads share keys, the queries of all heads are rows of one matrix
as they lie in memory, whose blocks leave next to nothing over. Every sum has one order: same inputs, same bits.

Source: Dao 2023, "FlashAttention-2"; the bias has the gradient of the scores, batch items summed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch

try:
    import triton

    from braindec.models.priors import attention_kernels as kernels
except ImportError:  # CPU builds of torch come without it
    triton = None

Kernel = Literal["forward", "query", "key", "bias"]


@dataclass(frozen=True)
class Blocks:
    """How a kernel cuts the scores, rows x columns (powers of two, at most 128), and how Triton compiles it.

    ``registers`` is the most that a thread may have, None for no limit: fewer let more programs share a processor.
    """

    rows: int
    columns: int
    warps: int
    stages: int
    registers: int | None = None


BLOCKS: dict[tuple[Kernel, int], Blocks] = {
    ("forward", 64): Blocks(128, 64, 8, 3),
    ("query", 64): Blocks(64, 32, 4, 3),
    ("key", 64): Blocks(64, 64, 4, 2, 168),
    ("bias", 64): Blocks(64, 64, 4, 2, 168),
    ("forward", 128): Blocks(128, 64, 8, 2),
    ("query", 128): Blocks(64, 64, 8, 2),
    ("key", 128): Blocks(64, 64, 8, 2),
    ("bias", 128): Blocks(64, 64, 8, 2),
}
"""Blocks of each kernel for heads of at most 64 and at most 128; ``benchmarks/attention_h100.py`` tries others."""

PROGRAMS = 1024
"""Programs that keep a large GPU busy: where there are fewer, sums are divided into shares, added up at the end."""

_LARGEST_BLOCK = 128


def possible(query_BLHD: torch.Tensor) -> bool:
    """Whether the kernels serve these queries: 16-bit numbers on a GPU, heads of at most 128."""
    half = query_BLHD.dtype in (torch.bfloat16, torch.float16)
    return triton is not None and query_BLHD.is_cuda and half and query_BLHD.shape[-1] <= 128


class Problem:
    """One attention: contiguous queries (B, L, H, D), keys and values (B, M, D) and a bias (H, L, M).

    The bias is rounded to the queries' type and laid out for the kernels: rows as the queries', times log2(e), padded
    to whole blocks. Unpadded rows of 516 numbers would begin at odd addresses and be read number by number.
    """

    def __init__(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias_HLM: torch.Tensor) -> None:
        self.query, self.key, self.value = query, key, value
        self.batch, self.length, self.n_heads, self.width = query.shape
        self.n_rows, self.n_keys = self.length * self.n_heads, key.shape[1]
        padded = [triton.cdiv(n, _LARGEST_BLOCK) * _LARGEST_BLOCK for n in (self.n_rows, self.n_keys)]
        self.bias = torch.zeros(padded, dtype=query.dtype, device=query.device)
        self.bias[:, self.n_keys :] = -math.inf
        held = self.bias[: self.n_rows, : self.n_keys].view(self.length, self.n_heads, self.n_keys)
        held.copy_(bias_HLM.transpose(0, 1) * math.log2(math.e))

    def forward(self, blocks: Blocks | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Attended values (B, L, H, D) and the logarithm to base 2 of each row's total (B, R)."""
        blocks = blocks or self._blocks("forward")
        out = torch.empty_like(self.query)
        lse = torch.empty(self.batch, self.n_rows, dtype=torch.float32, device=out.device)
        kernels.forward[self.batch, triton.cdiv(self.n_rows, blocks.rows)](
            *self._given(), out, lse, self.n_rows, *self._keys(), **self._whole(blocks), **self._options(blocks)
        )
        return out, lse

    def query_gradient(
        self, out: torch.Tensor, lse: torch.Tensor, gradient: torch.Tensor, blocks: Blocks | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The queries' gradient, and what the other gradients need of each row (B, R, 2)."""
        blocks = blocks or self._blocks("query")
        stats, found = lse.new_empty(*lse.shape, 2), torch.empty_like(self.query)
        kernels.query_gradient[self.batch, triton.cdiv(self.n_rows, blocks.rows)](
            *self._given(), out, gradient, lse, stats, found, self.n_rows, *self._keys(), **self._whole(blocks),
            **self._options(blocks),
        )  # fmt: skip
        return found, stats

    def key_gradients(
        self, stats: torch.Tensor, gradient: torch.Tensor, blocks: Blocks | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradients of keys and values, float32."""
        blocks = blocks or self._blocks("key")
        n_blocks = triton.cdiv(self.n_keys, blocks.columns)
        share, n_shares = _shares(triton.cdiv(self.n_rows, blocks.rows), self.batch * n_blocks)
        found = [torch.empty(n_shares, *self.key.shape, dtype=torch.float32, device=stats.device) for _ in range(2)]
        kernels.key_gradients[self.batch, n_blocks, n_shares](
            self.query, self.key, self.value, self.bias.T.contiguous(), gradient, stats, *found, self.batch,
            self.n_rows, self.n_keys, self.bias.shape[0], share * blocks.rows, **self._options(blocks),
        )  # fmt: skip
        return _added(found[0]), _added(found[1])

    def bias_gradient(self, stats: torch.Tensor, gradient: torch.Tensor, blocks: Blocks | None = None) -> torch.Tensor:
        """The bias' gradient (H, L, M), float32."""
        blocks = blocks or self._blocks("bias")
        grid = triton.cdiv(self.n_rows, blocks.rows), triton.cdiv(self.n_keys, blocks.columns)
        share, n_shares = _shares(self.batch, math.prod(grid))
        shape = n_shares, self.n_heads, self.length, self.n_keys
        found = torch.empty(shape, dtype=torch.float32, device=stats.device)
        kernels.bias_gradient[*grid, n_shares](
            *self._given(), gradient, stats, found, self.batch, self.n_heads, self.n_rows, *self._keys(), share,
            **self._options(blocks),
        )  # fmt: skip
        return _added(found)

    def _given(self) -> tuple[torch.Tensor, ...]:
        return self.query, self.key, self.value, self.bias

    def _keys(self) -> tuple[int, int]:
        return self.n_keys, self.bias.shape[1]

    def _blocks(self, kernel: Kernel) -> Blocks:
        return BLOCKS[kernel, 64 if self.width <= 64 else 128]

    def _whole(self, blocks: Blocks) -> dict[str, int]:
        """Keys in full blocks, and the width of the block of those left over."""
        rest = self.n_keys % blocks.columns
        return {"WHOLE": self.n_keys - rest, "TAIL": max(16, triton.next_power_of_2(rest)) if rest else 0}

    def _options(self, blocks: Blocks) -> dict[str, int | None]:
        return {
            "D": self.width, "WIDTH": max(16, triton.next_power_of_2(self.width)), "ROWS": blocks.rows,
            "COLUMNS": blocks.columns, "num_warps": blocks.warps, "num_stages": blocks.stages,
            "maxnreg": blocks.registers,
        }  # fmt: skip


def _shares(n: int, programs: int) -> tuple[int, int]:
    """Size and number of shares of ``n`` steps, so that each of ``programs`` taken so often keeps a GPU busy."""
    size = triton.cdiv(n, min(n, triton.cdiv(PROGRAMS, programs)))
    return size, triton.cdiv(n, size)


def _added(shares: torch.Tensor) -> torch.Tensor:
    return shares[0] if len(shares) == 1 else shares.sum(0)


@torch.library.custom_op("braindec::biased_attention", mutates_args=())
def _attend(
    query_BLHD: torch.Tensor, key_BMD: torch.Tensor, value_BMD: torch.Tensor, bias_HLM: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attended values (B, L, H, D) and the logarithm to base 2 of each row's total (B, R)."""
    return Problem(query_BLHD, key_BMD, value_BMD, bias_HLM).forward()


@_attend.register_fake
def _(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor) -> Any:
    batch, length, heads, _ = query.shape
    return torch.empty_like(query), query.new_empty(batch, length * heads, dtype=torch.float32)


@torch.library.custom_op("braindec::biased_attention_gradients", mutates_args=())
def _gradients(
    query_BLHD: torch.Tensor, key_BMD: torch.Tensor, value_BMD: torch.Tensor, bias_HLM: torch.Tensor,
    out_BLHD: torch.Tensor, lse_BR: torch.Tensor, gradient_BLHD: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Gradients of query, key, value and bias."""
    problem = Problem(query_BLHD, key_BMD, value_BMD, bias_HLM)
    of_query, stats = problem.query_gradient(out_BLHD, lse_BR, gradient_BLHD)
    of_key, of_value = problem.key_gradients(stats, gradient_BLHD)
    of_bias = problem.bias_gradient(stats, gradient_BLHD)
    return of_query, of_key.to(key_BMD.dtype), of_value.to(value_BMD.dtype), of_bias.to(bias_HLM.dtype)


@_gradients.register_fake
def _(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor, *_: torch.Tensor) -> Any:
    return tuple(torch.empty_like(v) for v in (query, key, value, bias))


def _keep(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.save_for_backward(*inputs, *output)


def _backward(ctx: Any, gradient_BLHD: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return _gradients(*ctx.saved_tensors, gradient_BLHD.contiguous())


_attend.register_autograd(_backward, setup_context=_keep)


def biased_attention(
    query_BLHD: torch.Tensor, key_BMD: torch.Tensor, value_BMD: torch.Tensor, bias_HLM: torch.Tensor
) -> torch.Tensor:
    """Attended values (B, L, H, D); scores are not scaled. See `possible` for what is taken.

    Sums are float32; the bias, weights and their gradients are rounded to the queries' type before use, as in PyTorch's
    fused attention. The gradient of a float32 bias is not rounded.
    """
    return _attend(query_BLHD.contiguous(), key_BMD.contiguous(), value_BMD.contiguous(), bias_HLM.contiguous())[0]
