"""Simulated listening: contrastive beside regression, deep features beside mel, and the planted ceiling.

    python benchmarks/speech_simulated.py --out speech.json            # about five minutes on two cores

One simulated person under 151 sensors, the demo's network. Prints top-1 and top-10 among the distinct test segments for
each target and objective, with the ideal observer's (`braindec.datasets.simulated.listening_ceiling`). That features of
the fixed network are decoded better than the mel spectrogram holds by construction: the simulated cortex follows them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from braindec import evaluate, train
from braindec.artifacts import read_json
from braindec.compose import build, compose
from braindec.datasets.simulated.listening_ceiling import ideal_ranks

REGRESSION = [
    "~decoder.objectives.clip",
    "+decoder.objectives.mse._target_=braindec.objectives.weighted.Weighted",
    "+decoder.objectives.mse.objective._target_=braindec.objectives.regression.Regression",
]
CASES: dict[str, tuple[str, list[str]]] = {
    "deep features, contrastive": ("untrained_speech", []),
    "deep features, regression": ("untrained_speech", REGRESSION),
    "mel, contrastive": ("mel", []),
    "mel, regression": ("mel", REGRESSION),
}
CONTROLS = "controls=[shuffled_brain,noise_input,metadata_only,mask_only]"


def scored(folder: Path, target: str, overrides: list[str], common: list[str]) -> dict[str, Any]:
    """Values of decoding and of the controls by metric."""
    rate = f"targets.{target}.network.output_rate_hz=40"
    chosen = ["experiment=demo_speech", f"target=[{target}]", rate, CONTROLS, *common, *overrides, f"run_dir={folder}"]
    # The demo's own target is not among the chosen ones then, and its setting would be an unknown key.
    if target != "untrained_speech":
        chosen.append("~targets.untrained_speech")
    train.train(compose("train", chosen))
    evaluate.evaluate(compose("evaluate", [f"run={folder}"]))
    scores = read_json(folder / "scores.json")
    row: dict[str, Any] = {}
    for name, entry in scores["metrics"].items():
        short = name.removeprefix(f"{target}_")
        row[short] = {"value": entry["value"], "ci95": entry["ci95"], "chance": entry["chance"], "n": entry["n"]}
        row[short]["controls"] = {c: own[name]["value"] for c, own in scores["controls"].items()}
    return row


def ceiling(common: list[str]) -> dict[str, float]:
    """Top-1 and top-10 of the ideal observer on the test segments."""
    config = compose("train", ["experiment=demo_speech", *common])
    dataset = build(config.dataset)
    fold = build(config.split)(dataset.trials("sim01").table)[0]
    ranks = ideal_ranks(dataset, "sim01", fold.test)
    return {"top1": float((ranks == 1).mean()), "top10": float((ranks <= 10).mean()), "n": len(ranks)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the rows as JSON")
    parser.add_argument("--set", nargs="*", default=["dataset.n_subjects=1"], help="further overrides of the demo")
    parser.add_argument("--cases", nargs="*", default=list(CASES), help="which cases")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"ideal observer": ceiling(arguments.set)}
    print("ideal observer", result["ideal observer"], flush=True)
    for case in arguments.cases:
        target, overrides = CASES[case]
        with tempfile.TemporaryDirectory() as folder:
            row = scored(Path(folder) / "run", target, overrides, arguments.set)
        result[case] = row
        values = {name: round(row[name]["value"], 3) for name in ("segment_top1", "segment_top10", "sentence_top1")}
        worst = max(row["segment_top10"]["controls"].values())
        print(f"{case}: {values}, strongest control's top-10 {np.round(worst, 3)}", flush=True)
        if arguments.out is not None:
            arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
