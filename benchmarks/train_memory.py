"""Host memory of a training on all of NSD from memory maps, and how fast its rows are read.

    python benchmarks/train_memory.py --subjects 8 --steps 6

Signals and targets are sparse files of the true shapes (8 subjects, 27,000 trials of 12,682 to 17,907 voxels; 73,000
stimuli x 257 x 768), so that hardly any disk is needed; they are read like any others. The network is MindBridge's with
a narrow latent: its weights are no part of what is measured. Rates are given by the clock and by processor time, which
other programs on the machine do not change.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from braindec.contracts import FitContext, TrainingData
from braindec.models.adapters.pooled import PooledAdapter, PooledBuilder
from braindec.models.encoders.mlp import ResidualMLP
from braindec.models.heads.dense import LinearHead
from braindec.objectives.contrastive import SoftCLIP
from braindec.objectives.internal import Cycle, Reconstruction
from braindec.objectives.weighted import Weighted
from braindec.training.neural import NeuralDecoder
from braindec.training.settings import EngineSettings
from braindec.types import Space, TargetEmbeddings, Trials

VOXELS = (15_724, 14_278, 15_226, 13_153, 13_039, 17_907, 12_682, 14_386)
N_TRIALS, N_STIMULI, SHAPE = 27_000, 73_000, (257, 768)
SHARED = 1_000


def mapped(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A sparse file of zeros, mapped for reading."""
    np.lib.format.open_memmap(path, "w+", dtype=np.float32, shape=shape)
    return np.load(path, mmap_mode="r")


def recordings(folder: Path, n_subjects: int) -> TrainingData:
    """All subjects' trials: 9,000 images of one's own three times each."""
    ids = tuple(f"nsd{i:05d}" for i in range(N_STIMULI))
    train = {}
    for number, n_voxels in enumerate(VOXELS[:n_subjects]):
        own = np.tile(np.arange(N_TRIALS // 3) + SHARED + number * (N_TRIALS // 3), 3)
        table = pd.DataFrame(
            {
                "stimulus_id": [ids[i] for i in own],
                "concept": "c",
                "session": 1,
                "run": 1,
                "repetition": np.repeat([1, 2, 3], N_TRIALS // 3),
                "split": "train",
            }
        )
        signal = mapped(folder / f"subj{number + 1:02d}.npy", (N_TRIALS, n_voxels, 1))
        train[f"subj{number + 1:02d}"] = Trials(f"subj{number + 1:02d}", signal, "z", Space("voxels", n_voxels), table)
    targets = {"image": TargetEmbeddings("image", ids, mapped(folder / "image.npy", (N_STIMULI, *SHAPE)))}
    return TrainingData(train, {}, targets)


def resident() -> dict[str, float]:
    """GB of this process: private memory now, and the peak of all its resident memory."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"private_gb": int(lines["RssAnon"].split()[0]) / 1e6, "peak_resident_gb": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=8)
    parser.add_argument("--per-subject", type=int, default=50, help="trials of a subject in a step")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, help="where the sparse files lie; a temporary folder if not given")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        data = recordings(folder, arguments.subjects)
        size = sum(t.signal.nbytes for t in data.train.values()) + data.targets["image"].values.nbytes
        settings = EngineSettings(1, arguments.subjects * arguments.per_subject, 1e-4, data_on_device="never")
        decoder = NeuralDecoder(
            partial(PooledAdapter, pooled_size=8192, width=8, bottleneck=8),
            ResidualMLP,
            {"default": LinearHead},
            {"clip": Weighted(SoftCLIP()), "rebuilt": Weighted(Reconstruction()), "cycle": Weighted(Cycle())},
            settings,
            builder=PooledBuilder,
        )
        print(f"data {size / 1e9:.1f} GB; before: {resident()}", flush=True)
        engine = decoder.prepare(data, FitContext(0, arguments.device, folder / "checkpoint"))
        plan = engine.epoch(0)
        batches = engine.batches(plan)
        first = next(batches)
        trial = sum(v.nbytes for v in (*first.signals.values(), *first.targets.values())) / settings.batch_size
        started, worked = time.perf_counter(), time.process_time()
        n_read = sum(1 for _ in itertools.islice(batches, arguments.steps)) * settings.batch_size
        for clock, seconds in (("clock", time.perf_counter() - started), ("processor", time.process_time() - worked)):
            rate = n_read / seconds
            print(f"read alone, by {clock}: {rate:.0f} trials/s, {rate * trial / 1e9:.2f} GB/s", flush=True)
        print(resident(), flush=True)
        started = time.perf_counter()
        for step in range(arguments.steps):
            engine.update(step, batches)
        batches.close()
        print(f"{arguments.steps} steps: {time.perf_counter() - started:.1f} s; {resident()}", flush=True)


if __name__ == "__main__":
    main()
