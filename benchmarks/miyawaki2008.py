"""Real V1, ten pictures: ridge and encoding inversion under both cross-validations, on the command line's own parts.

    BRAINDEC_DATA=/path/to/data python benchmarks/miyawaki2008.py

Every setting is chosen inside a fold's training trials. Reconstructions are clipped to [0, 1], as when a picture is
written. Prints Pearson correlation over the 100 pixels (PCC), two-way and ten-way identification among the ten
pictures, of single trials and of the mean of the eight trials of a picture, with 95% percentile intervals of 2000
bootstrap samples of the ten pictures.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from braindec.contracts import Decoder, FitContext, Split, TrainingData
from braindec.datasets.miyawaki2008 import Miyawaki2008
from braindec.models.encoding_inversion import EncodingInversionDecoder
from braindec.models.linear import RidgeDecoder
from braindec.signals.split import leave_repetition_out, leave_stimulus_out
from braindec.targets.pixels import Pixels
from braindec.types import TargetEmbeddings, Trials

ROOT = f"{os.environ.get('BRAINDEC_DATA', 'data')}/miyawaki2008_figures"
DECODERS: dict[str, Callable[[], Decoder] | None] = {
    "training-mean picture": None,
    "ridge": lambda: RidgeDecoder(alphas=[float(a) for a in 10 ** np.arange(0, 5.1, 0.5)]),
    "inversion, noise uncorrelated": lambda: EncodingInversionDecoder([1.0], [0, 0.5, 0.7, 0.9], [1, 10, 100, 1000]),
    "inversion, no smoothness": lambda: EncodingInversionDecoder([0.7, 0.9, 0.97], [0], [1, 10, 100, 1000]),
    "encoding inversion": lambda: EncodingInversionDecoder([0.7, 0.9, 0.97], [0, 0.5, 0.7, 0.9], [1, 10, 100, 1000]),
}


def reconstruct(
    trials: Trials, target: TargetEmbeddings, split: Split, make: Callable[[], Decoder] | None, shuffle: bool
) -> np.ndarray:
    """Pictures (80, 100) in [0, 1], each decoded in the fold that holds its trial out."""
    out = np.empty((len(trials), 100), np.float32)
    rng = np.random.default_rng(0)
    with TemporaryDirectory() as folder:
        for fold in split(trials.table):
            train = trials.select(fold.train)
            ids = tuple(dict.fromkeys(train.table["stimulus_id"]))
            seen = TargetEmbeddings("pixels", ids, target.of(ids))
            if make is None:
                out[fold.test] = seen.values.mean(0)
                continue
            if shuffle:
                labels = rng.permutation(train.table["stimulus_id"].to_numpy())
                train = Trials("S1", train.signal, train.unit, train.space, train.table.assign(stimulus_id=labels))
            decoder = make()
            decoder.fit(TrainingData({"S1": train}, {}, {"pixels": seen}), FitContext(0, "cpu", Path(folder)))
            out[fold.test] = decoder.predict(trials.select(fold.test), "cpu")["pixels"][:, 0]
    return out.clip(0, 1)


def describe(pictures: np.ndarray, shown: np.ndarray, gallery: np.ndarray) -> str:
    """PCC, two-way and ten-way with their intervals."""
    r = np.corrcoef(pictures, gallery)[: len(pictures), len(pictures) :]
    own = r[np.arange(len(shown)), shown]
    columns = (own, (r < own[:, None]).sum(1) / 9, (r.argmax(1) == shown).astype(float))
    draws = np.random.default_rng(0).integers(0, 10, (2000, 10))
    cells = []
    for values in columns:
        by_picture = np.array([values[shown == k].mean() for k in range(10)])
        low, high = np.percentile(by_picture[draws].mean(1), [2.5, 97.5])
        cells.append(f"{values.mean():.3f} [{low:.2f}, {high:.2f}]")
    return " | ".join(cells)


def main() -> None:
    dataset = Miyawaki2008(ROOT)
    trials, stimuli = dataset.trials("S1"), dataset.stimuli()
    target = TargetEmbeddings("pixels", stimuli.ids, Pixels(size=10, grey=True).embed(stimuli))
    shown, gallery = stimuli.rows(trials.table["stimulus_id"].tolist()), target.values[:, 0]
    print("| split | decoder | PCC, trial | two-way | ten-way | PCC, mean of 8 | two-way | ten-way |")
    print("|---|---|---|---|---|---|---|---|")
    for name, split in (("repetition out", leave_repetition_out), ("picture out", leave_stimulus_out)):
        runs = [(label, make, False) for label, make in DECODERS.items()]
        runs.append(("encoding inversion, labels shuffled", DECODERS["encoding inversion"], True))
        for label, make, shuffle in runs:
            pictures = reconstruct(trials, target, split, make, shuffle)
            means = np.stack([pictures[shown == k].mean(0) for k in range(10)])
            single, averaged = describe(pictures, shown, gallery), describe(means, np.arange(10), gallery)
            print(f"| {name} | {label} | {single} | {averaged} |", flush=True)


if __name__ == "__main__":
    main()
