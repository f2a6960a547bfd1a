"""Noise ceilings, repetition curves and regions, from the command to the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from braindec import evaluate, train
from braindec.compose import compose
from braindec.over_space import over_space
from braindec.over_time import over_time
from braindec.types import DataError

EEG = [
    "dataset=simulated_eeg", "dataset.n_train=40", "dataset.n_test=10", "dataset.n_subjects=1",
    "dataset.repetitions_test=4", "transform=[baseline,zscore]", "target=[words]", "stage=[]",
    "metric=[retrieval_words]", "n_resamples=50", "device=cpu",
]  # fmt: skip


def test_a_run_carries_the_ceilings_of_its_scores_and_of_its_recording(evaluated_run: Path) -> None:
    scores = json.loads((evaluated_run / "scores.json").read_text())
    pixcorr = scores["metrics"]["pixcorr"]
    assert pixcorr["ceiling_rule"] == "correlation"
    assert pixcorr["value"] < pixcorr["ceiling"] <= 1
    assert pixcorr["ceiling_normalised"] == pytest.approx(pixcorr["value"] / pixcorr["ceiling"])
    assert scores["metrics"]["mse"]["ceiling_rule"] == "squared_error"
    assert scores["metrics"]["mse"]["ceiling"] < scores["metrics"]["mse"]["value"]
    for found in scores["response_ceilings"].values():
        assert found["n_repetitions"] == 2
        assert 0 < found["median"] < found["best_decile"] < 100
    assert "noise ceiling" in (evaluated_run / "report.html").read_text()
    table = pd.read_csv(evaluated_run / "scores.csv")
    assert table.loc[table["source"] == "decoded", "ceiling"].notna().any()


def test_curves_over_repetitions_time_and_regions_reach_the_report(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train.train(compose("train", [*EEG, "repetition_curve=[1,2,4,80]", "controls=[]", f"run_dir={folder}"]))
    regions = "regions={occipital: ['O*','PO*'], frontal: ['F*','AF*']}"
    space = over_space(compose("over_space", [*EEG, regions, f"run_dir={folder}"]))
    assert set(zip(space["region"], space["use"])) == {
        ("everything", "alone"), ("occipital", "alone"), ("frontal", "alone"),
        ("occipital", "without"), ("frontal", "without"),
    }  # fmt: skip
    counts = space.drop_duplicates(["region", "use"]).set_index(["region", "use"])["n_positions"]
    assert counts["occipital", "alone"] + counts["occipital", "without"] == counts["everything", "alone"]
    over_time(compose("over_time", [*EEG, "window_s=0.3", "step_s=0.3", f"run_dir={folder}"]))
    evaluate.evaluate(compose("evaluate", [f"run={folder}"]))
    scores = json.loads((folder / "scores.json").read_text())
    curve = pd.DataFrame(scores["repetition_curve"])
    assert sorted(curve["n_repetitions"].unique()) == [1, 2, 4]
    whole = curve[curve["n_repetitions"] == 4].set_index("metric")["value"]
    for metric, entry in scores["metrics"].items():
        assert whole[metric] == pytest.approx(entry["value"])
    assert np.isfinite(scores["metrics"]["words_forward_top1"]["ceiling"])
    page = (folder / "report.html").read_text()
    for said in ("Over time", "Over space", "Repetitions", "occipital (", "repetitions averaged"):
        assert said in page
    (folder / "over_space.csv").write_text("region,use\nV1,alone\n")
    with pytest.raises(DataError, match=r"over_space.csv: lacks the columns .*run braindec over_space again"):
        evaluate.evaluate(compose("evaluate", [f"run={folder}"]))


def test_unknown_regions_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="share no ROI"):
        over_space(compose("over_space", [*EEG, f"run_dir={tmp_path / 'a'}"]))
    with pytest.raises(DataError, match="nowhere"):
        over_space(compose("over_space", [*EEG, "regions={x: ['nowhere*']}", f"run_dir={tmp_path / 'b'}"]))
