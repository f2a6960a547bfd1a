"""Attention kernels by their blocks, and torch's attention beside them, at the shapes of STTM, MindEye2 and ViT3D:

    PYTHONPATH=$PWD python benchmarks/attention_h100.py --out attention.json    # one H100, at most 90 s
    PYTHONPATH=$PWD python benchmarks/attention_h100.py --tiny                  # Triton's interpreter, on a CPU

- ``blocks``: forward pass, gradient of queries, of keys and values, and of the bias, each by itself with several
  `braindec.models.priors.fused_attention.Blocks`: the table's first, then others; at the second shape the table's and
  the best of the first. New blocks take some half a second to compile.
- ``peers``: forward and backward pass of ours, of torch's fused attention with the bias, and of plain products.
- ``volume``: torch's ways of attention with dropout at ViT3D's shape, with and without the mask of empty patches.

TFLOP/s count each kernel's own matrix products (forward 2, queries 3, keys 4, bias 2 of B x L x H x M x D); of whole
passes the least that is needed, 7. Lines are printed as they are measured; ``--out`` is written after each.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from limits import shown

SHAPES = {"sttm": (128, 12, 515, 64), "mindeye2": (24, 32, 513, 52)}
"""Batch, heads, queries and width; keys are one more."""
VOLUME = (128, 12, 289, 64)
PRODUCTS = {"forward": 2, "query": 3, "key": 4, "bias": 2}
OTHERS = {
    "forward": ((128, 64, 4, 3), (128, 64, 8, 2), (64, 64, 4, 3), (128, 32, 4, 3), (128, 32, 8, 4), (128, 128, 8, 2)),
    "query": (
        (64, 64, 4, 2, 128), (128, 64, 8, 2, 128), (128, 32, 8, 3), (64, 32, 4, 3), (64, 64, 4, 3), (128, 64, 8, 2),
    ),
    "key": (
        (64, 64, 4, 2), (64, 64, 4, 3, 168), (32, 64, 4, 3), (32, 64, 4, 2), (64, 64, 8, 2), (32, 128, 8, 3),
        (64, 128, 8, 2), (128, 64, 8, 2),
    ),
    "bias": (
        (64, 64, 4, 2), (64, 64, 8, 2), (128, 64, 8, 2), (64, 128, 8, 2), (64, 64, 4, 3), (64, 64, 8, 3),
        (128, 64, 8, 3),
    ),
}  # fmt: skip
"""Rows, columns, warps, stages and registers, the likeliest first; compiled for a H100 hardly any spills registers."""
CARRIED_ON = 3
"""Best blocks of the first shape that are tried at the second."""


class Report:
    """Lines of figures, printed and written at once."""

    def __init__(self, out: Path | None, seconds: float) -> None:
        self.out, self.rows = out, list[dict[str, Any]]()
        self.end = time.perf_counter() + seconds

    def add(self, **row: Any) -> None:
        """One line."""
        self.rows.append(row)
        print("  ".join(shown(key, value) for key, value in row.items()), flush=True)
        if self.out is not None:
            self.out.write_text(json.dumps(self.rows, indent=1) + "\n", encoding="utf-8")

    def over(self) -> bool:
        """Whether the time is spent."""
        return time.perf_counter() > self.end


def milliseconds(work: Callable[[], Any], device: str) -> float:
    """Time of some work: the least of three blocks of some 40 ms, after one call that compiles."""
    work()
    if device == "cpu":
        began = time.perf_counter()
        work()
        return 1e3 * (time.perf_counter() - began)

    def block(n: int) -> float:
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        first.record()
        for _ in range(n):
            work()
        last.record()
        last.synchronize()
        return first.elapsed_time(last) / n

    n = max(2, min(100, int(40 / max(block(1), 0.01))))
    return min(block(n) for _ in range(3))


def material(shape: tuple[int, int, int, int], device: str) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Query, key, value and bias, and a gradient of the output; scores of the prior's size."""
    batch, heads, length, width = shape
    torch.manual_seed(0)
    half = torch.float32 if device == "cpu" else torch.bfloat16
    sizes = (batch, length, heads, width), *2 * ((batch, length + 1, width),)
    given = [torch.nn.functional.normalize(torch.randn(size, device=device), dim=-1).to(half) for size in sizes]
    given[0] *= 16
    return [*given, torch.randn(heads, length, length + 1, device=device)], torch.randn_like(given[0])


