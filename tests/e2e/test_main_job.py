"""The three mains, their files, their errors, and what happens when one is killed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from braindec import evaluate, reconstruct, train
from braindec.artifacts import ArtifactError, RunFolder, array_hash, read_image, read_state
from braindec.compose import compose
from braindec.config import ConfigError
from braindec.signals.leak import LeakError
from braindec.training.partition import Partition, SealedTestError
from braindec.types import DataError

ROOT = Path(__file__).resolve().parents[2]


def files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def content(folder: Path, *names: str) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for name in names for p in files(folder / name)}


def test_the_run_folder_holds_what_the_documentation_says(small_run: RunFolder) -> None:
    folder = small_run.path
    for name in ("config.yaml", "manifest.json", "scores.json", "scores.csv", "scores_items.csv", "report.html"):
        assert (folder / name).stat().st_size > 0
    table = pd.read_csv(folder / "reconstructions" / "table.csv")
    assert len(table) == 24
    assert table["item_id"].is_unique
    for name in table["image"]:
        assert read_image(folder / "reconstructions" / name).shape == (16, 16, 3)
    manifest = small_run.manifest()
    for key in ("config_hash", "git_revision", "seed", "data_version", "split_hash", "weights_hash", "libraries"):
        assert key in manifest
    assert manifest["selected_on"] == "training trials"


def test_scores_follow_their_schema_and_show_decoding(small_run: RunFolder) -> None:
    scores = json.loads((small_run.path / "scores.json").read_text())
    assert scores["schema_version"] == 1
    for entry in scores["metrics"].values():
        low, high = entry["ci95"]
        assert low <= entry["value"] <= high
        assert entry["direction"] in ("higher", "lower")
    wanted = {"shuffled_brain", "noise_input", "mean_training_stimulus", "nearest_training_stimulus", "prior_only"}
    assert wanted | {"oracle_class_mean", "metadata_only"} == set(scores["controls"])
    pixcorr = scores["metrics"]["pixcorr"]
    assert pixcorr["ci95"][0] > scores["controls"]["shuffled_brain"]["pixcorr"]["value"]
    assert scores["metrics"]["two_way_pixels"]["value"] > 0.7


def test_the_same_configuration_gives_the_same_files(small_run: RunFolder, small_overrides, tmp_path: Path) -> None:
    again = train.train(compose("train", [*small_overrides, f"run_dir={tmp_path / 'again'}"]))
    reconstruct.reconstruct(compose("reconstruct", [f"run={again.path}"]))
    first = content(small_run.path, "predictions", "reconstructions")
    second = content(again.path, "predictions", "reconstructions")
    assert first == second


def test_a_killed_training_is_taken_up(small_run: RunFolder, small_overrides, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    command = [sys.executable, "-m", "braindec.cli", "train", *small_overrides, f"run_dir={folder}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    waiting = time.monotonic() + 120
    while not (folder / "decoder").exists() and process.poll() is None and time.monotonic() < waiting:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (folder / "manifest.json").exists(), "killed before anything was written: the test must wait longer"
    assert not (folder / "scores.json").exists()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert content(folder, "predictions") == content(small_run.path, "predictions")


def test_a_killed_reconstruction_keeps_its_finished_chunks(small_run: RunFolder, tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(small_run.path, folder)
    whole = content(folder, "reconstructions")
    shutil.rmtree(folder / "reconstructions")
    from braindec.stages import chain

    real, calls = chain.run_chain, []

    def stops_at_the_third(*arguments, **keywords):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **keywords)

    monkeypatch.setattr(chain, "run_chain", stops_at_the_third)
    overrides = [f"run={folder}", "batch_size=4"]
    with pytest.raises(KeyboardInterrupt):
        reconstruct.reconstruct(compose("reconstruct", overrides))
    made = [path for path in (folder / "reconstructions").glob("*.png") if path.name != "preview.png"]
    assert len(made) == 8
    calls.clear()
    monkeypatch.setattr(chain, "run_chain", lambda *a, **k: calls.append(1) or real(*a, **k))
    reconstruct.reconstruct(compose("reconstruct", [*overrides, "controls=false"]))
    assert len(calls) == 4, "two of six chunks were finished before"
    pictures = {name: data for name, data in whole.items() if name.endswith(".png") and "controls" not in name}
    assert {
        name: data for name, data in content(folder, "reconstructions").items() if name.endswith(".png")
    } == pictures


def test_a_full_disk_stops_with_one_message_and_no_half_file(small_overrides, tmp_path: Path, monkeypatch) -> None:
    real = os.fsync
    written = []

    def full_after_five(descriptor: int) -> None:
        written.append(descriptor)
        if len(written) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full_after_five)
    folder = tmp_path / "full"
    with pytest.raises(ArtifactError, match="disk is full"):
        train.train(compose("train", [*small_overrides, f"run_dir={folder}"]))
    assert not [p for p in files(folder) if p.name.endswith(".tmp")]
    monkeypatch.setattr(os, "fsync", real)
    assert train.train(compose("train", [*small_overrides, f"run_dir={folder}"])).sources()


def test_test_trials_stay_sealed_until_the_decoder_is_saved(tmp_path: Path) -> None:
    from braindec.compose import build
    from braindec.signals.split import published

    config = compose("train", ["dataset.n_train=20", "dataset.n_test=4", "dataset.n_voxels=120"])
    trials = build(config.dataset).trials("sim01")
    partition = Partition(trials, published(trials.table)[0])
    with pytest.raises(SealedTestError, match="sealed until the fitted decoder"):
        partition.open_test(tmp_path / "decoder" / "state.json")
    assert set(partition.train().table["split"]) == {"train"}


def test_training_never_sees_test_trials(small_run: RunFolder, small_overrides, tmp_path: Path, monkeypatch) -> None:
    """Other test trials, same training trials: everything fitted must be bit-identical, the predictions must not."""
    from braindec.datasets.simulated.dataset import Simulated

    real = Simulated.trials

    def with_other_test_trials(self, subject):
        trials = real(self, subject)
        test = (trials.table["split"] == "test").to_numpy()
        trials.signal[test] = np.random.default_rng(9).standard_normal(trials.signal[test].shape) * 40 + 7
        return trials

    monkeypatch.setattr(Simulated, "trials", with_other_test_trials)
    other = train.train(compose("train", [*small_overrides, f"run_dir={tmp_path / 'other'}"]))
    for part in ("decoder", "transforms/sim01/zscore", "targets/words"):
        folders = [run.decoder("published") / part for run in (small_run, other)]
        assert array_hash(read_state(folders[0])) == array_hash(read_state(folders[1])), part
    assert content(other.path, "predictions") != content(small_run.path, "predictions")


@pytest.mark.parametrize("kind", ["stimulus", "duplicate_image", "duplicate_trial"])
def test_a_planted_leak_stops_the_run_and_names_offenders(kind: str, small_overrides, tmp_path: Path) -> None:
    overrides = [*small_overrides, f"dataset.leak={kind}", f"run_dir={tmp_path / 'leaky'}"]
    with pytest.raises(LeakError, match="scene-|trial"):
        train.train(compose("train", overrides))
    assert not (tmp_path / "leaky").exists()
    run = train.train(compose("train", [*overrides, "allow_leak='to show what a leak does'"]))
    assert "to show what a leak does" in json.dumps(run.manifest()["flags"])


def test_a_statistic_fitted_on_test_trials_is_caught_before_evaluation(small_run: RunFolder, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(small_run.path, folder)
    fits = folder / "decoder" / "published" / "fits.json"
    records = json.loads(fits.read_text())
    test_row = int(pd.read_csv(folder / "folds" / "published" / "sim01.csv").query("part == 'test'")["row"].iloc[0])
    records[0]["rows"].append(test_row)
    fits.write_text(json.dumps(records))
    with pytest.raises(LeakError, match="transform zscore"):
        evaluate.evaluate(compose("evaluate", [f"run={folder}"]))


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (["subject=nobody"], DataError, "this data set has sim01, sim02"),
        (["dataset=miyawaki2008", "dataset.root=/nowhere"], DataError, "/nowhere"),
        (["split=published_validation", "dataset.concept_disjoint=maybe"], ConfigError, "expected bool"),
        (["device=cuda:7"], DataError, "sees no GPU"),
    ],
)
def test_bad_input_ends_in_one_error_and_writes_nothing(overrides, error, message, small_overrides, tmp_path) -> None:
    kept = [o for o in small_overrides if not (o.startswith("dataset") and "dataset=miyawaki2008" in overrides)]
    with pytest.raises(error, match=message):
        train.train(compose("train", [*kept, *overrides, f"run_dir={tmp_path / 'bad'}"]))
    assert not (tmp_path / "bad").exists()


def test_nan_trials_are_refused_before_anything_is_written(small_overrides, tmp_path: Path, monkeypatch) -> None:
    from braindec.datasets.simulated.dataset import Simulated

    real = Simulated.trials

    def with_nan(self, subject):
        trials = real(self, subject)
        trials.signal[3, 5, 0] = np.nan
        return trials

    monkeypatch.setattr(Simulated, "trials", with_nan)
    with pytest.raises(DataError, match="sim01"):
        train.train(compose("train", [*small_overrides, f"run_dir={tmp_path / 'nan'}"]))
    assert not (tmp_path / "nan").exists()


def test_evaluation_says_what_is_missing(small_run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no run there"):
        evaluate.evaluate(compose("evaluate", [f"run={tmp_path}"]))
    folder = tmp_path / "copy"
    shutil.copytree(small_run.path, folder)
    table = folder / "reconstructions" / "table.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(DataError, match="1 of 24 items are missing"):
        evaluate.evaluate(compose("evaluate", [f"run={folder}"]))
    (folder / "reconstructions" / lines[1].split(",")[5]).write_bytes(b"not a picture")
    table.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="not a readable image"):
        evaluate.evaluate(compose("evaluate", [f"run={folder}"]))


def test_other_settings_need_another_run_folder(small_run: RunFolder, small_overrides) -> None:
    with pytest.raises(ArtifactError, match="another configuration"):
        train.train(compose("train", [*small_overrides, "seed=5", f"run_dir={small_run.path}"]))
