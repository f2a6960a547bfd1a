"""The simulated data set: contract, planted noise ceiling, planted leaks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from braindec.contracts import Dataset
from braindec.datasets.simulated.dataset import Simulated
from braindec.types import DataError, Trials

SMALL: dict[str, Any] = {"n_train": 40, "n_test": 20, "n_voxels": 120, "n_sessions": 2, "image_size": 32}


def sides(trials: Trials, column: str) -> tuple[set[str], set[str]]:
    table = trials.table
    return set(table.loc[table["split"] == "train", column]), set(table.loc[table["split"] == "test", column])


@pytest.fixture(scope="module")
def data() -> Simulated:
    return Simulated(**SMALL)


def test_it_fulfils_the_contract(data: Simulated) -> None:
    assert isinstance(data, Dataset)
    stimuli = data.stimuli()
    assert data.subjects() == ("sim01", "sim02")
    assert len(stimuli) == 60
    assert set(stimuli.extras) == {"depth", "boxes", "attributes", "instances"}
    sizes = []
    for subject in data.subjects():
        trials = data.trials(subject)
        assert trials.unit == "psc"
        assert trials.signal.shape[0] == 40 * 2 + 20 * 4
        assert np.isfinite(trials.signal).all()
        assert list(trials.table["concept"]) == list(
            np.array(stimuli.concepts)[stimuli.rows(trials.table["stimulus_id"])]
        )
        train, test = sides(trials, "stimulus_id")
        assert not train & test
        for _, rows in trials.table.groupby("session"):
            assert set(rows["split"]) == {"train", "test"}
        sizes.append(trials.space.size)
    assert sizes[0] != sizes[1]


def test_the_same_knobs_give_the_same_data(data: Simulated) -> None:
    again = Simulated(**SMALL)
    assert again.version() == data.version()
    np.testing.assert_array_equal(again.trials("sim02").signal, data.trials("sim02").signal)
    np.testing.assert_array_equal(again.stimuli().images, data.stimuli().images)


def test_version_is_unchanged_by_use_and_changed_by_every_knob(data: Simulated) -> None:
    other = {"n_subjects": 3, "n_train": 41, "n_test": 21, "repetitions_train": 1, "repetitions_test": 3, "seed": 1}
    other |= {"image_size": 64, "n_voxels": 130, "ncsnr": 0.5, "nonlinearity": 0.5, "n_sessions": 1, "drift": 0.1}
    other |= {"shared_train": False, "concept_disjoint": True, "leak": "stimulus"}
    versions = {Simulated(**(SMALL | {knob: value})).version() for knob, value in other.items()}
    assert len(versions | {data.version()}) == len(other) + 1
    data.stimuli()
    assert data.version() == Simulated(**SMALL).version()


def test_planted_ncsnr_is_found_in_the_repetitions() -> None:
    data = Simulated(
        n_subjects=1,
        n_train=1,
        repetitions_train=2,
        n_test=300,
        repetitions_test=6,
        n_voxels=150,
        drift=0.0,
        n_sessions=1,
        ncsnr=1.0,
        image_size=64,
    )
    trials = data.trials("sim01")
    tested = trials.table[trials.table["split"] == "test"]
    signal = np.stack([trials.signal[rows.index, :, 0] for _, rows in tested.groupby("stimulus_id")])
    noise = signal.var(axis=1, ddof=1).mean(axis=0)
    response = signal.mean(axis=1).var(axis=0, ddof=1) - noise / signal.shape[1]
    found = np.sqrt(np.maximum(response, 0) / noise)
    planted = trials.noise_ceiling
    assert planted is not None
    np.testing.assert_allclose(planted.mean(), 1.0)
    assert np.corrcoef(found, planted)[0, 1] > 0.95
    np.testing.assert_allclose(np.median(found / planted), 1, atol=0.05)


def test_training_images_are_shared_or_not() -> None:
    shared, own = Simulated(**SMALL).selection, Simulated(**SMALL, shared_train=False).selection
    assert shared.train[0] == shared.train[1]
    assert not set(own.train[0]) & set(own.train[1])
    assert shared.test == own.test


def test_clean_data_has_no_leak(data: Simulated) -> None:
    images = data.stimuli().images
    assert images is not None
    assert len({image.tobytes() for image in images}) == len(images)
    signal = data.trials("sim01").signal
    assert len({row.tobytes() for row in signal}) == len(signal)


def test_concept_disjoint_keeps_test_categories_out_of_training() -> None:
    data = Simulated(**SMALL, concept_disjoint=True)
    train, test = sides(data.trials("sim01"), "concept")
    assert test
    assert not train & test
    stimuli = data.stimuli()
    shown = stimuli.select(data.selection.train[0])
    assert not {box[0] for boxes in shown.extras["boxes"] for box in boxes} & test


def test_leak_of_stimuli() -> None:
    train, test = sides(Simulated(**SMALL, leak="stimulus").trials("sim01"), "stimulus_id")
    assert len(train & test) == 2


def test_leak_of_images() -> None:
    data = Simulated(**SMALL, leak="duplicate_image")
    trials, stimuli = data.trials("sim01"), data.stimuli()
    train, test = sides(trials, "stimulus_id")
    assert not train & test
    seen = {image.tobytes() for image in stimuli.select(sorted(train)).images}
    tested = {image.tobytes() for image in stimuli.select(sorted(test)).images}
    assert len(seen & tested) == 2


def test_leak_of_trials() -> None:
    trials = Simulated(**SMALL, leak="duplicate_trial").trials("sim01")
    train, test = sides(trials, "stimulus_id")
    assert not train & test
    trained = {row.tobytes() for row in trials.signal[(trials.table["split"] == "train").to_numpy()]}
    tested = {row.tobytes() for row in trials.signal[(trials.table["split"] == "test").to_numpy()]}
    assert len(trained & tested) == 2


def test_leak_of_concepts() -> None:
    trials = Simulated(**SMALL, concept_disjoint=True, leak="concept").trials("sim01")
    ids_train, ids_test = sides(trials, "stimulus_id")
    assert not ids_train & ids_test
    train, test = sides(trials, "concept")
    assert train & test


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"n_train": 0}, "n_train"),
        ({"image_size": 96}, "image_size"),
        ({"n_voxels": 10}, "n_voxels"),
        ({"ncsnr": 0.0}, "ncsnr"),
        ({"nonlinearity": 1.5}, "nonlinearity"),
        ({"n_sessions": 1000}, "n_sessions"),
        ({"leak": "everything"}, "leak"),
        ({"leak": "concept"}, "concept_disjoint"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_knobs_are_refused(knobs: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Simulated(**(SMALL | knobs))


def test_unknown_subject_is_refused(data: Simulated) -> None:
    with pytest.raises(DataError, match="sim01"):
        data.trials("subj01")
