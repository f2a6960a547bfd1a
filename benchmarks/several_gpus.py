"""Training and reconstruction on several GPUs of one host against one, with random data and weights.

    PYTHONPATH=$PWD python benchmarks/several_gpus.py --gpus 2 --out several.json   # two H100 or H200, about 2 minutes
    PYTHONPATH=$PWD python benchmarks/several_gpus.py --gpus 2 --tiny               # two processes of a CPU

Training: steps of MindBridge and STTM at their true sizes, as many trials on every GPU as on the one; trials a second.
Reconstruction: Stable Diffusion 1.5, 37 guided steps, as many pictures for every GPU as for the one, from embeddings in
host memory to PNG files of one folder; pictures a second. Nothing is compiled: the ratio is what is asked.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import random_diffusion
import step_times
import torch
import true_shapes
from diffusion_h100 import Benchmark, Starts, context_on, predictions_of

from braindec.contracts import FitContext
from braindec.stages.chain import reconstruct_fold
from braindec.stages.sharing import Share, share_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=2)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--images", type=int, default=64, help="pictures for each GPU")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker is not None:
        work(given)
        return
    rates = {}
    with tempfile.TemporaryDirectory() as folder:
        for n in (1, given.gpus):
            written = Path(folder) / f"{n}.json"
            size = ["--tiny"] if given.tiny else []
            launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n)]
            command = [
                sys.executable,
                *launcher,
                __file__,
                *size,
                "--images",
                str(given.images),
                "--worker",
                str(written),
            ]
            subprocess.run(command, check=True)
            rates[n] = json.loads(written.read_text())
    found = {
        "device": "cpu" if given.tiny else torch.cuda.get_device_name(),
        "gpus": given.gpus,
        "one": rates[1],
        "all": rates[given.gpus],
        "times": {name: rates[given.gpus][name] / rate for name, rate in rates[1].items()},
    }
    print(json.dumps(found))
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=1) + "\n")


def work(given: argparse.Namespace) -> None:
    """What every process does; the first writes the rates of all together."""
    share = share_of()
    device = share.device("cpu" if given.tiny else "cuda")
    if not given.tiny:
        torch.cuda.set_device(share.local_rank)
    rates: dict[str, float] = {}

    def keep(name: str, rate: float) -> None:
        rates[name] = rate
        if share.rank == 0:
            print(f"{share.world} together  {name}  {rate:.5g} a second", flush=True)
            given.worker.write_text(json.dumps(rates))

    for name in ("mindbridge", "sttm"):
        keep(name, trials_per_second(name, given.tiny, share))
    keep("stable diffusion 1.5", pictures_per_second(given, share, device))
    torch.distributed.destroy_process_group()


def trials_per_second(name: str, tiny: bool, share: Share) -> float:
    """Of all processes together."""
    kind = "cpu" if tiny else "cuda"
    fast: dict[str, Any] = {} if tiny else {"precision": "bf16", "data_on_device": "always"}
    decoder, data, batch = getattr(true_shapes, name)(tiny, fast)
    decoder.engine = replace(decoder.engine, batch_size=batch * share.world)
    with tempfile.TemporaryDirectory() as folder:
        engine = decoder.prepare(data, FitContext(0, kind, Path(folder)))
    engine.wrapped.train()
    batches = step_times.endless(engine)
    seconds = step_times.block_seconds(engine, batches, step_times.Clock(kind), 2 if tiny else 20, 4)
    batches.close()
    del engine
    step_times.clear()
    return batch * share.world / seconds


def pictures_per_second(given: argparse.Namespace, share: Share, device: str) -> float:
    """Of all processes together, from the moment that all begin until the last one ends."""
    random_diffusion.set_size(given.tiny)
    options = argparse.Namespace(tiny=given.tiny, compiled=False, batch=32, images=given.images, out=None)
    shared = Path(given.worker).parent
    with tempfile.TemporaryDirectory() as root:
        benchmark = Benchmark(options, random_diffusion.save_rest(Path(root)))
        benchmark.compiled, benchmark.device = False, device
        model = random_diffusion.RandomStableDiffusion(str(benchmark.folders["sd"]), benchmark.dtype, compiled=False)
        shapes, context = {"text": (77, 768)}, context_on(device)
        few = benchmark.stage(model, {"text": "text"}, steps=3)
        benchmark.warmed("first", {"starts": Starts(), "diffusion": few}, shapes, context)
        stages = {"starts": Starts(), "diffusion": benchmark.stage(model, {"text": "text"})}
        predictions = predictions_of(benchmark.n * share.world, shapes)
        folder = shared / f"pictures_{share.world}"
        wait()
        began = time.perf_counter()
        reconstruct_fold(folder, "key", stages, predictions, context, benchmark.batch, share)
        wait()
        seconds = time.perf_counter() - began
    n_pictures = len(list(folder.rglob("*.png")))
    if n_pictures != len(predictions):
        raise RuntimeError(f"expected {len(predictions)} pictures, found {n_pictures}")
    return n_pictures / seconds


def wait() -> None:
    """Until all processes have come here."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    torch.distributed.barrier()


if __name__ == "__main__":
    main()
