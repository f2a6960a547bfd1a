"""The leak check on each data set: the published partition is quiet, each known trap is planted and named."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from braindec.datasets.nsd.design import released_sessions
from braindec.datasets.nsd.design import trial_table as nsd_table
from braindec.datasets.nsd.fake import fake_design
from braindec.datasets.things_meg import read_events
from braindec.datasets.things_meg import trial_table as meg_table
from braindec.signals.leak import Leak, Unit, check_folds, unit_of
from braindec.signals.split import by_stimulus, leave_run_out, published
from braindec.types import Fold, Space, Stimuli, Trials

REAL_EVENTS = Path(os.environ.get("BRAINDEC_DATA", "../shared/data")) / "things_meg"
Split = Callable[[pd.DataFrame], tuple[Fold, ...]]


def of_table(table: pd.DataFrame, subject: str = "s1") -> Trials:
    """Trials with the table and a signal of noise."""
    signal = np.random.default_rng(0).normal(size=(len(table), 2, 1)).astype(np.float32)
    return Trials(subject, signal, "z", Space("voxels", 2), table)


def found(trials: Trials, split: Split, unit: Unit, stimuli: Stimuli | None = None) -> list[Leak]:
    return check_folds({trials.subject: split(trials.table)}, {trials.subject: trials}, stimuli, unit=unit)


def kinds(leaks: Sequence[Leak]) -> list[str]:
    return [leak.kind for leak in leaks]


def by_trial(table: pd.DataFrame) -> tuple[Fold, ...]:
    """The split that must not be: every fifth trial is a test trial, whatever it shows."""
    rows = np.flatnonzero(table["split"] != "unused")
    return (Fold("by trial", rows[rows % 5 > 0], np.empty(0, np.int64), rows[rows % 5 == 0]),)


@pytest.fixture(scope="module")
def nsd() -> dict[str, pd.DataFrame]:
    design = fake_design(np.random.default_rng(0))
    return {g: nsd_table(design, "subj01", released_sessions("subj01", g)) for g in ("nsd37", "nsd40")}  # type: ignore[arg-type]


@pytest.mark.parametrize("generation", ["nsd37", "nsd40"])
def test_nsd_is_quiet_as_published(nsd: dict[str, pd.DataFrame], generation: str) -> None:
    assert found(of_table(nsd[generation]), published, "stimulus") == []
    assert found(of_table(nsd[generation]), lambda t: published(t, 0.1), "stimulus") == []


def test_nsd_a_shared_picture_in_training(nsd: dict[str, pd.DataFrame]) -> None:
    table = nsd["nsd40"].copy()
    row = int(np.flatnonzero(table["split"] == "test")[7])
    table.loc[row, "split"] = "train"
    (leak,) = found(of_table(table), published, "stimulus")
    assert (leak.kind, leak.offenders) == ("unit_overlap", (table["stimulus_id"][row],))


def test_nsd_presentations_of_one_picture_on_both_sides(nsd: dict[str, pd.DataFrame]) -> None:
    (leak,) = found(of_table(nsd["nsd40"]), by_trial, "stimulus")
    assert leak.kind == "unit_overlap"
    assert len(leak.offenders) > 4000


def test_nsd_one_persons_test_pictures_in_anothers_training(nsd: dict[str, pd.DataFrame]) -> None:
    design = fake_design(np.random.default_rng(0))
    other = nsd_table(design, "subj02", range(1, 41))
    whole = {"subj01": of_table(nsd["nsd40"], "subj01"), "subj02": of_table(other, "subj02")}
    assert check_folds({s: published(t.table) for s, t in whole.items()}, whole) == []
    shared = other["split"] == "test"
    torn = of_table(other.assign(split=np.where(shared, "train", "test")), "subj02")
    both = {**whole, "subj02": torn}
    leaks = check_folds({s: published(t.table) for s, t in both.items()}, both)
    assert {leak.subject for leak in leaks} == {"subj01"}
    assert len(leaks[0].offenders) == 1000


@pytest.fixture(scope="module")
def eeg2(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trials, Stimuli, Unit]:
    from braindec.datasets.things_eeg2.fake import write_fake
    from braindec.datasets.things_eeg2.reader import ThingsEEG2

    root = tmp_path_factory.mktemp("eeg2")
    write_fake(root, n_concepts=4, n_test=3)
    dataset = ThingsEEG2(str(root))
    return dataset.trials(dataset.subjects()[0]), dataset.stimuli(), unit_of(dataset)


def test_things_eeg2(eeg2: tuple[Trials, Stimuli, Unit]) -> None:
    trials, stimuli, unit = eeg2
    assert unit == "concept"
    assert found(trials, published, unit, stimuli) == []
    table = trials.table.copy()
    tested = table["concept"][table["split"] == "test"].iloc[0]
    table.loc[table["stimulus_id"] == table["stimulus_id"][0], "concept"] = tested
    (leak,) = found(replace(trials, table=table), published, unit)
    assert (leak.kind, leak.offenders) == ("unit_overlap", (tested,))
    validation = found(trials, lambda t: published(t, 0.3), unit)
    assert all(leak.kind == "unit_overlap" and "validation" in leak.message for leak in validation)
    assert "unit_overlap" in kinds(found(trials, by_trial, "stimulus"))


def test_things_eeg2_a_test_picture_among_the_training_pictures(eeg2: tuple[Trials, Stimuli, Unit]) -> None:
    trials, stimuli, unit = eeg2
    images = np.array(stimuli.images[np.arange(len(stimuli))])
    table = trials.table
    one, other = (table["stimulus_id"][table["split"] == part].iloc[0] for part in ("train", "test"))
    images[stimuli.rows([one])] = images[stimuli.rows([other])]
    (leak,) = found(trials, published, unit, replace(stimuli, images=images))
    assert (leak.kind, leak.offenders) == ("identical_content", tuple(sorted((one, other))))


def test_things_eeg2_showings_copied_from_test_to_training(eeg2: tuple[Trials, Stimuli, Unit]) -> None:
    trials, _, unit = eeg2
    signal = trials.signal.copy()
    one, other = (int(np.flatnonzero(trials.table["split"] == part)[3]) for part in ("train", "test"))
    signal[one] = signal[other]
    assert kinds(found(replace(trials, signal=signal), published, unit)) == ["identical_trials"]


@pytest.mark.parametrize("name", ["things_eeg1", "things_meg", "things_meg_raw"])
def test_things_test_concepts_in_training(tmp_path: Path, name: str) -> None:
    if name == "things_eeg1":
        from braindec.datasets.things_eeg1 import ThingsEEG1 as Reader
        from braindec.datasets.things_eeg1 import write_fake
    elif name == "things_meg":
        from braindec.datasets.things_meg import ThingsMEG as Reader  # type: ignore[assignment]
        from braindec.datasets.things_meg import write_fake
    else:
        from braindec.datasets.things_meg_raw import ThingsMEGRaw as Reader  # type: ignore[assignment]
        from braindec.datasets.things_meg_raw import write_fake
    write_fake(tmp_path, **({"n_sensors": 6} if name == "things_meg_raw" else {}))
    default, all_concepts = Reader(str(tmp_path)), Reader(str(tmp_path), zero_shot=False)
    subject = default.subjects()[-1]
    unit = unit_of(default)
    assert unit == "concept"
    assert found(default.trials(subject), published, unit, default.stimuli()) == []
    (leak,) = found(all_concepts.trials(subject), published, unit)
    assert leak.kind == "unit_overlap"
    assert len(leak.offenders) == 2


@pytest.mark.skipif(not REAL_EVENTS.is_dir(), reason=f"needs the real THINGS-MEG events in {REAL_EVENTS}")
def test_things_meg_real_events() -> None:
    events = read_events(REAL_EVENTS, "sub-BIGMEG1")
    (leak,) = found(of_table(meg_table(events, zero_shot=False, test_set="small")), published, "concept")
    assert len(leak.offenders) == 200
    for test_set in ("small", "large"):
        table = meg_table(events, zero_shot=True, test_set=test_set)  # type: ignore[arg-type]
        assert found(of_table(table), published, "concept") == []


def test_bold5000_marked_showings_are_one_picture(tmp_path: Path) -> None:
    from braindec.datasets.bold5000.design import read_stimuli, trial_table
    from braindec.datasets.bold5000.fake import write_fake

    write_fake(tmp_path, storage=())
    table = trial_table(tmp_path, "CSI1")
    assert found(of_table(table), published, "stimulus", read_stimuli(tmp_path, ["CSI1"], None)) == []
    few = table["stimulus_id"].iloc[:200].unique().tolist()
    own = np.array([[[[i // 16 * 16, i % 16 * 16, 0]]] for i in range(len(few))], dtype=np.uint8)
    marked = table[table["split"] == "test"].index[0]
    one = table["stimulus_id"][marked]
    assert marked < 200
    doubled = Stimuli(ids=(*few, f"rep_{one}"), images=np.concatenate([own, own[[few.index(one)]]]))
    unread = table.iloc[:200].copy()
    unread.loc[marked, ["stimulus_id", "split"]] = [f"rep_{one}", "test"]
    unread.loc[table.index[table["split"] == "train"][0], ["stimulus_id", "split"]] = [one, "train"]
    assert "identical_content" in kinds(found(of_table(unread), published, "stimulus", doubled))


def test_bids_partition_of_the_events_that_divides_a_stimulus(tmp_path: Path) -> None:
    from braindec.datasets.bids import BIDSFMRI, write_fake

    write_fake(tmp_path)
    for path in sorted((tmp_path / "sub-01/func").glob("*events.tsv")):
        events = pd.read_csv(path, sep="\t", keep_default_na=False)
        events.assign(split=["train" if "run-01" in path.name else "test"] * len(events)).to_csv(
            path, sep="\t", index=False
        )
    (leak,) = found(BIDSFMRI(str(tmp_path), "scan").trials("sub-01"), published, "stimulus")
    assert leak.offenders == ("s0.png", "s1.png", "s2.png", "s3.png")


def blocks(mixed: bool) -> Trials:
    """Forty trials in four runs; unless ``mixed``, each run shows the pictures of one class."""
    classes = np.tile(np.arange(4), 10) if mixed else np.repeat(np.arange(4), 10)
    table = pd.DataFrame(
        {
            "stimulus_id": [f"picture{i:02d}" for i in range(40)],
            "concept": [f"class{c}" for c in classes],
            "session": 1,
            "run": np.repeat(np.arange(4), 10),
            "repetition": 0,
            "split": "train",
        }
    )
    return of_table(table)


def test_eeg_block_design_is_named_where_a_run_is_divided() -> None:
    split = partial(by_stimulus, test_fraction=0.2, validation_fraction=0.1, seed=0)
    assert kinds(found(blocks(mixed=False), split, "stimulus")) == ["block_design"]
    assert found(blocks(mixed=True), split, "stimulus") == []


@pytest.mark.parametrize("name", ["haxby2001", "muse_n170"])
def test_runs_of_the_real_recordings_hold_all_classes(tmp_path: Path, name: str) -> None:
    from braindec.datasets import haxby2001, muse_n170

    module, reader = (haxby2001, haxby2001.Haxby2001) if name == "haxby2001" else (muse_n170, muse_n170.MuseN170)
    module.write_fake(tmp_path)
    dataset = reader(str(tmp_path))  # type: ignore[operator]
    trials = dataset.trials(dataset.subjects()[0])
    leaks = found(trials, leave_run_out, "stimulus")
    assert set(kinds(leaks)) <= {"unit_overlap"}
    assert all(leak.allowed for leak in leaks)
    copied = trials.signal.copy()
    fold = leave_run_out(trials.table)[0]
    copied[fold.test[0]] = copied[fold.train[0]]
    assert "identical_trials" in kinds(found(replace(trials, signal=copied), leave_run_out, "stimulus"))


def test_validation_carved_by_concept_is_quiet(eeg2: tuple[Trials, Stimuli, Unit]) -> None:
    trials, _, unit = eeg2
    assert found(trials, lambda t: published(t, 0.3, "concept"), unit) == []
