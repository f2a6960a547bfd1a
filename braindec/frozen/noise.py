"""Random numbers that belong to an item: row i from seed i alone, whatever its batch, its place in it, or the device.

Legend: N items.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import torch
from torch import Tensor

Law = Literal["normal", "uniform"]
_DRAW: dict[Law, Callable[..., Tensor]] = {"normal": torch.randn, "uniform": torch.rand}
_MOST_THREADS = 16
_WORTH_THREADS = 1 << 20
"""Numbers in all from which on threads are faster than one."""


def noise_of(
    seeds: Sequence[int],
    shape: Sequence[int],
    device: torch.device | str,
    law: Law = "normal",
    draw_on: torch.device | str = "cpu",
) -> Tensor:
    """Float32 noise (N, *shape) on ``device``.

    A generator draws its numbers one after another, at a few hundred million a second: the 31 million of 32 pictures
    of a very deep VAE take as long as three steps of a diffusion network. So rows are drawn by several threads, each
    row by its own generator.

    Parameters
    ----------
    law : standard normal, or uniform in [0, 1).
    draw_on : device whose generator draws; ``"cpu"`` gives the same numbers on every machine.
    """
    shape = tuple(shape)
    draw, draw_on = _DRAW[law], torch.device(draw_on)
    pinned = draw_on.type == "cpu" and torch.device(device).type == "cuda"
    rows = torch.empty(len(seeds), *shape, device=draw_on, pin_memory=pinned)

    def fill(row: Tensor, seed: int) -> None:
        with torch.inference_mode(row.is_inference()):  # each thread has a mode of its own
            draw(shape, generator=torch.Generator(draw_on).manual_seed(int(seed)), out=row)

    if draw_on.type == "cpu" and len(seeds) > 1 and rows.numel() >= _WORTH_THREADS:
        with ThreadPoolExecutor(min(_MOST_THREADS, len(seeds), os.cpu_count() or 1)) as pool:
            list(pool.map(fill, rows, seeds))
    else:
        for row, seed in zip(rows, seeds, strict=True):
            fill(row, seed)
    return rows.to(device, non_blocking=pinned)
