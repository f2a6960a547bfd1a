"""Why categories of things_eeg1_erps can be told apart before the picture appears: leak, chance, amplitude or filter?

    BRAINDEC_DATA=... python benchmarks/before_onset.py --out outputs/before_onset

Every test decodes -0.1 to 0 s, four people held out at a time, with the parts of
``braindec over_space experiment=things_eeg1_erps``.

1. Names of the categories permuted within each person: what the pipeline gives without knowledge, and p-values, also
   of the largest of all regions.
2. Signs of each average flipped: what remains when only its amplitude tells the category (averages are over unequally
   many pictures).
3. The low-pass filter in the file, from its spectrum; the responses of all other people after 50 ms, as a source that
   is 0 before, sent through such a filter of zero phase, against a person's maps before onset.
4. Sign-flipped noise plus that filter's ringing, decoded.
5. What decoders of moments before onset say of later ones, and whether categories follow each other at random in the
   events of things_eeg1.

Prints a table and writes ``before_onset.json``. About 10 minutes on an idle core.

Legend: P people, C categories, S channels, T time points.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.signal import firwin

from braindec.contracts import FitContext, TrainingData
from braindec.datasets.things_eeg1_erps import GROUP, ThingsEEG1ERPs
from braindec.models.discriminant import LinearDiscriminant
from braindec.signals.channels import MapScale
from braindec.signals.regions import Region, region_mask
from braindec.signals.split import leave_group_out
from braindec.signals.windows import Window
from braindec.types import TargetEmbeddings, Trials

REGIONS = {
    "occipital": ["O*", "PO*"],
    "temporal": ["T*", "FT*", "P7", "P8"],
    "central": ["C*"],
    "frontal": ["F[1-9pz]*", "AF*", "FC*"],
}
TRANSITION_HZ = 3.0
SOURCE_FROM_S = 0.05
FITTED_FROM_S = 0.06
PENALTY = 0.1
"""Of the source's energy; 0.01 to 0.3 give the same answer (mean correlations of 0.062 to 0.067 at 13.5 Hz)."""


def cell_name(region: str, without: bool) -> str:
    return f"without {region}" if without else region


def before_onset(trials: Trials, region: str | None, without: bool, scaled: bool) -> Trials:
    """The part of the trials that one decoder sees."""
    parts = [] if region is None else [Region(region, REGIONS[region], without)]
    for part in (*parts, *([MapScale()] if scaled else []), Window(-0.1, 0.0)):
        part.fit(trials)
        trials = part.apply(trials)
    return trials


class Accuracy:
    """Accuracy over held-out people, for one arrangement of the categories' names."""

    def __init__(self, trials: Trials) -> None:
        self.folds = leave_group_out(trials.table, column="session", n_folds=11)
        self.names, self.truth_N = np.unique(trials.table["concept"], return_inverse=True)
        one_hot = np.eye(len(self.names), dtype=np.float32)[:, None, :]
        self.target = {"concepts": TargetEmbeddings("concepts", tuple(map(str, self.names)), one_hot)}

    def __call__(self, trials: Trials, own_N: np.ndarray | None = None, shown: Trials | None = None) -> float:
        """Fitted on training people's ``trials``, asked about test people's ``shown`` (the same without one)."""
        own_N = self.truth_N if own_N is None else own_N
        trials = replace(trials, table=trials.table.assign(stimulus_id=self.names[own_N]))
        right = []
        for fold in self.folds:
            decoder = LinearDiscriminant()
            data = TrainingData({GROUP: trials.select(fold.train)}, {}, self.target)
            decoder.fit(data, FitContext(0, "cpu", Path()))
            asked = (trials if shown is None else shown).select(fold.test)
            right.append(decoder.linear_scores(asked).argmax(axis=1) == own_N[fold.test])
        return float(np.concatenate(right).mean())


