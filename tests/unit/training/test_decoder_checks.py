"""Settings of a trainable decoder that would have no effect, or fail hours later, are refused before training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from braindec.artifacts import write_state
from braindec.compose import build, compose
from braindec.contracts import FitContext, TrainingData
from braindec.objectives.internal import OfPseudoTrials, PriorLoss
from braindec.objectives.regression import Regression
from braindec.objectives.schedules import Phase
from braindec.objectives.weighted import Weighted
from braindec.training.neural import NeuralDecoder
from braindec.training.settings import EngineSettings, MixSettings
from braindec.types import DataError
from tests.golden.recipes import OF_TIME, toy_data, toy_decoder


def prepare(decoder: NeuralDecoder, folder: Path, n_subjects: int = 2) -> Any:
    return decoder.prepare(toy_data(False, n_subjects), FitContext(0, "cpu", folder))


@pytest.mark.parametrize("field", ["heads", "priors"])
def test_a_part_of_a_target_that_is_not_there_is_named(field: str, tmp_path: Path) -> None:
    decoder = toy_decoder("mindeye2")
    made = getattr(decoder.parts, field)
    decoder.parts = replace(decoder.parts, **{field: {**made, "imgae": made["default"]}})
    with pytest.raises(DataError, match=rf"decoder\.{field}: no target is called 'imgae'; .*'image', 'text'"):
        prepare(decoder, tmp_path)
    decoder.parts = replace(decoder.parts, **{field: {**made, "image": made["default"]}})
    prepare(decoder, tmp_path)


def test_a_predicted_path_must_exist_before_training(tmp_path: Path) -> None:
    decoder = toy_decoder("mindbridge")
    decoder.predicts = {"imgae": "value"}
    with pytest.raises(DataError, match=r"decoder\.predicts: no target is called 'imgae'"):
        prepare(decoder, tmp_path)
    decoder.predicts = {"text": "prior"}
    with pytest.raises(DataError, match="target 'text' has no prior"):
        prepare(decoder, tmp_path)


def test_a_prior_that_nothing_trains_is_refused(tmp_path: Path) -> None:
    decoder = toy_decoder("mindeye2")
    decoder.objectives = {**decoder.objectives, "prior": Weighted(PriorLoss(["image"]))}
    with pytest.raises(DataError, match="no objective trains the prior of 'text'"):
        prepare(decoder, tmp_path)
    decoder.parts = replace(decoder.parts, priors={**(decoder.parts.priors or {}), "text": None})
    decoder.predicts = {"image": "prior"}
    prepare(decoder, tmp_path)


def test_pseudo_trials_need_a_switch_an_objective_and_two_subjects(tmp_path: Path) -> None:
    decoder = toy_decoder("mindbridge")
    plain, learnt = decoder.objectives, {**decoder.objectives, "pseudo": Weighted(OfPseudoTrials(Regression()))}
    for objectives, switched in ((plain, True), (learnt, False)):
        decoder.objectives, decoder.parts = objectives, replace(decoder.parts, pseudo_trials=switched)
        with pytest.raises(DataError, match="expected both decoder.pseudo_trials=true and an objective"):
            prepare(decoder, tmp_path)
    decoder.objectives, decoder.parts = learnt, replace(decoder.parts, pseudo_trials=True)
    with pytest.raises(DataError, match="one subject is trained"):
        prepare(decoder, tmp_path, n_subjects=1)
    prepare(decoder, tmp_path)


def test_a_gap_between_phases_is_found_before_training(tmp_path: Path) -> None:
    decoder = toy_decoder("mindbridge")
    terms = {"a": Weighted(Regression(), Phase(0.0, 0.5)), "b": Weighted(Regression(), Phase(0.6))}
    decoder.objectives = terms
    with pytest.raises(DataError, match=r"every weight is 0 at progress 0\.500 .*let phases"):
        prepare(decoder, tmp_path)
    decoder.objectives = {**terms, "b": Weighted(Regression(), Phase(0.5))}
    prepare(decoder, tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("checkpoint_every", 0),
        ("log_every", 0),
        ("check_every", 0),
        ("learning_rate", 0.0),
        ("weight_decay", -0.1),
        ("adam_betas", (0.9, 1.0)),
        ("clip_norm", 0.0),
        ("ema_decay", 1.0),
        ("warmup", 1.0),
    ],
)
def test_settings_outside_their_range_are_named(name: str, value: Any) -> None:
    with pytest.raises(DataError, match=rf"engine\.{name}: expected .*, found"):
        EngineSettings(**{"epochs": 1, "batch_size": 2, "learning_rate": 1e-3, name: value})


def test_mixing_outside_its_range_is_named() -> None:
    for wrong in ({"until": 0.0}, {"alpha": 0.0}, {"probability": 1.5}):
        with pytest.raises(DataError, match=rf"engine\.mix\.{next(iter(wrong))}: expected"):
            MixSettings(**wrong)


def test_a_setting_s_mistake_is_told_as_it_is_not_as_hydra_s() -> None:
    config = OmegaConf.to_container(compose("train", ["experiment=ubp"]).decoder)
    assert isinstance(config, dict)
    config["engine"]["epochs"] = 0
    with pytest.raises(DataError, match=r"engine\.epochs: expected at least 1, found 0$"):
        build(config)


def test_validation_that_is_not_finite_cannot_choose(tmp_path: Path) -> None:
    data = toy_data(True)
    for trials in data.validation.values():
        trials.signal[:] = np.nan
    with pytest.raises(DataError, match=r"engine\.keep=best: the validation loss is not finite after epoch 0"):
        toy_decoder("ubp", epochs=3, keep="best").fit(data, FitContext(0, "cpu", tmp_path))


@pytest.mark.parametrize("recipe", ["meg_realtime", "mindbridge"])
def test_what_subjects_share_stays_to_the_bit_when_an_adapter_is_tuned(recipe: str, tmp_path: Path) -> None:
    of_time = recipe in OF_TIME
    first = toy_decoder(recipe, epochs=2)
    first.fit(toy_data(of_time), FitContext(0, "cpu", tmp_path / "first"))
    write_state(tmp_path / "state", first.state())
    data = toy_data(of_time, n_subjects=3)
    alone = TrainingData({"sub3": data.train["sub3"]}, {"sub3": data.validation["sub3"]}, data.targets)
    decoder = toy_decoder(recipe, epochs=2)
    decoder.start_from, decoder.trainable = str(tmp_path / "state"), "adapters"
    decoder.fit(alone, FitContext(0, "cpu", tmp_path / "second"))
    before, after = first.state(), decoder.state()
    shared = [name for name in after if name.startswith(("network/encoder", "network/heads", "network/stem.heads"))]
    # The convolutional encoder's batch norms have statistics, which no gradient moves.
    assert any("running_mean" in name for name in shared) == (recipe == "meg_realtime")
    for name in shared:
        np.testing.assert_array_equal(before[name], after[name], err_msg=name)


def test_a_decoder_without_weights_of_a_subject_s_own_cannot_tune_adapters(tmp_path: Path) -> None:
    first = toy_decoder("ubp", epochs=1)
    first.fit(toy_data(True), FitContext(0, "cpu", tmp_path / "first"))
    write_state(tmp_path / "state", first.state())
    decoder = toy_decoder("ubp", epochs=1)
    decoder.start_from, decoder.trainable = str(tmp_path / "state"), "adapters"
    with pytest.raises(DataError, match="adapters have no weights to train; use decoder.trainable=all"):
        decoder.fit(toy_data(True), FitContext(0, "cpu", tmp_path / "second"))
