from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from braindec.classify import cross_validate
from braindec.contracts import Dataset
from braindec.datasets.array_dataset import ArrayDataset
from braindec.datasets.from_python import from_arrays
from braindec.signals.leak import LeakError
from braindec.signals.normalise import ZScore
from braindec.signals.split import leave_group_out, leave_run_out
from braindec.types import DataError, Fold

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_documented_example_runs_and_is_short(capsys) -> None:
    pytest.importorskip("mne")
    code = re.search(r"```python\n(.*?)```", (DOCS / "from_python.md").read_text(), re.S)[1]
    assert len(code.splitlines()) <= 16
    exec(compile(code, "docs/from_python.md", "exec"), {})
    accuracy = float(re.search(r"accuracy ([\d.]+)", capsys.readouterr().out)[1])
    assert accuracy > 0.9


def test_the_example_of_the_readme_decodes_epochs_in_under_15_lines(capsys) -> None:
    mne = pytest.importorskip("mne")
    code = re.search(r"```python\n(.*?)```", (DOCS.parent / "README.md").read_text(), re.S)[1]
    assert len(code.splitlines()) < 15
    rng = np.random.default_rng(0)
    is_face = np.tile([0, 1], 40)
    data = 1e-5 * (rng.normal(size=(80, 8, 50)) + 0.5 * is_face[:, None, None])
    metadata = pd.DataFrame(
        {"picture": [f"p{i % 8}" for i in range(80)], "concept": is_face.astype(str), "run": np.arange(80) // 20}
    )
    epochs = mne.EpochsArray(data, mne.create_info(8, 100.0, "eeg"), metadata=metadata, verbose=False)
    exec(compile(code, "README.md", "exec"), {"epochs": epochs})
    assert float(re.search(r"accuracy ([\d.]+)", capsys.readouterr().out)[1]) > 0.9


@pytest.fixture
def trials():
    rng = np.random.default_rng(0)
    number = np.tile(np.arange(4), 12)
    signal = rng.normal(size=(48, 6)) + 2 * rng.normal(size=(4, 6))[number]
    made = from_arrays(signal, [f"item{i}" for i in number], subject="me")
    made.table["concept"] = np.where(number < 2, "cat", "dog")
    made.table["run"] = np.arange(48) // 8
    return made


def test_cross_validation_tests_every_trial_once(trials) -> None:
    data = ArrayDataset(trials)
    assert isinstance(data, Dataset)
    found = cross_validate(trials, data.stimuli(), leave_run_out, transforms={"z": ZScore("all")})
    assert sorted(found["row"]) == list(range(48))
    assert found["right"].mean() > 0.8
    assert (found["concept"].to_numpy() == trials.table["concept"].to_numpy()[found["row"]]).all()


def test_shuffled_concepts_are_at_chance(trials) -> None:
    scores = []
    for seed in range(10):
        trials.table["stimulus_id"] = trials.table["concept"] = np.random.default_rng(seed).permutation(
            np.repeat(["cat", "dog"], 24)
        )
        split = partial(leave_group_out, column="run")
        scores.append(cross_validate(trials, ArrayDataset(trials).stimuli(), split)["right"].mean())
    assert np.mean(scores) == pytest.approx(0.5, abs=0.08)


def test_a_leaking_split_is_refused(trials) -> None:
    def leaky(table):
        return (Fold("all", np.arange(40), np.empty(0, int), np.arange(40, 48)),)

    with pytest.raises(LeakError):
        cross_validate(trials, ArrayDataset(trials).stimuli(), leaky)


def test_array_data_sets_check_names_stimuli_and_concepts(trials) -> None:
    data = ArrayDataset([trials])
    assert data.subjects() == ("me",)
    before = data.version()
    with pytest.raises(DataError, match="unknown subject"):
        data.trials("you")
    with pytest.raises(DataError, match="different names"):
        ArrayDataset([trials, trials])
    with pytest.raises(DataError, match="unknown"):
        ArrayDataset(trials, data.stimuli().select(["item0"]))
    trials.signal[0, 0, 0] += 1
    assert data.version() != before
    trials.table.loc[0, "concept"] = "dog"
    with pytest.raises(DataError, match="has the concepts"):
        ArrayDataset(trials)
