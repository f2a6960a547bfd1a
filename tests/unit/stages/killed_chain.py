"""Reconstructs ten items two at a time, killing itself in a chunk (-1: never). Arguments: folder, chunk."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from braindec.contracts import StageContext
from braindec.stages.chain import reconstruct_fold
from braindec.stages.seeds import item_seeds
from braindec.types import Predictions, Reconstructions
from tests.unit.stages.generative import context_of, predictions_of


class SeededPictures:
    """A stage whose picture is noise of the item's own seed; counts its calls."""

    def __init__(self, killed_at: int = -1, raised_at: int = -1) -> None:
        self.killed_at = killed_at
        self.raised_at = raised_at
        self.calls = 0

    def run(self, predictions: Predictions, previous: Reconstructions | None, context: StageContext) -> Reconstructions:
        """Kills the process, or raises, in the given call."""
        if self.calls == self.raised_at:
            raise ZeroDivisionError
        if self.calls == self.killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.calls += 1
        seeds = item_seeds(predictions, context.seed)
        images = [np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8) for seed in seeds]
        return Reconstructions(predictions.table, images=np.stack(images), chain=("seeded",))


def reconstructed(folder: Path, stage: SeededPictures, key: str = "key", seed: int = 0, **options):
    """Ten items, two at a time."""
    predictions = predictions_of({"x": np.arange(10).reshape(10, 1, 1)})
    context = replace(context_of({}), seed=seed)
    return reconstruct_fold(folder, key, {"seeded": stage}, predictions, context, 2, **options)


if __name__ == "__main__":
    reconstructed(Path(sys.argv[1]), SeededPictures(int(sys.argv[2])))
