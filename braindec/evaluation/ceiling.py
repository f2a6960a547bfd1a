"""Noise ceilings of a run: of its scores from the halves that it predicted, and of its recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from braindec.artifacts import RunFolder
from braindec.contracts import Metric
from braindec.evaluation.evidence import FittedMaterial, build_evidence
from braindec.metrics.ceilings import Ceiling, halves_evidence, noise_ceilings
from braindec.run_tables import HALVES
from braindec.signals.ceiling import noise_ceiling_percent, noise_ceiling_snr
from braindec.types import Evidence, Fold, Stimuli, Trials


def run_ceilings(
    run: RunFolder,
    metrics: Mapping[str, Metric],
    decoded: Sequence[tuple[FittedMaterial, Evidence]],
    galleries: Mapping[str, Stimuli],
) -> dict[str, Ceiling]:
    """Metric -> noise ceiling; empty for a run that predicted no halves or did not reconstruct them."""
    present = all(half in run.sources() for half in HALVES)
    reconstructed = run.reconstructions("decoded").joinpath("table.csv").exists()
    tables = [run.reconstructions(half) / "table.csv" for half in HALVES]
    if (reconstructed and not all(map(Path.exists, tables))) or not all(map(run.made_alike, HALVES)):
        present = False
    if not present:
        return {}
    n_averaged: dict[tuple[str, str], float] = {}
    for _, evidence in decoded:
        for (subject, stimulus), counts in evidence.table.groupby(["subject", "stimulus_id"])["n_repetitions"]:
            n_averaged[str(subject), str(stimulus)] = float(counts.mean())
    scored = []
    for fold in {own.name: own for own, _ in decoded}.values():
        if not all((run.predictions(half, fold.name) / "table.csv").exists() for half in HALVES):
            continue
        first, second = (build_evidence(run, half, fold, galleries) for half in HALVES)
        for one, other in zip(first, second, strict=True):
            evidence = halves_evidence(one, other)
            scores = tuple(found for metric in metrics.values() for found in metric.scores(evidence))
            scored.append((evidence, scores))
    return noise_ceilings(scored, n_averaged)


def response_ceilings(
    trials: Mapping[str, Trials], folds: Mapping[str, Sequence[Fold]], repetitions: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """By subject: the share of a test response's variance that is signal, in percent, over positions and time.

    Parameters
    ----------
    repetitions : subject -> repetitions averaged in a test item.

    Returns
    -------
    ``source`` (the data set's ncsnr, or estimated from the repetitions of test stimuli), ``n_repetitions``, ``median``
    and ``best_decile`` (the value above which the best tenth lies). Subjects without either are left out.
    """
    found = {}
    for subject, own in trials.items():
        if own.noise_ceiling is not None:
            ncsnr, source = own.noise_ceiling, "ncsnr of the data set"
        else:
            rows = np.unique(np.concatenate([fold.test for fold in folds[subject]]))
            ids = own.table["stimulus_id"].astype(str).to_numpy()[rows]
            _, counts = np.unique(ids, return_counts=True)
            if (counts > 1).sum() < 2:
                continue
            ncsnr = noise_ceiling_snr(np.asarray(own.signal[rows]), ids.tolist())
            source = "repetitions of test stimuli"
        percent = noise_ceiling_percent(ncsnr, np.array([max(1.0, repetitions[subject])]))
        found[subject] = {
            "source": source,
            "n_repetitions": repetitions[subject],
            "median": float(np.nanmedian(percent)),
            "best_decile": float(np.nanpercentile(percent, 90)),
        }
    return found
