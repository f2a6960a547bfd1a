"""``braindec compare``: paired on what the runs share, whatever else they hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from braindec.compare import compare
from braindec.compose import compose
from braindec.types import DataError
from tests.e2e.conftest import make_run


def compared(tmp_path: Path, *runs: Path) -> tuple[str, pd.DataFrame]:
    listed = ",".join(map(str, runs))
    page, paired = compare(compose("compare", [f"runs=[{listed}]", f"out={tmp_path / 'page.html'}", "n_resamples=500"]))
    return page.read_text(), paired.set_index(["metric", "run"])


@pytest.fixture(scope="module")
def noisier_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "noisier", "decoder.alphas=[1e9]", "name=noisier")


def test_the_better_run_is_named_and_the_difference_is_that_of_the_items(
    evaluated_run: Path, noisier_run: Path, tmp_path: Path
) -> None:
    page, paired = compared(tmp_path, evaluated_run, noisier_run)
    row = paired.loc["pixcorr", "noisier"]
    means = []
    for run in (noisier_run, evaluated_run):
        items = pd.read_csv(run / "scores_items.csv").query("source == 'decoded' and metric == 'pixcorr'")
        means.append(items.groupby("subject")["value"].mean().mean())
    assert row["difference"] == pytest.approx(means[0] - means[1])
    assert row["difference"] < 0
    assert row["n"] == 12
    assert row["p_holm"] >= row["p_permutation"]
    assert "demo is better" in page
    table = pd.read_csv(tmp_path / "page.csv")
    assert {"ci95_low", "ci95_high", "p_holm", "n"} <= set(table.columns)


def test_only_shared_items_are_compared_and_the_page_says_how_many(evaluated_run: Path, tmp_path: Path) -> None:
    partial = tmp_path / "partial"
    shutil.copytree(evaluated_run, partial)
    items = pd.read_csv(partial / "scores_items.csv")
    kept = sorted(items["stimulus_id"].unique())[:5]
    kept_rows = items["stimulus_id"].isin(kept) & (items["subject"] == "sim01")
    items.loc[kept_rows & (items["metric"] == "mse"), "value"] = np.nan
    items[kept_rows].assign(fold="another").to_csv(partial / "scores_items.csv", index=False)
    page, paired = compared(tmp_path, evaluated_run, partial)
    row = paired.loc["pixcorr", "demo (partial)"]
    assert (row["n"], row["difference"], row["p_permutation"]) == (5, 0.0, 1.0)
    undefined = paired.loc["mse", "demo (partial)"]
    assert undefined["n"] == 0
    assert np.isnan(undefined["p_holm"])
    assert "5 items are in every run, 19 are not" in page


def test_three_runs_are_corrected_together(evaluated_run: Path, noisier_run: Path, tmp_path: Path) -> None:
    third = tmp_path / "third"
    shutil.copytree(noisier_run, third)
    _, paired = compared(tmp_path, evaluated_run, noisier_run, third)
    metrics = paired.index.get_level_values("metric").unique()
    assert len(paired) == 2 * len(metrics)
    smallest = paired["p_permutation"].min()
    assert paired["p_holm"].min() == pytest.approx(min(1.0, smallest * len(paired)))


def test_runs_that_cannot_be_compared_are_refused_by_name(evaluated_run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected 2 or more run folders, found 1"):
        compared(tmp_path, evaluated_run)
    with pytest.raises(DataError, match="given more than once"):
        compared(tmp_path, evaluated_run, evaluated_run)
    unscored = tmp_path / "unscored"
    shutil.copytree(evaluated_run, unscored)
    (unscored / "scores.json").unlink()
    with pytest.raises(DataError, match=r"unscored: not evaluated .*braindec evaluate run="):
        compared(tmp_path, evaluated_run, unscored)
    foreign = tmp_path / "foreign"
    shutil.copytree(evaluated_run, foreign)
    items = pd.read_csv(foreign / "scores_items.csv")
    items.assign(subject="another").to_csv(foreign / "scores_items.csv", index=False)
    with pytest.raises(DataError, match="no subject and stimulus is in every run .*subjects another"):
        compared(tmp_path, evaluated_run, foreign)
    items.assign(value="broken").to_csv(foreign / "scores_items.csv", index=False)
    with pytest.raises(DataError, match="expected a number, found 'broken'"):
        compared(tmp_path, evaluated_run, foreign)
    renamed = tmp_path / "renamed"
    shutil.copytree(evaluated_run, renamed)
    scores = json.loads((renamed / "scores.json").read_text())
    scores["metrics"] = {"only": scores["metrics"]["pixcorr"]}
    (renamed / "scores.json").write_text(json.dumps(scores))
    with pytest.raises(DataError, match="no metric was scored in every run"):
        compared(tmp_path, evaluated_run, renamed)


@pytest.mark.parametrize(
    ("dataset", "said"),
    [("nsd.reader.NSD", "could not be opened"), ("miyawaki2008.Miyawaki2008", "12 of 12 stimuli are not in")],
)
def test_missing_stimuli_are_said_not_fatal(evaluated_run: Path, tmp_path: Path, dataset: str, said: str) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(evaluated_run, moved)
    config = OmegaConf.load(moved / "config.yaml")
    config.dataset = {"_target_": f"braindec.datasets.{dataset}", "root": str(tmp_path / "nowhere")}
    OmegaConf.save(config, moved / "config.yaml")
    page, paired = compared(tmp_path, evaluated_run, moved)
    assert said in page
    assert paired.loc["pixcorr"]["difference"].iloc[0] == 0
