"""The trainable decoder: fitting, saving, resuming, transfer, and every refusal."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from braindec.artifacts import ArtifactError, write_state
from braindec.contracts import Decoder, FitContext, TrainingData
from braindec.training.curves import read_curves
from braindec.training.neural import NeuralDecoder
from braindec.types import DataError, TargetEmbeddings
from tests.golden.recipes import OF_TIME, TOY, toy_data, toy_decoder
from tests.unit.training.two_processes import RECIPES, fit_without_chance

ROOT = Path(__file__).resolve().parents[3]


def fitted(recipe: str, folder: Path, data: TrainingData | None = None, **engine: Any) -> tuple[NeuralDecoder, Any]:
    decoder = toy_decoder(recipe, **{"epochs": 3, **engine})
    return decoder, decoder.fit(data or toy_data(recipe in OF_TIME), FitContext(0, "cpu", folder))


def start(script: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", f"tests.unit.training.{script}", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("recipe", ["mindbridge", "mindeye2", "meg_realtime"])
def test_a_state_predicts_the_same_after_a_round_trip(recipe: str, tmp_path: Path) -> None:
    decoder, report = fitted(recipe, tmp_path)
    data = toy_data(recipe in OF_TIME)
    assert isinstance(decoder, Decoder)
    json.dumps(report)
    copy = toy_decoder(recipe)
    copy.load_state(decoder.state())
    for subject, trials in data.validation.items():
        first, second = decoder.predict(trials, "cpu"), copy.predict(trials, "cpu")
        assert {name: v.shape for name, v in first.items()} == {"image": (20, 4, 6), "text": (20, 2, 6)}, subject
        for name in first:
            assert first[name].dtype == np.float32
            np.testing.assert_array_equal(first[name], second[name])
            assert np.isfinite(first[name]).all()


def test_a_prediction_does_not_depend_on_its_batch(tmp_path: Path) -> None:
    decoder, _ = fitted("mindeye2", tmp_path)
    trials = toy_data(False).validation["sub1"]
    together, alone = decoder.predict(trials, "cpu"), decoder.predict(trials.select(np.array([7])), "cpu")
    np.testing.assert_allclose(together["image"][7:8], alone["image"], atol=1e-5)
    assert decoder.predict(trials.select(np.array([], dtype=int)), "cpu")["image"].shape == (0, 4, 6)


def test_fitting_twice_gives_the_same_and_leaves_the_random_numbers_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, _ = fitted("mindbridge", tmp_path / "a")
    assert torch.equal(torch.rand(3), expected)
    second, _ = fitted("mindbridge", tmp_path / "b")
    for name, array in first.state().items():
        np.testing.assert_array_equal(array, second.state()[name])


def test_curves_have_a_row_an_update_and_validation_an_epoch(tmp_path: Path) -> None:
    _, report = fitted("mindbridge", tmp_path / "checkpoint")
    curves = read_curves(tmp_path / "checkpoint")
    assert report["curves"] == "checkpoint/curves.csv"
    assert curves is not None
    assert list(curves["step"]) == list(range(1, 16))
    assert list(curves["epoch"]) == [0] * 5 + [1] * 5 + [2] * 5
    assert {"loss", "soft_clip", "mse", "rebuilt", "cycle", "learning_rate"} <= set(curves.columns)
    assert list(curves.index[curves["validation_loss"].notna()]) == [4, 9, 14]


@pytest.mark.slow
def test_a_killed_fit_goes_on_to_the_same_curve_and_weights(tmp_path: Path) -> None:
    engine: dict[str, Any] = {"epochs": 4, "checkpoint_every": 3, "ema_decay": 0.9}
    whole, _ = fitted("sttm", tmp_path / "whole", **engine)
    process = start("killed_fit", "sttm", tmp_path / "killed", 11)
    process.communicate(timeout=300)
    assert process.returncode == -9
    resumed, report = fitted("sttm", tmp_path / "killed", **engine)
    assert report["updates"] == 20
    pathlike = [tmp_path / name / "curves.csv" for name in ("whole", "killed")]
    assert pathlike[0].read_text() == pathlike[1].read_text()
    for name, array in whole.state().items():
        np.testing.assert_array_equal(array, resumed.state()[name])


@pytest.mark.slow
def test_two_processes_give_the_curve_of_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [
        start("two_processes", tmp_path / "two", RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2",
              MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), ACCELERATE_USE_CPU="true")
        for rank in range(2)
    ]  # fmt: skip
    for process in ranks:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    for recipe in RECIPES:
        fit_without_chance(recipe, tmp_path / "one" / recipe)
        one, two = read_curves(tmp_path / "one" / recipe), read_curves(tmp_path / "two" / recipe)
        assert one is not None
        assert two is not None
        assert len(one) == 20
        for name in one.columns:
            np.testing.assert_allclose(two[name], one[name], rtol=1e-5, atol=1e-7, err_msg=f"{recipe}: {name}")


def test_accumulated_gradients_are_those_of_all_batches(tmp_path: Path) -> None:
    _, report = fitted("ubp", tmp_path, accumulate=2)
    assert report["updates"] == 6
    assert report["trials_per_update"] == 32


def test_best_weights_are_those_of_the_best_epoch(tmp_path: Path) -> None:
    _, report = fitted("ubp", tmp_path, epochs=12, keep="best", patience=2, learning_rate=0.05)
    curves = read_curves(tmp_path)
    assert curves is not None
    losses = curves["validation_loss"].dropna().to_numpy()
    assert report["best_epoch"] == int(losses.argmin())
    assert report["best_score"] == pytest.approx(losses.min())
    assert report["stopped_early"] == (len(losses) < 12)
    assert len(losses) == 12 or len(losses) == report["best_epoch"] + 3


def test_choosing_the_best_needs_validation_trials(tmp_path: Path) -> None:
    data = toy_data(True)
    without = TrainingData(
        data.train, {s: t.select(np.array([], dtype=int)) for s, t in data.validation.items()}, data.targets
    )
    with pytest.raises(DataError, match="no validation trials"):
        fitted("ubp", tmp_path, without, keep="best")
    _, report = fitted("ubp", tmp_path, without)
    assert report["best_epoch"] is None


def test_a_loss_that_is_not_finite_stops_training_and_is_named(tmp_path: Path) -> None:
    data = toy_data(False)
    data.train["sub1"].signal[3] = np.inf
    with pytest.raises(DataError, match=r"not finite .* in loss.*learning rate"):
        fitted("mindbridge", tmp_path, data)


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    free = iter([10**12] * 4)  # room for weights and optimiser of two checkpoints

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda _: usage(10**12, 0, next(free, 0)))
        with pytest.raises(ArtifactError, match=r"no room for a checkpoint .* the one before it is kept"):
            fitted("ubp", tmp_path / "full", checkpoint_seconds=0.0)
    assert json.loads((tmp_path / "full" / "latest.json").read_text())["step"] == 10
    fitted("ubp", tmp_path / "full", checkpoint_seconds=0.0)
    fitted("ubp", tmp_path / "roomy", checkpoint_seconds=0.0)
    assert (tmp_path / "full" / "curves.csv").read_text() == (tmp_path / "roomy" / "curves.csv").read_text()


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    fitted("ubp", tmp_path)
    with pytest.raises(DataError, match="other settings, shapes or trials"):
        fitted("ubp", tmp_path, learning_rate=0.5)


def test_a_batch_that_cannot_be_divided_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="6 batches an update, but an epoch has 5"):
        fitted("ubp", tmp_path, accumulate=6)
    with pytest.raises(DataError, match="multiple of 2"):
        fitted("ubp", tmp_path, batch_size=1)
    with pytest.raises(DataError, match="has 40 training stimuli, fewer than its 50"):
        fitted("ubp", tmp_path, batch_size=100)


def test_a_stimulus_without_target_is_named(tmp_path: Path) -> None:
    data = toy_data(False)
    image = data.targets["image"]
    fewer = TargetEmbeddings("image", image.ids[1:], image.values[1:])
    with pytest.raises(DataError, match=r"target 'image': no embedding for 1 stimuli, e\.g\. \['s000'\]"):
        fitted("mindbridge", tmp_path, replace(data, targets={**data.targets, "image": fewer}))


def test_unknown_subjects_shapes_and_states_are_refused(tmp_path: Path) -> None:
    decoder, _ = fitted("mindbridge", tmp_path)
    trials = toy_data(False).validation["sub1"]
    with pytest.raises(DataError, match="no adapter for subject 'sub9'; this decoder was fitted on sub1, sub2"):
        decoder.predict(replace(trials, subject="sub9"), "cpu")
    with pytest.raises(DataError, match="expected 30 positions x 1 time points as in training, found 5 x 1"):
        decoder.predict(trials.select_space(np.arange(5)), "cpu")
    with pytest.raises(DataError, match="not fitted"):
        toy_decoder("mindbridge").predict(trials, "cpu")
    state = decoder.state()
    with pytest.raises(DataError, match="lacks 1 weights"):
        toy_decoder("mindbridge").load_state(
            {k: v for k, v in state.items() if k != "network/heads.text_.layers.1.bias"}
        )
    with pytest.raises(DataError, match="has shape"):
        name = "network/heads.text_.layers.1.bias"
        toy_decoder("mindbridge").load_state({**state, name: state[name][1:]})
    with pytest.raises(DataError, match="none of its"):
        toy_decoder("mindbridge").load_state({k.replace("network/", "network/x"): v for k, v in state.items()})
    with pytest.raises(DataError, match="'shapes' is missing"):
        toy_decoder("mindbridge").load_state({"a": np.zeros(1)})
    with pytest.raises(DataError, match=r"lacks|has shape"):
        toy_decoder("sttm").load_state(state)


def test_a_new_subject_s_adapter_is_trained_and_nothing_else(tmp_path: Path) -> None:
    first, _ = fitted("mindbridge", tmp_path / "first")
    write_state(tmp_path / "state", first.state())
    data = toy_data(False, n_subjects=3)
    alone = TrainingData({"sub3": data.train["sub3"]}, {"sub3": data.validation["sub3"]}, data.targets)
    decoder = toy_decoder("mindbridge", epochs=2)
    decoder.start_from, decoder.trainable = str(tmp_path / "state"), "adapters"
    report = decoder.fit(alone, FitContext(0, "cpu", tmp_path / "second"))
    before, after = first.state(), decoder.state()
    shared = [name for name in after if name.startswith(("network/encoder", "network/heads"))]
    assert shared
    for name in shared:
        np.testing.assert_array_equal(before[name], after[name])
    assert report["parameters"]["trained"] == report["parameters"]["adapters"] + report["parameters"]["builders"]
    assert decoder.predict(alone.validation["sub3"], "cpu")["image"].shape == (20, 4, 6)


def test_targets_are_scaled_by_training_stimuli_and_back(tmp_path: Path) -> None:
    data = toy_data(True)
    shifted = {n: TargetEmbeddings(n, t.ids, t.values * 50 + 1000) for n, t in data.targets.items()}
    decoder = toy_decoder("ubp", epochs=2)
    decoder.scaling = "zscore"
    decoder.fit(replace(data, targets=shifted), FitContext(0, "cpu", tmp_path))
    seen = shifted["image"].values[:40]
    np.testing.assert_allclose(decoder.scalings_["image"].mean, seen.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(decoder.scalings_["image"].scale, seen.std(axis=0), rtol=1e-4)
    assert abs(decoder.predict(data.validation["sub1"], "cpu")["image"].mean() - 1000) < 50


@pytest.mark.parametrize("recipe", sorted(TOY))
def test_every_recipe_learns_its_training_stimuli(recipe: str, tmp_path: Path) -> None:
    fitted(recipe, tmp_path, epochs=10, learning_rate=0.01)
    curves = read_curves(tmp_path)
    assert curves is not None
    name = next(n for n in ("clip", "soft_clip", "mse") if n in curves.columns)
    losses = curves[name].dropna().to_numpy()
    assert losses[-5:].mean() < losses[:5].mean()


@pytest.mark.parametrize("recipe", ["sttm", "meg_realtime", "ubp"])
def test_bfloat16_trains_float32_weights(recipe: str, tmp_path: Path) -> None:
    decoder, _ = fitted(recipe, tmp_path, precision="bf16")
    reference, _ = fitted(recipe, tmp_path / "float32")
    for name, array in decoder.state().items():
        assert array.dtype == reference.state()[name].dtype
    curves = [read_curves(folder)["loss"].to_numpy() for folder in (tmp_path, tmp_path / "float32")]  # type: ignore[index]
    assert not np.array_equal(*curves)
    np.testing.assert_allclose(*curves, rtol=0.1)


def test_a_joint_prediction_adds_the_similarities_of_both_paths(tmp_path: Path) -> None:
    data = toy_data(True)
    decoder, _ = fitted("meg_realtime", tmp_path, data, epochs=2)
    trials, target = data.validation["sub1"], data.targets["image"].values[0].ravel()
    paths = {}
    for path in ("value", "contrast", "joint"):
        decoder.predicts = path  # type: ignore[assignment]
        paths[path] = decoder.predict(trials, "cpu")["image"].reshape(len(trials), -1)
    cosines = [paths[p] @ target / np.linalg.norm(paths[p], axis=1) for p in ("value", "contrast")]
    np.testing.assert_allclose(paths["joint"] @ target, cosines[0] + cosines[1], rtol=1e-4, atol=1e-5)


def test_places_of_voxels_are_kept_with_the_decoder(tmp_path: Path) -> None:
    data = toy_data(False)
    decoder, _ = fitted("vit3d", tmp_path, data, epochs=2)
    again = toy_decoder("vit3d")
    again.load_state(decoder.state())
    trials = data.validation["sub2"]
    np.testing.assert_array_equal(again.predict(trials, "cpu")["image"], decoder.predict(trials, "cpu")["image"])


def test_wide_gradients_train_as_copied_ones(tmp_path: Path) -> None:
    found = []
    for wide in (False, True):
        fitted("mindbridge", tmp_path / str(wide), precision="bf16", wide_gradients=wide)
        curves = read_curves(tmp_path / str(wide))
        assert curves is not None
        found.append(curves["loss"].to_numpy())
    assert not np.array_equal(*found)
    np.testing.assert_allclose(*found, rtol=0.02)
