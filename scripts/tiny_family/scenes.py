"""Training and held-out scenes on a device.

Legend: n scenes, H W height and width, L tokens of a caption.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from braindec.datasets.simulated.scenes import SceneBatch, render_scenes

from .plan import HELD_OUT_SEED, SIZE, Run
from .render import FIELDS


@dataclass(frozen=True)
class Scenes:
    """Scenes on a device.

    ``images`` uint8 (n, H, W, 3); ``depth`` float16 (n, H, W); ``mask`` uint8 (n, H/8, W/8), 1 where an object is;
    ``tokens`` int16 (n, 6, L), padded with ``end``; ``labels`` uint8 (n, 3), object, place and whether there is
    a second object.
    """

    images: Tensor
    depth: Tensor
    mask: Tensor
    tokens: Tensor
    labels: Tensor
    vocabulary: int
    start: int
    end: int
    padding: int

    def __len__(self) -> int:
        return len(self.images)

    def draw(self, n: int) -> Tensor:
        """Rows of ``n`` scenes at random."""
        return torch.randint(len(self.images), (n,), device=self.images.device)


def wait_for(path: Path, failed: Path | None = None) -> None:
    """Block until a file appears.

    Raises
    ------
    RuntimeError
        If ``failed`` appears before it.
    """
    while not path.exists():
        if failed is not None and failed.exists():
            raise RuntimeError(f"{failed} says that what was waited for failed")
        time.sleep(0.2)


def load_scenes(run: Run, part: str = "train", fields: tuple[str, ...] = ()) -> Scenes:
    """Rendered scenes on the run's device; only the named fields (none: all) are read, the others are empty."""
    from tokenizers import Tokenizer

    wait_for(run.work / "scenes" / "done.json")
    tokenizer = Tokenizer.from_file(str(run.work / "tokenizer" / "tokenizer.json"))
    arrays = {}
    for field in FIELDS:
        path = run.work / "scenes" / f"{part}_{field}.npy"
        wanted = not fields or field in fields
        array = np.load(path) if wanted else np.zeros((1,), dtype=np.uint8)
        arrays[field] = torch.from_numpy(array).to(run.device)
    return Scenes(
        **arrays,
        vocabulary=tokenizer.get_vocab_size(),
        start=tokenizer.token_to_id("<|startoftext|>"),
        end=tokenizer.token_to_id("<|endoftext|>"),
        padding=tokenizer.token_to_id("<|padding|>"),
    )


def held_out(n: int) -> SceneBatch:
    """Held-out scenes with their captions, for figures and sheets."""
    return render_scenes(n, HELD_OUT_SEED, SIZE)
