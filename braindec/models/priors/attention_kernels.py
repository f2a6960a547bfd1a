"""Triton kernels of `braindec.models.priors.fused_attention`, which says what they compute and starts them.

Legend: B batch, H heads, M keys, D width of a head, R rows: queries x heads as they lie in memory. The bias is given
row by row as (at least R, STRIDE), times log2(e), minus infinity past the last key; R and M in it are rounded up to
blocks. ROWS x COLUMNS is a block of scores, WIDTH is D rounded up to a power of two.

Source: Dao 2023, "FlashAttention-2", algorithms 1 and 2.
"""

# Triton's kernels take pointers and sizes that Python's types do not name.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _tile(ptr, rows, end, dims, D: tl.constexpr):
    """Rows before ``end`` of a matrix of width D, zeros elsewhere."""
    held = (rows[:, None] < end) & (dims[None, :] < D)
    return tl.load(ptr + rows[:, None] * D + dims[None, :], mask=held, other=0.0)


@triton.jit
def _attended(q, k_ptr, v_ptr, bias_ptr, columns, M, dims, highest, total, sums, D: tl.constexpr):
    """Running maximum, total and weighted sum of values after another block of keys."""
    k, v = _tile(k_ptr, columns, M, dims, D), _tile(v_ptr, columns, M, dims, D)
    bias = tl.load(bias_ptr + columns[None, :]).to(tl.float32)
    scores = tl.dot(q, tl.trans(k)) * 1.4426950408889634 + bias
    higher = tl.maximum(highest, tl.max(scores, 1))
    weights = tl.exp2(scores - higher[:, None])
    shrink = tl.exp2(highest - higher)
    sums = sums * shrink[:, None] + tl.dot(weights.to(v.dtype), v)
    return higher, total * shrink + tl.sum(weights, 1), sums


@triton.jit
def forward(
    q_ptr, k_ptr, v_ptr, bias_ptr, out_ptr, lse_ptr, R, M, STRIDE, WHOLE,
    D: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, TAIL: tl.constexpr,
):  # fmt: skip
    """One block of an item's rows against all keys: ``WHOLE`` of them in full blocks, the rest in one of TAIL."""
    item, block = tl.program_id(0), tl.program_id(1)
    rows, dims = block * ROWS + tl.arange(0, ROWS), tl.arange(0, WIDTH)
    q = _tile(q_ptr + item * R * D, rows, R, dims, D)
    k_ptr, v_ptr, bias_ptr = k_ptr + item * M * D, v_ptr + item * M * D, bias_ptr + rows[:, None] * STRIDE
    highest = tl.full([ROWS], -float("inf"), tl.float32)
    total, sums = tl.zeros([ROWS], tl.float32), tl.zeros([ROWS, WIDTH], tl.float32)
    for start in range(0, WHOLE, COLUMNS):
        columns = start + tl.arange(0, COLUMNS)
        highest, total, sums = _attended(q, k_ptr, v_ptr, bias_ptr, columns, M, dims, highest, total, sums, D)
    if TAIL > 0:
        columns = WHOLE + tl.arange(0, TAIL)
        highest, total, sums = _attended(q, k_ptr, v_ptr, bias_ptr, columns, M, dims, highest, total, sums, D)
    held = (rows[:, None] < R) & (dims[None, :] < D)
    at = item * R * D + rows[:, None] * D + dims[None, :]
    tl.store(out_ptr + at, (sums / total[:, None]).to(out_ptr.dtype.element_ty), mask=held)
    tl.store(lse_ptr + item * R + rows, highest + tl.log2(total), mask=rows < R)


@triton.jit
def _to_queries(q, grad, k_ptr, v_ptr, bias_ptr, columns, M, dims, lse, delta, sums, D: tl.constexpr):
    """The queries' gradient after another block of keys."""
    k, v = _tile(k_ptr, columns, M, dims, D), _tile(v_ptr, columns, M, dims, D)
    bias = tl.load(bias_ptr + columns[None, :]).to(tl.float32)
    weights = tl.exp2(tl.dot(q, tl.trans(k)) * 1.4426950408889634 + bias - lse[:, None])
    of_scores = weights * (tl.dot(grad, tl.trans(v)) - delta[:, None])
    return sums + tl.dot(of_scores.to(k.dtype), k)


