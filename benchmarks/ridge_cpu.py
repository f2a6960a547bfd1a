"""Ridge of many targets on a CPU, against scikit-learn and himalaya in the same run.

    python benchmarks/ridge_cpu.py --threads 2

Three tasks at a scaled-down NSD shape, each from features and targets in memory to predictions in memory: one given
alpha; one alpha for all targets by leave-one-out; one alpha a target by 5 folds. Every time is the best of
``--repeats`` after one warm-up; a ratio above 1 says how much slower the other is.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shape", type=int, nargs=4, default=(1000, 100, 1800, 8000), metavar=("N", "M", "P", "T"))
    parser.add_argument("--repeats", type=int, default=2)
    return parser.parse_args()


def main(options: argparse.Namespace) -> None:
    import numpy as np
    import torch
    from himalaya.backend import set_backend
    from himalaya.kernel_ridge import KernelRidge, KernelRidgeCV
    from himalaya.scoring import l2_neg_loss
    from sklearn.linear_model import Ridge, RidgeCV
    from sklearn.model_selection import PredefinedSplit

    from braindec.models.column_blocks import TargetColumns
    from braindec.models.ridge import ridge_system
    from braindec.models.ridge_cv import HeldOut, choose_alpha, leave_out_labels
    from braindec.models.ridge_targets import ColumnStream, predict

    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    set_backend("torch")
    n, m, p, t = options.shape
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(n + m, 30)).astype(np.float32)
    x = latent @ rng.normal(size=(30, p)).astype(np.float32) + 3 * rng.normal(size=(n + m, p)).astype(np.float32)
    y = latent @ rng.normal(size=(30, t)).astype(np.float32) + 5 * rng.normal(size=(n + m, t)).astype(np.float32)
    # Centred, because himalaya's kernel ridge fits no intercept.
    x_test, x = x[n:] - x[:n].mean(0), x[:n] - x[:n].mean(0)
    y = y[:n] - y[:n].mean(0)
    alphas = np.geomspace(1e2, 1e6, 10)
    folds = leave_out_labels(np.arange(n), "kfold", 5)

    def ours(selection=None, width=None):
        system = ridge_system(x, intercept=selection != "kfold")
        stream = ColumnStream(system, TargetColumns.whole("y", y))
        alpha = alphas[5]
        if selection:
            labels = np.arange(n) if selection == "loo" else folds
            alpha = choose_alpha(HeldOut(system, alphas, labels), stream, width).alphas_T
        return predict(system, x_test, [stream], {"y": alpha})["y"]

    def himalaya_cv():
        model = KernelRidgeCV(alphas, cv=PredefinedSplit(folds), solver_params={"score_func": l2_neg_loss})
        return model.fit(x, y).predict(x_test)

    tasks = {
        "given alpha": {
            "braindec": ours,
            "sklearn Ridge": lambda: Ridge(float(alphas[5])).fit(x, y).predict(x_test),
            "himalaya KernelRidge": lambda: KernelRidge(float(alphas[5])).fit(x, y).predict(x_test),
        },
        "one alpha of 10, leave-one-out": {
            "braindec": lambda: ours("loo"),
            "sklearn RidgeCV": lambda: RidgeCV(alphas).fit(x, y).predict(x_test),
        },
        "an alpha of 10 a target, 5 folds": {
            "braindec": lambda: ours("kfold", 1),
            "himalaya KernelRidgeCV": himalaya_cv,
        },
    }
    print(f"{n} x {p} features, {t} targets, {m} test rows, {options.threads} threads, load {os.getloadavg()[0]:.1f}")
    for task, contenders in tasks.items():
        print(task)
        base, reference = None, None
        for name, run in contenders.items():
            found = np.asarray(run())
            seconds = []
            for _ in range(options.repeats):
                began = time.perf_counter()
                run()
                seconds.append(time.perf_counter() - began)
            base = base or min(seconds)
            reference = found if reference is None else reference
            gap = float(np.abs(found - reference).max() / reference.std())
            print(f"  {name:24s} {min(seconds):8.2f} s  ratio {min(seconds) / base:6.1f}  differs by {gap:.1e} SD")


if __name__ == "__main__":
    arguments = parse()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(arguments.threads)
    main(arguments)
