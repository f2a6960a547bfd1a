"""``braindec over_space`` in windows of time and on masks: planted times, sensors and voxels are ranked first."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from braindec import evaluate, train
from braindec.compose import compose
from braindec.datasets import haxby2001, haxby2001_archive
from braindec.over_space import over_space
from braindec.types import DataError

EEG = [
    "dataset=simulated_eeg", "dataset.n_train=120", "dataset.n_test=40", "dataset.n_subjects=1", "dataset.ncsnr=2",
    "dataset.rate_hz=50", "dataset.n_dipoles=200", "dataset.window_s=[-0.2,0.5]",
    "transform=[baseline,zscore]", "target=[words]", "stage=[]",
    "metric=[retrieval_words]", "n_resamples=200", "device=cpu", "decoder.alphas=[300]",
]  # fmt: skip
GROUPS = "regions={occipital: ['O*','PO*'], left: [T7,TP7,FT7,C5,CP5,FC5]}"


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("over_space") / "run"
    train.train(compose("train", [*EEG, "controls=[]", "noise_ceiling=false", f"run_dir={folder}"]))
    return folder, over_space(compose("over_space", [*EEG, GROUPS, "window_s=0.2", f"run_dir={folder}"]))


def by_place(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    return table[table["metric"] == metric].set_index(["use", "region", "start_s"]).sort_index()


def test_planted_times_and_sensors_are_ranked(timed: tuple[Path, pd.DataFrame]) -> None:
    _, table = timed
    rank = (
        table[table["metric"] == "words_forward_normalised_rank"].set_index(["use", "region", "start_s"]).sort_index()
    )
    before, early, late = sorted(table["start_s"].unique())
    # Seen categories: at the back, early; words: at the left, late.
    lost = rank.loc["without", "drop"]
    assert lost["occipital", early] > lost["left", early]
    assert lost["left", late] > lost["occipital", late]
    assert rank.loc[("alone", "everything", early), "value"] < 0.2
    assert rank.loc[("alone", "everything", before), "value"] > 0.4
    assert rank.loc[("alone", "everything", before), "high"] > 0.5


def test_drops_are_paired_differences_with_their_interval(timed: tuple[Path, pd.DataFrame]) -> None:
    _, table = timed
    rows = (
        table[table["metric"] == "words_forward_normalised_rank"].set_index(["use", "region", "start_s"]).sort_index()
    )
    for (_, region, start), row in rows.loc[["without"]].iterrows():
        whole = rows.loc[("alone", "everything", start), "value"]
        assert row["drop"] == pytest.approx(row["value"] - whole), (region, start)
        assert row["drop_low"] <= row["drop"] <= row["drop_high"]
    assert rows.loc["alone", "drop"].isna().all()
    top1 = by_place(table, "words_forward_top1")
    first = min(table["start_s"])
    assert top1.loc[("without", "left", first), "drop"] == pytest.approx(
        top1.loc[("alone", "everything", first), "value"] - top1.loc[("without", "left", first), "value"]
    )


def test_p_values_allow_for_the_number_of_regions_and_windows(timed: tuple[Path, pd.DataFrame]) -> None:
    _, table = timed
    rank = by_place(table, "words_forward_normalised_rank")
    before, early, _ = sorted(table["start_s"].unique())
    assert rank.loc[("alone", "everything", early), "p_corrected"] < 0.01
    assert rank.xs(before, level="start_s")["p_corrected"].min() > 0.05
    lost = rank.loc["without"]
    assert lost.loc[("occipital", early), "drop_p_corrected"] < 0.05
    assert lost.xs(before, level="start_s")["drop_p_corrected"].min() > 0.05
    assert rank.loc["alone", "drop_p_corrected"].isna().all()


def test_the_report_shows_heat_maps_and_heads(timed: tuple[Path, pd.DataFrame]) -> None:
    folder, table = timed
    evaluate.evaluate(compose("evaluate", [f"run={folder}"]))
    page = (folder / "report.html").read_text()
    assert len(re.findall(r'<figure class="brain-map( wide)?"', page)) == 2 * table["metric"].nunique()
    assert "regions over time" in page
    saved = pd.read_csv(folder / "over_space_time.csv")
    assert len(saved) == len(table)


def test_bad_windows_and_regions_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="step_s needs window_s"):
        over_space(compose("over_space", [*EEG, GROUPS, "step_s=0.1", f"run_dir={tmp_path / 'a'}"]))
    betas = ["dataset.n_subjects=1", "dataset.n_train=20", "dataset.n_test=5", "dataset.n_voxels=80", "stage=[]"]
    with pytest.raises(DataError, match="betas have none"):
        over_space(compose("over_space", [*betas, "window_s=0.1", f"run_dir={tmp_path / 'b'}"]))
    with pytest.raises(DataError, match=r"no region 'vetral'; did you mean 'ventral'"):
        over_space(compose("over_space", [*betas, "regions=[vetral]", f"run_dir={tmp_path / 'c'}"]))
    empty_run = f"run_dir={tmp_path / 'bad'}"
    with pytest.raises(DataError, match=r"regions.back: subject 'sim01' has voxels without names; .*ROI.*V1, V2"):
        over_space(compose("over_space", ["dataset.n_voxels=80", "regions={back: ['O*']}", empty_run]))
    with pytest.raises(DataError, match=r"no channel is named 'Q\*'"):
        over_space(compose("over_space", [*EEG, "regions={a: ['O*'], b: ['Q*']}", empty_run]))
    with pytest.raises(DataError, match=r"regions.head: subject 'sim01': it is all channels"):
        over_space(compose("over_space", [*EEG, "regions={head: ['*']}", empty_run]))
    with pytest.raises(DataError, match=r"regions.none: subject 'sim01': an empty group"):
        over_space(compose("over_space", [*EEG, "regions={none: []}", empty_run]))
    with pytest.raises(DataError, match=r"atlas_names needs an atlas"):
        over_space(compose("over_space", ["dataset.n_voxels=80", "atlas_names={1: a}", empty_run]))
    with pytest.raises(DataError, match=r"its regions are left and right; leave atlas_names out"):
        over_space(compose("over_space", ["dataset.n_voxels=80", "atlas=hemispheres", "atlas_names={1: a}", empty_run]))
    with pytest.raises(DataError, match=r"hemisphere: the atlas is missing; .*or say hemispheres"):
        over_space(compose("over_space", ["dataset.n_voxels=80", "atlas=hemisphere", empty_run]))
    assert not (tmp_path / "bad").exists(), "nothing is trained before a region is found"
    with pytest.raises(DataError, match=r"ROI 'all' of subject 'sim01' is all voxels"):
        over_space(compose("over_space", [*betas, "regions=[all]", f"run_dir={tmp_path / 'd'}"]))


def test_haxby_masks_are_ablated_with_intervals_over_runs(tmp_path: Path) -> None:
    haxby2001_archive.write_fake_archive(tmp_path / "data")
    asked = [
        "experiment=haxby2001", f"dataset.root={tmp_path / 'data'}", "dataset.bold=bold.nii.gz", "stage=[]",
        "metric=[concept_n_way]", "n_resamples=200", "interval_over=fold", "device=cpu",
    ]  # fmt: skip
    table = over_space(compose("over_space", [*asked, "regions=[vt,face]", f"run_dir={tmp_path / 'run'}"]))
    top1 = table[table["metric"] == "concepts_concept_top1"].set_index(["use", "region"])
    assert top1.loc[("alone", "vt"), "value"] > 0.8
    assert top1.loc[("without", "vt"), "value"] < 0.35
    assert top1.loc[("without", "vt"), "drop_low"] > 0.4
    assert top1.loc[("alone", "face"), "value"] < top1.loc[("alone", "vt"), "value"]
    assert (top1["n"] == 12).all()
    assert (top1["low"] < top1["value"]).any()
    assert np.isfinite(top1.loc["without", "drop_high"]).all()


def test_the_real_excerpt_is_mapped_and_ablated_by_hemisphere(real_data, tmp_path: Path, monkeypatch) -> None:
    from braindec.maps import make_maps

    monkeypatch.setenv("BRAINDEC_DATA", str(real_data("haxby2001").resolve().parent))
    asked = ["experiment=haxby2001", "stage=[]", "metric=[concept_n_way]", "n_resamples=200", "device=cpu"]
    folder = tmp_path / "run"
    train.train(compose("train", [*asked, "controls=[]", "noise_ceiling=false", f"run_dir={folder}"]))
    maps = make_maps(compose("maps", [f"run={folder}", "n_values=8", "device=cpu"]))
    assert set(haxby2001.CATEGORIES) <= set(maps["map"])
    pattern = np.load(folder / "maps" / "sub001_concepts_pattern.npy")
    assert np.quantile(pattern, 0.95) > 1.8 * np.median(pattern)
    table = over_space(
        compose("over_space", [*asked, "atlas=hemispheres", "interval_over=fold", f"run_dir={folder}"])
    ).query("metric == 'concepts_concept_top1'")
    top1 = table.set_index(["use", "region"])
    assert top1.loc[("alone", "everything"), "value"] > 0.85
    assert (top1.loc[["alone"], "low"] > 0.5).all()
    # What one side alone loses is what the other knows beyond it.
    assert top1.loc[("without", "left"), "value"] == pytest.approx(top1.loc[("alone", "right"), "value"])
