"""Ridge at the full size of an NSD subject: 8859 x 15,724 features, three target arrays of 347,680 values in all.

    python benchmarks/ridge_nsd.py --out ridge_nsd.json              # one GPU of 40 GB or more, 16 GB of host memory
    python benchmarks/ridge_nsd.py --device cpu --scale 0.03         # the same, tiny

Two end-to-end times, both from features and targets in host memory to predictions in host memory: with one given
alpha a target array, and with the alpha of each array chosen among ten on held-out stimuli. One warm-up run on few
targets (library initialisation, pinned memory) precedes them and is reported apart. A random subset of targets is
compared with a float64 solution made by other means (LU of the normal equations).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from braindec.models.column_blocks import TargetColumns
from braindec.models.ridge import ridge_system
from braindec.models.ridge_cv import HeldOut, choose_alpha, leave_out_labels
from braindec.models.ridge_targets import ColumnStream, predict

SIZES = {"vdvae": 91_168, "clip_vision": 257 * 768, "clip_text": 77 * 768}
GIVEN = {"vdvae": 5e4, "clip_vision": 6e4, "clip_text": 1e5}
CANDIDATES = np.geomspace(1e3, 1e6, 10)


def make_data(n_train, n_test, n_features, sizes, device, folder, seed=0, rank=200):
    """Features of a few strong shared components plus noise, and targets that are low-rank in them plus noise."""
    generator = torch.Generator(device=device).manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, device=device)

    n = n_train + n_test
    latent = normal(n, rank)
    x = (latent * torch.linspace(1.5, 0.3, rank, device=device)) @ normal(rank, n_features) / rank**0.5
    x += normal(n, n_features)
    x = x.cpu().numpy()
    targets, truths = {}, {}
    for number, (name, size) in enumerate(sizes.items()):
        shape = (n_train, size)
        if folder is None:
            values = np.empty(shape, np.float32)
        else:
            values = np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=np.float32, shape=shape)
        truth = np.empty((n_test, size), np.float32)
        for start in range(0, size, 8192):
            stop = min(start + 8192, size)
            block = latent @ normal(rank, stop - start) / rank**0.5 + normal(n, stop - start) * (1 + number) + 0.5
            values[:, start:stop] = block[:n_train].cpu().numpy()
            truth[:, start:stop] = block[n_train:].cpu().numpy()
        if folder is not None:
            values.flush()
            values = np.load(folder / f"{name}.npy", mmap_mode="r")
        targets[name], truths[name] = values, truth
    return x[:n_train], x[n_train:], targets, truths


def solve(x, x_test, targets, device, precision, selection, alphas, marks):
    """Predictions of all targets and the alphas; ``marks`` receives (stage, seconds so far)."""
    began = time.perf_counter()

    def mark(stage):
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        marks.append((stage, round(time.perf_counter() - began, 4)))

    system = ridge_system(x, device=device, precision=precision)
    mark("features and gram")
    keep = selection is not None and device.startswith("cuda")
    streams = [ColumnStream(system, TargetColumns.whole(name, y), keep=keep) for name, y in targets.items()]
    chosen = dict(alphas)
    if selection is not None:
        groups = np.arange(len(x))
        held_out = HeldOut(system, CANDIDATES, leave_out_labels(groups, selection))
        if system.form == "dual":
            held_out.forms_AUU  # noqa: B018 - computed here so that it is timed apart
            mark("held-out forms")
        for stream in streams:
            choice = choose_alpha(held_out, stream)
            chosen[stream.target.name] = float(choice.chosen[0])
        mark("targets sent and scored")
        del held_out
    predictions = predict(system, x_test, streams, chosen)
    mark("predictions in host memory")
    return predictions, chosen


def reference_error(x, x_test, targets, predictions, alphas, device, n_checked=64):
    """Largest error of random targets, relative to the SD of the reference predictions; float64, LU."""
    a = torch.from_numpy(np.array(x)).to(device, torch.float64)
    mean = a.mean(0)
    a -= mean
    b = torch.from_numpy(np.array(x_test)).to(device, torch.float64) - mean
    kernel, cross = a @ a.T, b @ a.T
    del a, b
    rng = np.random.default_rng(1)
    worst = {}
    for name, values in targets.items():
        columns = np.sort(rng.choice(values.shape[1], min(n_checked, values.shape[1]), replace=False))
        y = torch.from_numpy(np.ascontiguousarray(values[:, columns])).to(device, torch.float64)
        shifted = kernel + alphas[name] * torch.eye(len(kernel), dtype=torch.float64, device=device)
        exact = cross @ torch.linalg.solve(shifted, y - y.mean(0)) + y.mean(0)
        found = torch.from_numpy(np.ascontiguousarray(predictions[name][:, columns])).to(device, torch.float64)
        worst[name] = float((found - exact).abs().max() / exact.std())
    return worst


def mean_r2(truth, predicted, n_columns=2000):
    truth, predicted = truth[:, :n_columns].astype(np.float64), predicted[:, :n_columns].astype(np.float64)
    return float(1 - ((truth - predicted) ** 2).sum() / ((truth - truth.mean(0)) ** 2).sum())


def timed_case(name, data, options, selection):
    """One row of the result: best and all end-to-end times, stages of the best, errors, test R2."""
    x, x_test, targets, truths = data
    runs = []
    for _ in range(options.repeats):
        if options.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats()
        marks: list[tuple[str, float]] = []
        predictions, alphas = solve(x, x_test, targets, options.device, options.precision, selection, GIVEN, marks)
        runs.append((marks[-1][1], marks))
    seconds, marks = min(runs, key=lambda run: run[0])
    return {
        "case": name,
        "seconds": seconds,
        "all_seconds": [run[0] for run in runs],
        "stages": marks,
        "alphas": alphas,
        "peak_gpu_gb": torch.cuda.max_memory_allocated() / 1e9 if options.device.startswith("cuda") else None,
        "relative_error": reference_error(x, x_test, targets, predictions, alphas, options.device),
        "test_r2": {t: mean_r2(truths[t], predictions[t]) for t in predictions},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", default="float32", choices=("float32", "tf32", "float64"))
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies every size")
    parser.add_argument("--cases", nargs="+", default=["given", "loo", "kfold"], choices=("given", "loo", "kfold"))
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--memmap", type=Path, help="folder for memory-mapped targets (default: targets in memory)")
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    options = parser.parse_args()
    sizes = {name: max(8, int(size * options.scale)) for name, size in SIZES.items()}
    shape = [max(8, int(n * options.scale)) for n in (8859, 982, 15_724)]
    with tempfile.TemporaryDirectory(dir=options.memmap) as folder:
        began = time.perf_counter()
        data = make_data(*shape, sizes, options.device, Path(folder) if options.memmap else None)
        generation = time.perf_counter() - began
        print(f"data: {shape[0]} x {shape[2]} features, targets {sizes}, {shape[1]} test rows, {generation:.1f} s")
        began = time.perf_counter()
        few = {name: values[:, :4096] for name, values in data[2].items()}
        for selection in (None, "loo"):
            solve(data[0], data[1], few, options.device, options.precision, selection, GIVEN, [])
        warm_up = time.perf_counter() - began
        print(f"warm-up, not counted below: {warm_up:.2f} s")
        rows = [timed_case(case, data, options, None if case == "given" else case) for case in options.cases]
    device_name = torch.cuda.get_device_name() if options.device.startswith("cuda") else "cpu"
    print(f"{device_name}, torch {torch.__version__}, precision {options.precision}")
    print(f"{'case':8s} {'best s':>8s} {'peak GB':>8s} {'worst rel. error':>17s}  alphas; test R2; stages")
    for row in rows:
        peak = f"{row['peak_gpu_gb']:.1f}" if row["peak_gpu_gb"] else "-"
        error = max(row["relative_error"].values())
        print(f"{row['case']:8s} {row['seconds']:8.2f} {peak:>8s} {error:17.1e}  {row['alphas']}; {row['test_r2']}")
        print(f"         {row['stages']}; all runs {row['all_seconds']}")
    if options.out:
        result = {"device": device_name, "torch": torch.__version__, "precision": options.precision, "shape": shape}
        options.out.write_text(json.dumps({**result, "targets": sizes, "warm_up_s": warm_up, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
