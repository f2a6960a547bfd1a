"""Time to mask one NSD session at true size: braindec's readers against the plain h5py and nibabel ways.

Writes two temporary files (about 1.2 GB) in the true layout, measures each way in its own process and deletes them:

    python benchmarks/nsd_read.py [--folder /tmp] [--repeats 3] [--nifti-trials 200]
        [--warm-only | --prepared-only]

``cold`` means that the file's pages were dropped from the page cache first. The NIfTI comparison uses fewer trials,
because nibabel's float64 copy of a whole session needs more than 4 GB; the plain HDF5 way reads the whole session in
four pieces, because h5py needs 5 GB to read it in one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from braindec.datasets.nsd.reader import NSD

GRID = (81, 104, 83)
N_TRIALS = 750
N_VOXELS = 15_724
WAYS = ("hdf5-plain", "hdf5-braindec", "hdf5-prepare", "nifti-plain", "nifti-braindec")


def mask_index(rng: np.random.Generator) -> np.ndarray:
    """Int (15724, 3): a folded ribbon around the posterior pole, as scattered over the grid as visual cortex is."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in GRID), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2) + 0.05 * np.sin(14 * x) * np.sin(11 * z)
    distance = np.where(y < -0.2, np.abs(radius - 0.75) + 0.02 * rng.random(GRID), np.inf)
    mask = np.zeros(GRID, dtype=bool)
    mask.ravel()[np.argsort(distance, axis=None)[:N_VOXELS]] = True
    return np.argwhere(mask)


def write_files(folder: Path, nifti_trials: int) -> None:
    import h5py
    import nibabel

    rng = np.random.default_rng(0)
    np.save(folder / "index.npy", mask_index(rng))
    with h5py.File(folder / "session.hdf5", "w") as file:
        data = file.create_dataset("betas", (N_TRIALS, *GRID[::-1]), dtype="<i2", chunks=(N_TRIALS, 1, 1, 1))
        for z in range(GRID[2]):
            data[:, z] = rng.integers(-3000, 3000, (N_TRIALS, GRID[1], GRID[0]), dtype=np.int16)
    volume = np.asfortranarray(rng.integers(-3000, 3000, (*GRID, nifti_trials), dtype=np.int16))
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([1.8, 1.8, 1.8, 1.0])), folder / "session.nii.gz")


def run_way(way: str, folder: Path, nifti_trials: int) -> None:
    """Do one way and print its seconds and the process's peak memory, above that of its imports, as JSON."""
    import h5py
    import nibabel

    from braindec.datasets.cache import assemble
    from braindec.datasets.nsd.betas import read_hdf5, read_nifti, to_psc

    index = np.load(folder / "index.npy")
    x, y, z = index.T
    before = peak_kb()
    start, cpu = time.perf_counter(), time.process_time()
    if way == "hdf5-plain":
        with h5py.File(folder / "session.hdf5") as file:
            stored = file["betas"]
            out = np.empty((N_TRIALS, N_VOXELS), dtype=np.float32)
            edges = np.linspace(0, GRID[2], 5).astype(int)
            for low, high in pairwise(edges.tolist()):
                inside = (z >= low) & (z < high)
                whole = stored[:, low:high]
                out[:, inside] = whole[:, z[inside] - low, y[inside], x[inside]].astype(np.float32) / 300
    elif way == "hdf5-braindec":
        out = to_psc(read_hdf5(folder / "session.hdf5", index, GRID, N_TRIALS))
    elif way == "hdf5-prepare":
        blocks = [(0, N_TRIALS, lambda: to_psc(read_hdf5(folder / "session.hdf5", index, GRID, N_TRIALS)))]
        out, _ = assemble(Path(tempfile.mkdtemp(dir=folder)), (N_TRIALS, N_VOXELS), blocks, {})
    elif way == "nifti-plain":
        out = nibabel.load(folder / "session.nii.gz").get_fdata()[x, y, z].T.astype(np.float32) / 300
    else:
        out = to_psc(read_nifti(folder / "session.nii.gz", index, GRID, nifti_trials))
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = peak_kb()
    print(json.dumps({"seconds": seconds, "cpu_s": cpu, "peak_gb": peak / 1e6, "above_start_gb": (peak - before) / 1e6,
                      "check": float(np.asarray(out[:, ::997], dtype=np.float64).sum())}))  # fmt: skip


