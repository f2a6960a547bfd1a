"""Simulated listening: contrastive beside regression, deep features beside mel, and the planted ceiling.

    python benchmarks/speech_simulated.py --out speech.json            # about two minutes on two cores

One simulated person under 63 electrodes, the demo's network made smaller, the same for all. Prints top-1 and top-10
among the distinct test segments for each target and objective, and those of the ideal observer
(`braindec.datasets.simulated.listening_ceiling`). Both orderings hold by construction: the simulated cortex follows the
features of the fixed network, of words without the voice, level and background that a regression of the sound must
reproduce as well.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from braindec.compose import build, compose
from braindec.contracts import FitContext, TrainingData
from braindec.datasets.simulated.listening import SimulatedListening
from braindec.datasets.simulated.listening_ceiling import ideal_ranks
from braindec.metrics.segments import SegmentRetrieval
from braindec.signals.normalise import Baseline, RobustScale
from braindec.signals.unit_split import by_hashed_unit
from braindec.targets.passages import PassageTarget
from braindec.training.folds import prediction_table
from braindec.types import Evidence, Stimuli, TargetEmbeddings, Trials

RATE_HZ = 40
NETWORK = [
    "decoder.stem.n_virtual=32",
    "decoder.stem.n_channels=32",
    "decoder.stem.n_features=128",
    "decoder.adapter.n_channels=32",
    "decoder.encoder.hidden=48",
    "decoder.encoder.depth=3",
    "decoder.engine.batch_size=64",
    "decoder.engine.epochs=12",
]
OBJECTIVES = {
    "contrastive": [],
    "regression": [
        "~decoder.objectives.clip",
        "+decoder.objectives.mse._target_=braindec.objectives.weighted.Weighted",
        "+decoder.objectives.mse.objective._target_=braindec.objectives.regression.Regression",
    ],
}


def network_of(target: str) -> Any:
    """The network of a target's own configuration, at the recording's rate."""
    rate = f"targets.{target}.network.output_rate_hz={RATE_HZ}"
    config = compose("train", ["experiment=speech_meg", "dataset=simulated_listening", f"target=[{target}]", rate])
    return build(config.targets[target].network)


def embedded(target: str, stimuli: Stimuli, ids: dict[str, tuple[str, ...]]) -> dict[str, np.ndarray]:
    """Target embeddings by part, fitted on the training segments."""
    made = PassageTarget(network_of(target), device="cpu")
    made.fit(stimuli.select(ids["train"]))
    return {part: made.embed(stimuli.select(own)) for part, own in ids.items()}


def scored(
    parts: dict[str, Trials], values: dict[str, np.ndarray], stimuli: Stimuli, objective: str
) -> dict[str, float]:
    """Train on the training segments, keep the best epoch of validation, score the test segments."""
    ids = {part: tuple(trials.table["stimulus_id"]) for part, trials in parts.items()}
    decoder = build(compose("train", ["experiment=demo_speech", *NETWORK, *OBJECTIVES[objective]]).decoder)
    known = TargetEmbeddings(
        "t", ids["train"] + ids["validation"], np.concatenate([values["train"], values["validation"]])
    )
    subject = parts["train"].subject
    data = TrainingData({subject: parts["train"]}, {subject: parts["validation"]}, {"t": known})
    with tempfile.TemporaryDirectory() as folder:
        decoder.fit(data, FitContext(0, "cpu", Path(folder)))
    test, gallery = parts["test"], stimuli.select(ids["test"])
    evidence = Evidence(
        prediction_table(test, "by_unit", False),
        gallery,
        np.arange(len(test)),
        embeddings=decoder.predict(test, "cpu"),
        gallery_embeddings={"t": values["test"]},
    )
    return {s.name.removeprefix("t_"): float(np.nanmean(s.values)) for s in SegmentRetrieval().scores(evidence)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the rows as JSON")
    parser.add_argument("--sentences", type=int, default=250)
    parser.add_argument("--snr", type=float, default=0.4)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    dataset = SimulatedListening(
        "eeg_63",
        1,
        n_sentences=arguments.sentences,
        rate_hz=RATE_HZ,
        snr=arguments.snr,
        synthesiser="builtin",
        seed=arguments.seed,
    )
    trials, stimuli = dataset.trials("sim01"), dataset.stimuli()
    fold = by_hashed_unit(trials.table, 0.4, 0.1)[0]
    ranks = ideal_ranks(dataset, "sim01", fold.test)
    parts = {part: trials.select(getattr(fold, part)) for part in ("train", "validation", "test")}
    for transform in (Baseline(stop_s=0.15), RobustScale()):
        transform.fit(parts["train"])
        parts = {part: transform.apply(own) for part, own in parts.items()}
    result: dict[str, Any] = {
        "segments": {part: len(own) for part, own in parts.items()},
        "ideal observer": {"segment_top1": float((ranks == 1).mean()), "segment_top10": float((ranks <= 10).mean())},
    }
    print(result, flush=True)
    ids = {part: tuple(own.table["stimulus_id"]) for part, own in parts.items()}
    for target in ("mel", "untrained_speech"):
        values = embedded(target, stimuli, ids)
        for objective in OBJECTIVES:
            row = scored(parts, values, stimuli, objective)
            result[f"{target}, {objective}"] = row
            print(
                f"{target}, {objective}: top-1 {row['segment_top1']:.3f}, top-10 {row['segment_top10']:.3f}", flush=True
            )
            if arguments.out is not None:
                arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
