"""Training speed at true shapes on random data: step times against their roofline, and whole trainings in seconds.

    python benchmarks/train_h100.py --out train.json          # under 4 minutes on one H100
    python benchmarks/train_h100.py --tiny                    # half a minute on a CPU, for checking the script
    python benchmarks/train_h100.py --cpu                     # the plain loop against ours on a CPU, a minute

Rooflines and ways of running a step: `step_times`. UBP's plain loop runs in float32, as published.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch._dynamo
from limits import Row, guarded
from step_times import Clock, block_seconds, clear, copy_rate, endless, measured, ordinary, plain_seconds
from true_shapes import atm, mindbridge, mindeye2, sttm, ubp, vit3d, whole_brain

from braindec.contracts import FitContext


def ubp_row(row: dict[str, Any], device: str, fast: dict[str, Any], n_subjects: int, most_seconds: float) -> None:
    """Ten subjects, one after the other, each its own training, with its checkpoint at the end."""
    tiny, clock = device == "cpu", Clock(device)
    decoder, data, batch = ubp(tiny, {**fast, "cuda_graph": True})
    seconds: list[float] = []
    for subject in range(n_subjects):
        with tempfile.TemporaryDirectory() as folder:
            started = clock.now()
            report = decoder.fit(data, FitContext(subject, device, Path(folder)))
            seconds.append(clock.now() - started)
        if sum(seconds) > most_seconds:
            break
    epochs = decoder.engine.epochs
    row |= {
        "subjects_measured": len(seconds),
        "epochs": epochs,
        "total_s": sum(seconds) + (n_subjects - len(seconds)) * min(seconds),
        "extrapolated": len(seconds) < n_subjects,
        "first_fit_s": seconds[0],
        "best_fit_s": min(seconds),
        "epoch_ms": 1e3 * min(seconds) / epochs,
        "update_ms": 1e3 * report["seconds_per_update"],
        "goal_s": 45,
    }
    with tempfile.TemporaryDirectory() as folder:
        engine = decoder.prepare(data, FitContext(0, device, Path(folder)))
    engine.passes = ordinary(engine)
    eager = block_seconds(engine, endless(engine), clock, 8, 4)
    float32, _, _ = ubp(tiny, {**fast, "precision": "float32"})
    with tempfile.TemporaryDirectory() as folder:
        engine = float32.prepare(data, FitContext(0, device, Path(folder)))
    engine.wrapped.train()
    plain = plain_seconds(engine, data, batch, clock, 16)
    row |= {
        "eager_update_ms": 1e3 * eager,
        "plain_update_ms": 1e3 * plain,
        "times_faster_than_plain": plain / report["seconds_per_update"],
    }


def atm_row(row: dict[str, Any], device: str, fast: dict[str, Any], n_steps: int, epochs: int) -> None:
    """Some epochs of one subject's training, and what 40 would take at that rate."""
    tiny, clock = device == "cpu", Clock(device)
    made = atm(tiny, fast)
    decoder, data, _ = atm(tiny, {**fast, "cuda_graph": True}, epochs)
    with tempfile.TemporaryDirectory() as folder:
        started = clock.now()
        report = decoder.fit(data, FitContext(0, device, Path(folder)))
        fit = clock.now() - started
    rest = fit - report["seconds"]
    row |= {
        "epochs_measured": epochs,
        "fit_s": fit,
        "epoch_s": report["seconds"] / epochs,
        "extrapolated_40_epochs_s": rest + 40 * report["seconds"] / epochs,
        "goal_s": 60,
    }
    clear()
    measured(row, made, device, n_steps, details=True)


def cpu_rows() -> list[dict[str, Any]]:
    """UBP at its true shapes with fewer trials on a CPU: ours against the plain loop."""
    decoder, data, batch = ubp(False, {}, n_trials=2048)
    clock = Clock("cpu")
    with tempfile.TemporaryDirectory() as folder:
        engine = decoder.prepare(data, FitContext(0, "cpu", Path(folder)))
    engine.wrapped.train()
    ours = block_seconds(engine, endless(engine), clock, 4, 2)
    plain = plain_seconds(engine, data, batch, clock, 4)
    return [{"name": "ubp on a CPU", "times_faster_than_plain": plain / ours}]


Case = Callable[[dict[str, Any]], None]


def cases(tiny: bool, device: str, fast: dict[str, Any]) -> dict[str, tuple[float, Case]]:
    """Name -> seconds it is expected to take on an H100, and what measures it into a row."""
    n_steps = 2 if tiny else 20
    few = max(n_steps // 2, 2)
    return {
        "ubp": (25, lambda row: ubp_row(row, device, fast, 2 if tiny else 10, 45.0)),
        "mindbridge": (22, lambda row: measured(row, mindbridge(tiny, fast), device, n_steps, details=True)),
        "atm": (25, lambda row: atm_row(row, device, fast, 3 * n_steps, 1 if tiny else 5)),
        "mindeye2 whole": (45, lambda row: measured(row, mindeye2(tiny, fast, True), device, few, True)),
        "mindeye2 backbone": (
            20,
            lambda row: measured(row, mindeye2(tiny, fast, False), device, n_steps, True, eager=tiny),
        ),
        "sttm": (40, lambda row: measured(row, sttm(tiny, fast), device, few, True, details=True)),
        "mindbridge compiled": (
            22,
            lambda row: measured(row, mindbridge(tiny, fast), device, n_steps, True, eager=tiny),
        ),
        "vit3d": (60, lambda row: measured(row, vit3d(tiny, fast), device, few, True)),
        "whole_brain": (25, lambda row: measured(row, whole_brain(tiny, fast), device, n_steps, True)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="small shapes on the CPU")
    parser.add_argument("--cpu", action="store_true", help="the ratio to the plain loop on a CPU")
    parser.add_argument("--out", type=Path, help="write the rows as JSON")
    parser.add_argument("--seconds", type=float, default=225.0, help="leave out what would not end by then")
    parser.add_argument("--case-seconds", type=float, default=90.0, help="give a case up after this time")
    parser.add_argument("--only", nargs="*", help="names of cases, e.g. ubp 'mindeye2 whole'")
    arguments = parser.parse_args()
    if arguments.cpu:
        for row in cpu_rows():
            print(row)
        return
    tiny = arguments.tiny
    device = "cpu" if tiny else "cuda"
    fast: dict[str, Any] = {} if tiny else {"precision": "bf16", "data_on_device": "always"}
    began, rows = time.perf_counter(), list[dict[str, Any]]()
    machine: dict[str, Any] = {"torch": torch.__version__, "device": "cpu"}

    def keep() -> None:
        if arguments.out is not None:
            arguments.out.write_text(json.dumps({**machine, "rows": rows}, indent=1) + "\n")

    if not tiny:
        torch.backends.cuda.matmul.allow_tf32 = True
        torch._dynamo.config.suppress_errors = True  # what does not compile runs as it is
        machine |= {"device": torch.cuda.get_device_name(), "copy_tb_per_s": copy_rate(device) / 1e12}
    for name, (expected, part) in cases(tiny, device, fast).items():
        if arguments.only and name not in arguments.only:
            continue
        spent = time.perf_counter() - began
        if spent + (0 if tiny else expected) > arguments.seconds:
            print(f"{name}: left out, {spent:.0f} s are gone", flush=True)
            continue
        clear()
        row = Row(name, keep)
        rows.append(row)
        with guarded(arguments.case_seconds, partial(row.__setitem__, "error")):
            part(row)
        row["case_s"] = round(time.perf_counter() - began - spent, 1)
    print(f"{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
