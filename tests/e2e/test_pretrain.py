"""Pre-training on simulated scans, decoders that start from it, and networks of the whole brain set silent."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pandas as pd
import pytest

from braindec import pretrain, train
from braindec.artifacts import read_json
from braindec.compose import compose
from braindec.config import ConfigError
from braindec.over_space import over_space
from braindec.types import DataError

WORLD = [
    "dataset.n_subjects=1", "dataset.n_train=60", "dataset.n_test=10", "dataset.repetitions_test=1",
    "dataset.n_sessions=1", "dataset.n_parcels=80", "dataset.n_scanned=5", "dataset.scans_per_run=80",
    "dataset.film_scenes=40", "dataset.ncsnr=2", "dataset.fluctuation=0.5", "device=cpu",
]  # fmt: skip
SIZES = ["decoder=demo_scans", "decoder.encoder.width=32", "decoder.encoder.depth=1", "decoder.encoder.n_heads=2"]
SCANS = [
    *WORLD,
    *SIZES,
    "pretraining=demo_scans",
    "pretraining.engine.epochs=12",
    "pretraining.engine.batch_size=16",
    "held_out_share=0.2",
    "n_resamples=50",
]
WORDS = [
    "dataset=simulated_parcels", "target=[words]", "metric=[retrieval_words]", "stage=[]", "controls=[]",
    "noise_ceiling=false", "n_resamples=50", "decoder.engine.epochs=2", "decoder.engine.batch_size=16",
]  # fmt: skip


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans") / "run"
    table = pretrain.pretrain(compose("pretrain", [*SCANS, f"run_dir={folder}"])).set_index("guess")
    assert list(table.index) == ["network", "mean", "last", "regression"]
    assert table.loc["network", "loss"] < table.loc["mean", "loss"]
    assert (table["n"] == 1).all()
    assert table[["low", "high", "gains_low", "gains_high"]].isna().all(axis=None), "one person has no interval"
    return folder


def start(folder: Path) -> str:
    return f"decoder.start_from={folder / 'decoder/pretrained/decoder'}"


@pytest.mark.parametrize("command", ["reconstruct", "evaluate", "maps", "imagery", "synthesise"])
def test_a_pre_trained_encoder_is_no_run_of_train(scans: Path, command: str) -> None:
    called = importlib.import_module(f"braindec.{command}").run
    with pytest.raises(DataError, match=r"holds no run of braindec train .*decoder.start_from=.*pretrained/decoder"):
        called(compose(command, [f"run={scans}"]))


def test_a_run_says_what_was_seen_and_how_well_it_was_filled_in(scans: Path) -> None:
    manifest = read_json(scans / "manifest.json")
    runs = manifest["runs"]
    assert len(runs["train"]) + len(runs["held_out"]) == 6 * 4
    assert runs["n_with_test_trials"] == 2
    people = {part: {name.split("/")[0] for name in runs[part]} for part in ("train", "held_out")}
    assert not people["train"] & people["held_out"]
    table = pd.read_csv(scans / "pretraining.csv")
    assert set(table["subject"]) == people["held_out"]
    summary = json.loads((scans / "pretraining.json").read_text())
    found = {row["guess"]: row["loss"] for row in summary["held_out"]}
    assert found["network"] == pytest.approx(table[table["guess"] == "network"]["loss"].mean())
    assert (scans / "pretraining.png").stat().st_size > 1000
    before = (scans / "decoder/pretrained/decoder/state.json").read_text()
    pretrain.pretrain(compose("pretrain", [*SCANS, f"run_dir={scans}"]))
    assert (scans / "decoder/pretrained/decoder/state.json").read_text() == before


def test_a_decoder_starts_from_it_and_its_report_says_so(scans: Path, tmp_path: Path) -> None:
    run = train.train(compose("train", [*WORDS, *WORLD, *SIZES, start(scans), f"run_dir={tmp_path / 'run'}"]))
    report = read_json(run.decoder("published") / "fit.json")["transferred"]
    assert report["matched"] == 4 + 1 + 12 + 2
    assert "encoder.class_scan" in report["missing"]
    assert "pretraining/hidden_scan" in report["unexpected"]


def test_networks_are_set_silent_for_a_pre_trained_encoder(scans: Path, tmp_path: Path) -> None:
    given = [*WORDS, *WORLD, *SIZES, start(scans), "regions=[early,motor]", f"run_dir={tmp_path / 'space'}"]
    with pytest.raises(DataError, match=r"found \d+ parcels, expected the 80 .*silence=true"):
        over_space(compose("over_space", given))
    given[-1] = f"run_dir={tmp_path / 'silent'}"
    table = over_space(compose("over_space", [*given, "silence=true"]))
    assert set(zip(table["region"], table["use"])) == {
        ("everything", "alone"), ("early", "alone"), ("early", "without"), ("motor", "alone"), ("motor", "without"),
    }  # fmt: skip
    assert list((tmp_path / "silent/regions").glob("drop_*_sim01.png"))
    assert list((tmp_path / "silent/regions").glob("drop_*_sim01.nii.gz"))


def test_what_cannot_be_pre_trained_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected ScannedDataset"):
        pretrain.pretrain(compose("pretrain", ["dataset=simulated", f"run_dir={tmp_path / 'a'}"]))
    with pytest.raises(DataError, match="RidgeRegression|Ridge.* has no encoder to pre-train"):
        pretrain.pretrain(compose("pretrain", [*WORLD, "decoder=ridge", f"run_dir={tmp_path / 'b'}"]))
    nobody = [*SCANS, "dataset.n_scanned=0", "dataset.film_runs=0", "dataset.rest_runs=0", f"run_dir={tmp_path / 'c'}"]
    with pytest.raises(DataError, match="all 2 runs hold test trials"):
        pretrain.pretrain(compose("pretrain", nobody))
    assert not list(tmp_path.iterdir())