def permuted_names(n_people: int, n_categories: int, rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([rng.permutation(n_categories) for _ in range(n_people)])


def permutation_tests(trials: Trials, n: int) -> dict[str, dict[str, float]]:
    """Accuracy a region and use on scaled maps, what permuted names give, p-values, and those of the largest."""
    accuracy, rng = Accuracy(trials), np.random.default_rng(11)
    uses = [(None, False), *((region, without) for region in REGIONS for without in (False, True))]
    cells = {"everything" if r is None else cell_name(r, w): before_onset(trials, r, w, scaled=True) for r, w in uses}
    observed = {name: accuracy(cell) for name, cell in cells.items()}
    names = [permuted_names(len(trials) // 5, 5, rng) for _ in range(n)]
    null = {name: np.array([accuracy(cell, own_N) for own_N in names]) for name, cell in cells.items()}
    largest = np.max(list(null.values()), axis=0)
    return {
        name: {
            "accuracy": observed[name],
            "permuted_mean": null[name].mean(),
            "permuted_sd": null[name].std(),
            "p": (1 + (null[name] >= observed[name]).sum()) / (n + 1),
            "p_of_largest": (1 + (largest >= observed[name]).sum()) / (n + 1),
        }
        for name in cells
    }


def amplitude_only(trials: Trials, n: int) -> dict[str, dict[str, float]]:
    """Accuracy of sign-flipped averages, with and without scaling maps, beside that of the averages themselves."""
    accuracy, found = Accuracy(trials), {}
    for scaled in (True, False):
        for region in (None, "occipital"):
            rng, values = np.random.default_rng(12), []
            for _ in range(n):
                signs = rng.choice(np.float32([-1, 1]), (len(trials), 1, 1))
                flipped = replace(trials, signal=trials.signal * signs)
                values.append(accuracy(before_onset(flipped, region, False, scaled)))
            name = f"{region or 'everything'}, {'scaled maps' if scaled else 'volt'}"
            own = accuracy(before_onset(trials, region, False, scaled))
            found[name] = {"accuracy": own, "flipped_mean": np.mean(values), "flipped_sd": np.std(values)}
    return found


def cut_off_hz(erp_PCST: np.ndarray, rate_hz: float) -> float:
    """Where the amplitude of people's deviations falls below half of the power law that 4 to 11 Hz follow."""
    deviation = erp_PCST - erp_PCST.mean(axis=1, keepdims=True)
    deviation = deviation - deviation.mean(axis=3, keepdims=True)
    spectrum = np.abs(np.fft.rfft(deviation * np.hanning(erp_PCST.shape[3]), axis=3))
    amplitude, hz = np.sqrt((spectrum**2).mean(axis=(0, 1, 2))), np.fft.rfftfreq(erp_PCST.shape[3], 1 / rate_hz)
    fitted = (hz >= 4) & (hz <= 11)
    slope, offset = np.polyfit(np.log(hz[fitted]), np.log(amplitude[fitted]), 1)
    ratio = amplitude[1:] / np.exp(offset) / hz[1:] ** slope
    first = int(np.flatnonzero((ratio < 0.5) & (hz[1:] > 4))[0])
    return float(np.interp(0.5, ratio[[first, first - 1]], hz[1:][[first, first - 1]]))


@functools.cache
def ringing(cut_hz: float, n_times: int, rate_hz: float = 250.0, first_s: float = -0.1) -> np.ndarray:
    """Matrix (before, after) from a response at `FITTED_FROM_S` and later to what the filter puts before onset.

    The source is the least-squares one, 0 before `SOURCE_FROM_S`, whose filtered course is the response.
    """
    length = int(3.3 / TRANSITION_HZ * rate_hz) // 2 * 2 + 1
    kernel, half = firwin(length, cut_hz, window="hamming", fs=rate_hz), length // 2
    times_s = first_s + np.arange(n_times) / rate_hz
    # The source may go on after the last time point.
    source_s = first_s + np.arange(n_times + half) / rate_hz
    lag = np.arange(n_times)[:, None] - np.arange(n_times + half)[None, :] + half
    matrix = np.where((lag >= 0) & (lag < length), kernel[np.clip(lag, 0, length - 1)], 0.0)
    matrix = matrix[:, source_s >= SOURCE_FROM_S - 1e-9]
    after = times_s >= FITTED_FROM_S - 1e-9
    design = np.column_stack([matrix[after], np.ones(after.sum())])
    penalty = np.diag([*np.full(matrix.shape[1], PENALTY), 1e-9])
    filtered = matrix @ np.linalg.solve(design.T @ design + penalty, design.T)[:-1]
    filtered = filtered - filtered[times_s <= 1e-9].mean(axis=0)
    return filtered[times_s < -1e-9]


def filter_test(trials: Trials, cut_hz: float, n: int) -> dict[str, dict[str, float]]:
    """Correlation of the ringing of other people's responses with a person's maps before onset, a region.

    People's noise is made alike first. The p-value is that of permuting a person's categories before onset.
    """
    times_s, found = trials.times_s, {}
    early, after = times_s < -1e-9, times_s >= FITTED_FROM_S - 1e-9
    rng = np.random.default_rng(13)
    names_RPC = np.array([[rng.permutation(5) for _ in range(len(trials) // 5)] for _ in range(n)])
    for region, patterns in REGIONS.items():
        maps = people(trials)[:, :, region_mask(trials, region, patterns)]
        maps = maps - maps.mean(axis=2, keepdims=True)
        response, before = (
            scaled - scaled.mean(axis=1, keepdims=True)
            for scaled in (own / np.sqrt((own**2).mean(axis=(2, 3), keepdims=True)) for own in halves(maps, early))
        )
        others = (response.sum(axis=0) - response) / (len(response) - 1)
        rung = others[..., after[~early]] @ ringing(cut_hz, len(times_s)).T
        products = np.einsum("icst,idst->icd", rung, before)
        size = np.sqrt((rung**2).sum(axis=(1, 2, 3)) * (before**2).sum(axis=(1, 2, 3)))
        own_P = products.trace(axis1=1, axis2=2) / size
        rows, columns = np.arange(len(size))[:, None], np.arange(5)[None]
        null = np.array([(products[rows, columns, own].sum(axis=1) / size).mean() for own in names_RPC])
        extreme = (np.abs(null) >= abs(own_P.mean())).sum()
        found[region] = {
            "correlation": own_P.mean(),
            "people_above_0": int((own_P > 0).sum()),
            "p": (1 + extreme) / (n + 1),
        }
    return found


def halves(maps: np.ndarray, early: np.ndarray) -> Iterator[np.ndarray]:
    """After onset, and before."""
    yield maps[..., ~early]
    yield maps[..., early]


def people(trials: Trials) -> np.ndarray:
    """float64 (P, C, S, T), microvolt."""
    return trials.signal.reshape(-1, 5, *trials.signal.shape[1:]).astype(np.float64) * 1e6


def repeats(trials: Trials) -> dict[str, dict[str, float]]:
    """Accuracy at 200 to 220 ms of occipital decoders of 20 ms before onset: high for the same maps, 0 for opposite."""
    accuracy, found = Accuracy(trials), {}
    for start_s in (-0.1, -0.08, -0.06, -0.04, -0.02):
        early, late = (occipital_mean(trials, own_s) for own_s in (start_s, 0.2))
        found[f"{start_s:+.2f} s"] = {"accuracy_at_200_ms": accuracy(early, shown=late)}
    return found


def occipital_mean(trials: Trials, start_s: float) -> Trials:
    """Scaled occipital maps, mean over 20 ms."""
    for part in (Region("occipital", REGIONS["occipital"]), MapScale(), Window(start_s, start_s + 0.02)):
        part.fit(trials)
        trials = part.apply(trials)
    return replace(trials, signal=trials.signal.mean(axis=2, keepdims=True), times_s=None)


def order_of_categories(root: Path, categories: Sequence[str]) -> dict[str, dict[str, float]]:
    """Chi-squared p-value that a picture's category does not depend on that of one to three pictures earlier."""
    from scipy.stats import chi2_contingency

    concepts = pd.read_csv(root / "things_eeg1_erps" / "things_concepts.tsv", sep="\t")["uniqueID"]
    members = pd.read_csv(root / "things_eeg1_erps" / "cat_dataframe.csv", index_col=0)
    rows = {c: members.loc["body part" if c == "body" else c].dropna().astype(int) for c in categories}
    own = {concept: number for number, c in enumerate(categories) for concept in concepts.iloc[rows[c]]}
    found = {}
    for path in sorted((root / "things_eeg1").glob("sub-*/eeg/*_events.tsv")):
        events = pd.read_csv(path, sep="\t")
        events = events[events["isteststim"] == 0] if "isteststim" in events else events
        category = events["object"].map(own).fillna(len(categories)).to_numpy(int)
        sequence, p = events["sequencenumber"].to_numpy(), {}
        for back in (1, 2, 3):
            kept = (sequence[back:] == sequence[:-back]) & (category[back:] < len(categories))
            table = pd.crosstab(category[back:][kept], category[:-back][kept])
            p[f"p_{back}_back"] = chi2_contingency(table).pvalue
        found[path.parts[-3]] = p
    return found


def simulated(trials: Trials, cut_hz: float, n: int) -> dict[str, dict[str, float]]:
    """Accuracy of noise before onset plus the ringing of the mean response over people."""
    from scipy.stats import trim_mean

    accuracy, rng, erp_PCST = Accuracy(trials), np.random.default_rng(14), people(trials)
    early, after = trials.times_s < -1e-9, trials.times_s >= FITTED_FROM_S - 1e-9
    rung_CST = trim_mean(erp_PCST, 0.1, axis=0)[..., after] @ ringing(cut_hz, len(trials.times_s)).T
    values: dict[str, list[float]] = {name: [] for name in REGIONS}
    for _ in range(n):
        made = erp_PCST.copy()
        made[..., early] = made[..., early] * rng.choice([-1, 1], (*erp_PCST.shape[:2], 1, 1)) + rung_CST
        world = replace(trials, signal=(made * 1e-6).reshape(trials.signal.shape).astype(np.float32))
        for region, own in values.items():
            own.append(accuracy(before_onset(world, region, False, scaled=True)))
    return {name: {"accuracy_mean": np.mean(own), "accuracy_sd": np.std(own)} for name, own in values.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=Path, default=Path(os.environ.get("BRAINDEC_DATA", "data")))
    parser.add_argument("--out", type=Path, default=Path("outputs/before_onset"))
    parser.add_argument("--permutations", type=int, default=500)
    asked = parser.parse_args()
    trials = ThingsEEG1ERPs(str(asked.root / "things_eeg1_erps")).trials(GROUP)
    few = max(1, asked.permutations // 10)
    cut_hz = cut_off_hz(people(trials), 250.0)
    found = {
        "order": order_of_categories(asked.root, sorted(set(trials.table["concept"]))),
        "repeats": repeats(trials),
        "cut_off_hz": cut_hz,
        "filter": {f"{hz:.1f} Hz": filter_test(trials, hz, 4 * asked.permutations) for hz in (cut_hz, 30.0)},
        "simulated": {f"{hz:.1f} Hz": simulated(trials, hz, few) for hz in (cut_hz, 30.0)},
        "amplitude": amplitude_only(trials, few),
        "permutation": permutation_tests(trials, asked.permutations),
    }
    asked.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=2, default=float)
    (asked.out / "before_onset.json").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
