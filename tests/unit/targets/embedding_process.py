"""One of several processes that fill a cache: python embedding_process.py CACHE LOG [KILLED_AFTER]

Appends the number of each stimulus that it embeds to LOG; kills itself, as a scheduler would, once it has embedded
KILLED_AFTER of them.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from braindec.targets.cache import load_or_compute
from braindec.types import Stimuli

N_STIMULI = 60
CHUNK_BYTES = 4 * 2 * 16 * 5


def stimuli() -> Stimuli:
    return Stimuli(tuple(map(str, range(N_STIMULI))), texts=tuple(f"text {i}" for i in range(N_STIMULI)))


def expected() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((N_STIMULI, 5, 16)).astype(np.float16)


class Logged:
    """A frozen network's target that says which stimuli it embeds."""

    stored = "float16"
    batch_size = 2
    distinct = True

    def __init__(self, log: Path, killed_after: int) -> None:
        self.log = log
        self.killed_after = killed_after

    def fingerprint(self) -> str:
        return "one network"

    def embed_batches(self, shown: Stimuli, rows: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        n_done = 0
        for own in rows:
            time.sleep(0.01)
            with open(self.log, "a") as file:
                file.write("".join(f"{row}\n" for row in own))
            n_done += len(own)
            if 0 < self.killed_after <= n_done:
                os.kill(os.getpid(), signal.SIGKILL)
            yield expected()[own]


if __name__ == "__main__":
    killed_after = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    found = load_or_compute(
        Logged(Path(sys.argv[2]), killed_after), stimuli(), Path(sys.argv[1]), "logged", chunk_bytes=CHUNK_BYTES
    )
    # Equal to what one process would have embedded, whoever did it.
    np.testing.assert_array_equal(found.values, expected())
