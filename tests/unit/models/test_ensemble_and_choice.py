"""Decoders made of decoders: the mean of several, and the target that validation chooses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from braindec.contracts import FitContext, TrainingData
from braindec.models.ensemble import Ensemble
from braindec.models.linear import RidgeDecoder
from braindec.models.target_choice import TargetChoice, rank_share
from braindec.types import DataError, Space, TargetEmbeddings, Trials


def trials(signal: np.ndarray, ids: list[str]) -> Trials:
    table = pd.DataFrame(
        {"stimulus_id": ids, "concept": "c", "session": 1, "run": 1, "repetition": 1, "split": "train"}
    )
    return Trials("s", signal[:, :, None].astype(np.float32), "z", Space("voxels", signal.shape[1]), table)


@pytest.fixture
def data() -> TrainingData:
    draw = np.random.default_rng(0)
    signal = draw.normal(size=(80, 10))
    ids = [f"i{k}" for k in range(80)]
    known = signal @ draw.normal(size=(10, 4)) + 0.1 * draw.normal(size=(80, 4)) + 30
    targets = {
        "noise": TargetEmbeddings("noise", tuple(ids), draw.normal(size=(80, 1, 4)).astype(np.float32)),
        "known": TargetEmbeddings("known", tuple(ids), known[:, None].astype(np.float32)),
    }
    whole = trials(signal, ids)
    return TrainingData({"s": whole.select(np.arange(60))}, {"s": whole.select(np.arange(60, 80))}, targets)


def context(folder: Path) -> FitContext:
    return FitContext(0, "cpu", folder)


def test_an_ensemble_is_the_mean_of_its_members(data: TrainingData, tmp_path: Path) -> None:
    members = {"low": RidgeDecoder([1.0]), "high": RidgeDecoder([1e4])}
    ensemble = Ensemble(members, copies=2)
    ensemble.fit(data, context(tmp_path))
    assert sorted(ensemble.members) == ["high_1", "high_2", "low_1", "low_2"]
    each = []
    for member in members.values():
        member.fit(data, context(tmp_path))
        each.append(member.predict(data.validation["s"], "cpu")["known"])
    found = ensemble.predict(data.validation["s"], "cpu")["known"]
    np.testing.assert_allclose(found, (each[0] + each[1]) / 2, rtol=1e-5)
    again = Ensemble(members, copies=2)
    again.load_state(ensemble.state())
    np.testing.assert_array_equal(again.predict(data.validation["s"], "cpu")["known"], found)
    with pytest.raises(DataError, match="state of the members"):
        Ensemble(members).load_state(ensemble.state())
    with pytest.raises(DataError, match="at least one copy"):
        Ensemble(members, copies=0)


def test_members_of_an_ensemble_have_their_own_seeds_and_folders(data: TrainingData, tmp_path: Path) -> None:
    seen: list[tuple[int, Path]] = []

    class Watching(RidgeDecoder):
        def fit(self, data: TrainingData, context: FitContext) -> dict:
            seen.append((context.seed, context.folder))
            return dict(super().fit(data, context))

    Ensemble({"a": Watching([1.0])}, copies=3).fit(data, replace(context(tmp_path), seed=5))
    assert [seed for seed, _ in seen] == [5, 6, 7]
    assert len({folder for _, folder in seen}) == 3


def test_an_ensemble_names_the_curves_of_its_first_network(data: TrainingData, tmp_path: Path) -> None:
    class Drawn(RidgeDecoder):
        def fit(self, data: TrainingData, context: FitContext) -> dict:
            (context.folder / "curves.csv").parent.mkdir(parents=True)
            (context.folder / "curves.csv").write_text("step\n")
            return {**super().fit(data, context), "curves": f"{context.folder.name}/curves.csv"}

    inner = Ensemble({"net": Drawn([1.0])}, copies=2)
    report = Ensemble({"ridge": RidgeDecoder([1.0]), "nets": inner}).fit(data, context(tmp_path / "checkpoint"))
    assert report["curves"] == "checkpoint/nets_1/net_1/curves.csv"
    assert (tmp_path / report["curves"]).is_file()


def test_the_target_that_validation_retrieves_is_chosen(data: TrainingData, tmp_path: Path) -> None:
    choice = TargetChoice(RidgeDecoder([1.0, 100.0]))
    report = choice.fit(data, context(tmp_path))
    assert choice.chosen_ == "known"
    assert report["validation_rank"]["known"] > 0.9
    assert 0.3 < report["validation_rank"]["noise"] < 0.7
    assert list(choice.predict(data.validation["s"], "cpu")) == ["known"]
    again = TargetChoice(RidgeDecoder([1.0]))
    again.load_state(choice.state())
    np.testing.assert_array_equal(
        again.predict(data.validation["s"], "cpu")["known"], choice.predict(data.validation["s"], "cpu")["known"]
    )


def test_choosing_needs_validation_trials_and_known_targets(data: TrainingData, tmp_path: Path) -> None:
    empty = replace(data, validation={"s": data.validation["s"].select(np.arange(0))})
    with pytest.raises(DataError, match="no validation trials"):
        TargetChoice(RidgeDecoder([1.0])).fit(empty, context(tmp_path))
    with pytest.raises(DataError, match="unknown"):
        TargetChoice(RidgeDecoder([1.0]), ["knwon"]).fit(data, context(tmp_path))


def test_rank_share_is_its_definition(data: TrainingData) -> None:
    target, shown = data.targets["known"], data.validation["s"]
    truth = target.of(list(shown.table["stimulus_id"]))
    mean = truth.reshape(20, -1).mean(axis=0)
    assert rank_share(truth, shown, target, mean) == 1.0
    # The opposite direction of every centred embedding is the least similar to its own.
    assert rank_share(2 * mean - truth, shown, target, mean) == 0.0
    assert rank_share(np.tile(mean, (20, 1, 1)), shown, target, mean) == pytest.approx(0.5)


class Says:
    """Predicts the same values, whatever is asked."""

    def __init__(self, values: list[float]) -> None:
        self.values = np.array([[values]], dtype=np.float32)

    def predict(self, trials: object, device: str) -> dict[str, np.ndarray]:
        return {"x": self.values}


def said(alike: bool, **members: Says) -> list[float]:
    ensemble = Ensemble(members, alike=alike)  # type: ignore[arg-type]
    return ensemble.predict(None, "cpu")["x"][0, 0].tolist()  # type: ignore[arg-type]


def test_members_of_any_length_can_have_the_same_say() -> None:
    loud, quiet, silent = Says([8.0, 0.0]), Says([0.0, 2.0]), Says([0.0, 0.0])
    assert said(False, loud=loud, quiet=quiet) == [4.0, 1.0]
    assert said(True, loud=loud, quiet=quiet) == [2.5, 2.5]
    assert said(True, loud=loud, silent=silent) == [2.0, 0.0]