def peak_kb() -> int:
    """Peak resident memory of this process (getrusage would include the parent's)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def drop_pages(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)


def measure(way: str, folder: Path, nifti_trials: int, cold: bool) -> dict[str, float]:
    if cold:
        drop_pages(folder / ("session.hdf5" if way.startswith("hdf5") else "session.nii.gz"))
    command = [sys.executable, __file__, "--way", way, "--folder", str(folder), "--nifti-trials", str(nifti_trials)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def ratios(results: dict[str, dict[str, float]], clock: str) -> str:
    """How many times faster than the plain ways, by wall clock or by CPU time (which other programs do not disturb)."""
    hdf5 = [results["hdf5-plain"][clock] / results[way][clock] for way in ("hdf5-braindec", "hdf5-prepare")]
    nifti = results["nifti-plain"][clock] / results["nifti-braindec"][clock]
    return f"  by {clock}: HDF5 read {hdf5[0]:.0f}x, read and cached {hdf5[1]:.0f}x, NIfTI {nifti:.1f}x"


def prepared(folder: Path) -> tuple[NSD, Path]:
    """A prepared 40-session data set of true size: design, masks, lists and the finished array's form are real, but the
    large files are holes, read as 0, which take no disk."""
    from braindec.datasets.cache import FINAL, MANIFEST, write_json
    from braindec.datasets.nsd import layout, reader
    from braindec.datasets.nsd.fake import write_fake

    root = folder / "nsd"
    write_fake(root, storage=(), true_size=True)
    for session in range(1, 41):
        path = layout.betas_file(root, "subj01", layout.BETAS, "hdf5", session)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(int(np.prod(GRID)) * N_TRIALS * 2)
    assemble = reader.assemble

    def leave_holes(target: Path, shape: tuple[int, ...], blocks: Any, source: Any, *more: Any) -> Any:
        target.mkdir(parents=True)
        np.lib.format.open_memmap(target / FINAL, mode="w+", dtype=np.float32, shape=shape).flush()
        write_json(target / MANIFEST, {"source": source, "shape": list(shape), "dtype": "float32", "bad": []})
        return assemble(target, shape, blocks, source, *more)

    dataset = reader.NSD(str(root), cache_dir=str(folder / "cache"))
    reader.assemble = leave_holes
    try:
        dataset.trials("subj01")
    finally:
        reader.assemble = assemble
    return dataset, folder / "cache"


def load_prepared(folder: Path, repeats: int) -> None:
    """Time what a user's training calls: ``trials()`` of a prepared person, and a second ``braindec prepare``."""
    from braindec.compose import compose
    from braindec.prepare import prepare

    dataset, cache = prepared(folder)
    times = []
    for _ in range(repeats):
        start, cpu = time.perf_counter(), time.process_time()
        trials = dataset.trials("subj01")
        rows = np.sort(np.random.default_rng(0).choice(len(trials), 128, replace=False))
        trials.signal[rows].sum()
        times.append((time.perf_counter() - start, time.process_time() - cpu))
    n_train = int((trials.table["split"] == "train").sum())
    print(
        f"trials() of a prepared person, {len(trials):,} x {trials.space.size:,} ({n_train:,} of them training), and a "
        f"batch of 128: {min(times)[0]:.3f} s ({min(cpu for _, cpu in times):.3f} s of CPU)"
    )
    config = compose("prepare", ["dataset=nsd", f"dataset.root={dataset.root}", f"cache_dir={cache}", "subject=subj01"])
    for run in ("first", "second"):
        start, cpu = time.perf_counter(), time.process_time()
        prepare(config)
        seconds, used = time.perf_counter() - start, time.process_time() - cpu
        print(f"prepare, {run} run: {seconds:.2f} s ({used:.2f} s of CPU)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", default=None)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--nifti-trials", type=int, default=200)
    parser.add_argument("--warm-only", action="store_true")
    parser.add_argument("--prepared-only", action="store_true")
    parser.add_argument("--way", choices=WAYS)
    options = parser.parse_args()
    if options.way:
        run_way(options.way, Path(options.folder), options.nifti_trials)
        return
    folder = Path(tempfile.mkdtemp(prefix="nsd_read_", dir=options.folder))
    try:
        if options.prepared_only:
            load_prepared(folder, options.repeats)
            return
        write_files(folder, options.nifti_trials)
        for cold in (False,) if options.warm_only else (True, False):
            results = {}
            for way in WAYS:
                runs = [measure(way, folder, options.nifti_trials, cold) for _ in range(options.repeats)]
                results[way] = min(runs, key=lambda run: run["seconds"])
                best = results[way]
                state = "cold" if cold else "warm"
                print(
                    f"{state} {way:14s} {best['seconds']:7.3f} s ({best['cpu_s']:.3f} s of CPU)   peak "
                    f"{best['peak_gb']:.2f} GB ({best['above_start_gb']:.2f} GB above the imports)   "
                    f"check {best['check']:.1f}"
                )
            for clock in ("seconds", "cpu_s"):
                print(ratios(results, clock))
        load_prepared(folder, options.repeats)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