def blocks_part(report: Report, shapes: dict[str, tuple[int, int, int, int]], device: str) -> None:
    """Each kernel by its blocks."""
    from braindec.models.priors import fused_attention
    from braindec.models.priors.fused_attention import Blocks, Problem

    kept: dict[str, list[Blocks]] = {}
    for name, shape in shapes.items():
        batch, heads, length, width = shape
        given, gradient = material(shape, device)
        problem = Problem(*given)
        out, lse = problem.forward()
        _, stats = problem.query_gradient(out, lse, gradient)
        calls: dict[Any, Callable[[Blocks], Any]] = {
            "forward": lambda blocks, p=problem: p.forward(blocks),
            "query": lambda blocks, p=problem, o=out, e=lse, g=gradient: p.query_gradient(o, e, g, blocks),
            "key": lambda blocks, p=problem, s=stats, g=gradient: p.key_gradients(s, g, blocks),
            "bias": lambda blocks, p=problem, s=stats, g=gradient: p.bias_gradient(s, g, blocks),
        }
        best: dict[str, tuple[float, Blocks]] = {}
        for kernel, call in calls.items():
            table = fused_attention.BLOCKS[kernel, 64 if width <= 64 else 128]
            tried = [table, *(b for b in kept.get(kernel, [Blocks(*c) for c in OTHERS[kernel]]) if b != table)]
            usual = call(table)[0].float()
            found: list[tuple[float, Blocks]] = []
            for blocks in tried[:2] if device == "cpu" else tried:
                if report.over():
                    break
                row: dict[str, Any] = {"shape": name, "kernel": kernel, **vars(blocks)}
                try:
                    spent = milliseconds(lambda b=blocks, c=call: c(b), device)
                    error = float((call(blocks)[0].float() - usual).norm() / usual.norm())
                except Exception as failure:  # blocks that a GPU has too little memory for must not cost the others
                    report.add(**row, failed=str(failure)[:120])
                    continue
                work = 2 * PRODUCTS[kernel] * batch * heads * length * (length + 1) * width
                report.add(**row, ms=spent, tflops=work / spent / 1e9, difference=error)
                found.append((spent, blocks))
            found.sort(key=lambda pair: pair[0])
            kept[kernel] = [blocks for _, blocks in found[:CARRIED_ON]]
            best |= {kernel: found[0]} if found else {}
        for kernel, (spent, blocks) in best.items():
            report.add(best=name, kernel=kernel, **vars(blocks), ms=spent)


def both_ways(attend: Callable[..., torch.Tensor], given: list[torch.Tensor], gradient: torch.Tensor) -> None:
    """Forward and backward pass."""
    inputs = [v.detach().requires_grad_() for v in given]
    attend(*inputs).backward(gradient)


def unfused(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """The same of two products and a softmax, scores in memory."""
    scores = torch.einsum("blhd,bmd->bhlm", q, k) + bias.to(q.dtype)
    return torch.einsum("bhlm,bmd->blhd", scores.softmax(dim=-1), v)


def peers_part(report: Report, shapes: dict[str, tuple[int, int, int, int]], device: str) -> None:
    """Whole passes beside torch's."""
    from braindec.models.priors.fused_attention import biased_attention
    from braindec.models.priors.transformer import plain_attention

    ways = {"ours": biased_attention, "torch, fused": plain_attention, "torch, unfused": unfused}
    for name, shape in shapes.items():
        batch, heads, length, width = shape
        given, gradient = material(shape, device)
        for way, attend in ways.items():
            if report.over():
                return
            spent = milliseconds(lambda a=attend, i=given, g=gradient: both_ways(a, i, g), device)
            work = 2 * 7 * batch * heads * length * (length + 1) * width
            report.add(shape=name, way=way, ms=spent, tflops=work / spent / 1e9)


def volume_part(report: Report, shape: tuple[int, int, int, int], device: str) -> None:
    """Torch's backends at ViT3D's shape."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    batch, heads, length, width = shape
    half = torch.float32 if device == "cpu" else torch.bfloat16
    qkv = torch.randn(batch, length, 3, heads, width, device=device, dtype=half).permute(2, 0, 3, 1, 4)
    gradient = torch.randn(batch, heads, length, width, device=device, dtype=half)
    seen = torch.rand(batch, 1, 1, length, device=device) < 0.7
    chosen = {
        "torch's choice": [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION],
        "cudnn": [SDPBackend.CUDNN_ATTENTION],
        "flash": [SDPBackend.FLASH_ATTENTION],
        "efficient": [SDPBackend.EFFICIENT_ATTENTION],
    }
    for way, backends in chosen.items():
        for masked in (True, False):
            if report.over():
                return

            def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, masked: bool = masked) -> torch.Tensor:
                mask = seen if masked else None
                return torch.nn.functional.scaled_dot_product_attention(q, k, v, mask, dropout_p=0.1)

            try:
                with sdpa_kernel([SDPBackend.MATH] if device == "cpu" else backends):
                    spent = milliseconds(lambda a=attend: both_ways(a, list(qkv), gradient), device)
            except RuntimeError as failure:
                report.add(shape="vit3d", way=way, masked=masked, failed=str(failure)[:120])
                continue
            report.add(shape="vit3d", way=way, masked=masked, ms=spent)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="small shapes in Triton's interpreter, on a CPU")
    parts = ("peers", "volume", "blocks")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--seconds", type=float, default=85.0, help="measure nothing more after this time")
    parser.add_argument("--out", type=Path, help="write the lines as JSON")
    given = parser.parse_args()
    if given.tiny:
        os.environ["TRITON_INTERPRET"] = "1"  # read when the kernels are imported
    device = "cpu" if given.tiny else "cuda"
    shapes = {name: (2, 2, 20, 16) if given.tiny else SHAPES[name] for name in given.shapes}
    report = Report(given.out, given.seconds)
    report.add(device="cpu" if given.tiny else torch.cuda.get_device_name(), torch=torch.__version__)
    for part in given.parts:
        if part == "volume":
            volume_part(report, (2, 2, 20, 16) if given.tiny else VOLUME, device)
        else:
            {"blocks": blocks_part, "peers": peers_part}[part](report, shapes, device)


if __name__ == "__main__":
    main()
