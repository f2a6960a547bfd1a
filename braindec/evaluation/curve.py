"""Scores of predicted embeddings by the number of test repetitions averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from braindec.artifacts import RunFolder
from braindec.contracts import Metric
from braindec.evaluation.evidence import FittedMaterial, build_evidence
from braindec.evaluation.scoring import score
from braindec.metrics.summary import summarise
from braindec.run_tables import CURVE
from braindec.types import Stimuli


def repetition_curve(
    run: RunFolder,
    metrics: Mapping[str, Metric],
    folds: Sequence[FittedMaterial],
    galleries: Mapping[str, Stimuli],
    n_resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """One entry a number of repetitions and metric: ``n_repetitions, metric, value, low, high, chance, n``.

    Only metrics of embeddings have values: nothing is reconstructed for a curve. Empty for a run without one.
    """
    entries = []
    for source in (name for name in run.sources() if name.startswith(CURVE)):
        own = [fold for fold in folds if (run.predictions(source, fold.name) / "table.csv").exists()]
        evidences = [evidence for fold in own for evidence in build_evidence(run, source, fold, galleries)]
        scored = score(metrics, evidences)
        if not any(found for _, found in scored):
            continue
        summary, _ = summarise(scored, n_resamples=n_resamples, seed=seed)
        for metric, entry in summary["metrics"].items():
            low, high = entry["ci95"]
            entries.append(
                {
                    "n_repetitions": int(source.removeprefix(CURVE)),
                    "metric": metric,
                    "value": entry["value"],
                    "low": low,
                    "high": high,
                    "chance": entry["chance"],
                    "n": entry["n"],
                }
            )
    return entries
