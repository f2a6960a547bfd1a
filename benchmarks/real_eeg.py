"""Networks against plain shrinkage LDA on two real EEG recordings, and the same networks before the stimulus.

    BRAINDEC_DATA=... python benchmarks/real_eeg.py things_eeg1_erps muse_n170 --out outputs/real_eeg

Every arm is an ordinary training run below ``--out`` (taken up where it was killed), with the test trials of a fold
sealed until its decoder is saved. Plain LDA sees the recording as it is: Ledoit-Wolf shrinkage, a window and bins, no
other preprocessing. Intervals (95%) resample people (things_eeg1_erps), or trials within runs (muse_n170).
Prints a table and writes ``real_eeg.json``. About 10 minutes on one core.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from braindec.artifacts import RunFolder
from braindec.compose import compose
from braindec.models.nested import class_auc
from braindec.train import read_recording, train

BEFORE = ["transforms.window.start_s=-0.1", "transforms.window.stop_s=-0.001"]


@dataclass(frozen=True)
class Study:
    """One recording: overrides of each arm, what is scored, and what an interval resamples."""

    arms: dict[str, list[str]]
    score: str
    chance: float


STUDIES = {
    "things_eeg1_erps": Study(
        {
            "plain LDA": ["experiment=things_eeg1_erps", "decoder=discriminant", "transform=[]", "controls=[]",
                          "decoder.window_s=[0.0,0.6]", "decoder.bin_s=0.04"],
            "LDA of scaled maps, nested": ["experiment=things_eeg1_erps", "controls=[]"],
            "network": ["experiment=things_eeg1_erps_net", "controls=[]"],
            "network before onset": ["experiment=things_eeg1_erps_net", "controls=[]", *BEFORE],
        },
        "accuracy",
        0.2,
    ),
    "muse_n170": Study(
        {
            "plain LDA": ["experiment=muse_n170", "decoder=discriminant", "transform=[]", "~transforms.robust_scale",
                          "decoder.window_s=[0.05,0.5]", "decoder.bin_s=0.012"],
            "LDA of limited trials, nested": ["experiment=muse_n170"],
            "network": ["experiment=muse_n170_net"],
            "network before onset": ["experiment=muse_n170_net", "decoder.copies=2", *BEFORE],
        },
        "auc",
        0.5,
    ),
}  # fmt: skip


def predictions(run: RunFolder) -> pd.DataFrame:
    """Rows of all folds: fold, item, true class, ``group`` that an interval resamples, and the classes' values."""
    parts = []
    for fold in run.manifest()["folds"]:
        folder = run.predictions("decoded", fold)
        table = pd.read_csv(folder / "table.csv")
        values = np.load(folder / "concepts.npy")[:, 0]
        table["values"] = list(values)
        table["repetition"] = table["item_id"].str.extract(r"_rep-(\d+)", expand=False).astype(int)
        parts.append(table)
    return pd.concat(parts, ignore_index=True).sort_values("item_id", ignore_index=True)


def accuracy(rows: pd.DataFrame, classes: list[str]) -> float:
    values = np.stack(rows["values"].tolist())
    return float((values.argmax(axis=1) == rows["stimulus_id"].map(classes.index)).mean())


def run_auc(rows: pd.DataFrame, classes: list[str]) -> float:
    """Mean over runs of the area under the curve."""
    return float(
        np.mean(
            [
                class_auc(np.stack(part["values"].tolist()), part["stimulus_id"].map(classes.index).to_numpy())
                for _, part in rows.groupby("fold")
            ]
        )
    )


def resampled(rows: pd.DataFrame, score: str, draw: np.random.Generator) -> np.ndarray:
    """Rows of one bootstrap sample: whole people, or trials of each run and class."""
    if score == "accuracy":
        by_person = rows.groupby("repetition").indices
        chosen = draw.choice(list(by_person), len(by_person))
        return np.concatenate([by_person[person] for person in chosen])
    groups = rows.groupby(["fold", "stimulus_id"]).indices.values()
    return np.concatenate([draw.choice(group, len(group)) for group in groups])


def compare(name: str, out: Path, n_resamples: int) -> list[dict[str, object]]:
    study = STUDIES[name]
    tables = {}
    for arm, overrides in study.arms.items():
        folder = out / name / arm.replace(" ", "_").replace(",", "")
        config = compose("train", [*overrides, f"run_dir={folder}", "device=cpu"])
        tables[arm] = predictions(train(config, read_recording(config)))
    first = next(iter(tables.values()))
    classes = sorted(first["stimulus_id"].unique())
    assert all((table["item_id"] == first["item_id"]).all() for table in tables.values()), "arms test the same trials"
    scored: Callable[[pd.DataFrame, list[str]], float] = accuracy if study.score == "accuracy" else run_auc
    draw = np.random.default_rng(0)
    samples = [resampled(first, study.score, draw) for _ in range(n_resamples)]
    drawn = {arm: np.array([scored(t.iloc[rows], classes) for rows in samples]) for arm, t in tables.items()}
    found = []
    for arm, table in tables.items():
        difference = drawn[arm] - drawn["plain LDA"]
        value = scored(table, classes)
        found.append(
            {
                "recording": name, "arm": arm, "score": study.score, "value": value, "chance": study.chance,
                "n": len(table), "ci95": np.percentile(drawn[arm], [2.5, 97.5]).tolist(),
                "above_plain_lda": value - scored(tables["plain LDA"], classes),
                "above_plain_lda_ci95": np.percentile(difference, [2.5, 97.5]).tolist(),
            }
        )  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="+", choices=list(STUDIES))
    parser.add_argument("--out", type=Path, default=Path("outputs/real_eeg"))
    parser.add_argument("--n-resamples", type=int, default=1000)
    arguments = parser.parse_args()
    rows = [row for name in arguments.recordings for row in compare(name, arguments.out, arguments.n_resamples)]
    (arguments.out / "real_eeg.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(pd.DataFrame(rows).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