@triton.jit
def query_gradient(
    q_ptr, k_ptr, v_ptr, bias_ptr, out_ptr, grad_ptr, lse_ptr, stats_ptr, dq_ptr, R, M, STRIDE, WHOLE,
    D: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, TAIL: tl.constexpr,
):  # fmt: skip
    """As `forward`; also writes each row's lse and delta, the inner product of output and its gradient, as a pair."""
    item, block = tl.program_id(0), tl.program_id(1)
    rows, dims = block * ROWS + tl.arange(0, ROWS), tl.arange(0, WIDTH)
    own = item * R * D
    q, grad = _tile(q_ptr + own, rows, R, dims, D), _tile(grad_ptr + own, rows, R, dims, D)
    delta = tl.sum(grad.to(tl.float32) * _tile(out_ptr + own, rows, R, dims, D).to(tl.float32), 1)
    lse = tl.load(lse_ptr + item * R + rows, mask=rows < R, other=float("inf"))
    tl.store(stats_ptr + (item * R + rows) * 2, lse, mask=rows < R)
    tl.store(stats_ptr + (item * R + rows) * 2 + 1, delta, mask=rows < R)
    k_ptr, v_ptr, bias_ptr = k_ptr + item * M * D, v_ptr + item * M * D, bias_ptr + rows[:, None] * STRIDE
    sums = tl.zeros([ROWS, WIDTH], tl.float32)
    for start in range(0, WHOLE, COLUMNS):
        columns = start + tl.arange(0, COLUMNS)
        sums = _to_queries(q, grad, k_ptr, v_ptr, bias_ptr, columns, M, dims, lse, delta, sums, D)
    if TAIL > 0:
        columns = WHOLE + tl.arange(0, TAIL)
        sums = _to_queries(q, grad, k_ptr, v_ptr, bias_ptr, columns, M, dims, lse, delta, sums, D)
    held = (rows[:, None] < R) & (dims[None, :] < D)
    at = own + rows[:, None] * D + dims[None, :]
    tl.store(dq_ptr + at, sums.to(dq_ptr.dtype.element_ty), mask=held)


@triton.jit
def key_gradients(
    q_ptr, k_ptr, v_ptr, bias_ptr, grad_ptr, stats_ptr, dk_ptr, dv_ptr, B, R, M, STRIDE, SHARE,
    D: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """One block of an item's keys against ``SHARE`` rows; scores and bias lie the other way, keys down, rows across."""
    item, block, share = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    columns, dims = block * COLUMNS + tl.arange(0, COLUMNS), tl.arange(0, WIDTH)
    k, v = _tile(k_ptr + item * M * D, columns, M, dims, D), _tile(v_ptr + item * M * D, columns, M, dims, D)
    q_ptr, grad_ptr, stats_ptr = q_ptr + item * R * D, grad_ptr + item * R * D, stats_ptr + item * R * 2
    dk, dv = tl.zeros([COLUMNS, WIDTH], tl.float32), tl.zeros([COLUMNS, WIDTH], tl.float32)
    end = tl.minimum(share * SHARE + SHARE, R)
    for start in range(share * SHARE, end, ROWS):
        rows = start + tl.arange(0, ROWS)
        q, grad = _tile(q_ptr, rows, end, dims, D), _tile(grad_ptr, rows, end, dims, D)
        # Pairs, as many as threads, are copied once a block; lists of rows would be copied once a thread.
        pairs = start * 2 + tl.arange(0, 2 * ROWS)
        stats = tl.load(stats_ptr + pairs, mask=pairs < end * 2, other=float("inf"))
        lse, delta = tl.split(tl.reshape(stats, [ROWS, 2]))
        delta = tl.where(rows < end, delta, 0.0)
        bias = tl.load(bias_ptr + columns[:, None] * STRIDE + rows[None, :]).to(tl.float32)
        weights = tl.exp2(tl.dot(k, tl.trans(q)) * 1.4426950408889634 + bias - lse[None, :])
        dv += tl.dot(weights.to(grad.dtype), grad)
        of_scores = weights * (tl.dot(v, tl.trans(grad)) - delta[None, :])
        dk += tl.dot(of_scores.to(q.dtype), q)
    held = (columns[:, None] < M) & (dims[None, :] < D)
    at = (share * B + item) * M * D + columns[:, None] * D + dims[None, :]
    tl.store(dk_ptr + at, dk, mask=held)
    tl.store(dv_ptr + at, dv, mask=held)


@triton.jit
def bias_gradient(
    q_ptr, k_ptr, v_ptr, bias_ptr, grad_ptr, stats_ptr, dbias_ptr, B, H, R, M, STRIDE, SHARE,
    D: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """One block of the bias, summed over ``SHARE`` items."""
    row_block, column_block, share = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    rows, columns = row_block * ROWS + tl.arange(0, ROWS), column_block * COLUMNS + tl.arange(0, COLUMNS)
    dims = tl.arange(0, WIDTH)
    bias = tl.load(bias_ptr + rows[:, None] * STRIDE + columns[None, :]).to(tl.float32)
    sums = tl.zeros([ROWS, COLUMNS], tl.float32)
    for item in range(share * SHARE, tl.minimum(share * SHARE + SHARE, B)):
        q, grad = _tile(q_ptr + item * R * D, rows, R, dims, D), _tile(grad_ptr + item * R * D, rows, R, dims, D)
        k, v = _tile(k_ptr + item * M * D, columns, M, dims, D), _tile(v_ptr + item * M * D, columns, M, dims, D)
        lse = tl.load(stats_ptr + (item * R + rows) * 2, mask=rows < R, other=float("inf"))
        delta = tl.load(stats_ptr + (item * R + rows) * 2 + 1, mask=rows < R, other=0.0)
        weights = tl.exp2(tl.dot(q, tl.trans(k)) * 1.4426950408889634 + bias - lse[:, None])
        sums += weights * (tl.dot(grad, tl.trans(v)) - delta[:, None])
    at = share * R * M + ((rows % H) * (R // H) + rows // H)[:, None] * M + columns[None, :]
    tl.store(dbias_ptr + at, sums, mask=(rows[:, None] < R) & (columns[None, :] < M))
