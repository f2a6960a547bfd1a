from __future__ import annotations

import json

import numpy as np
import pytest

from braindec.compose import checked, compose
from braindec.datasets.array_dataset import stimuli_of
from braindec.datasets.from_python import from_arrays
from braindec.datasets.nsd.fake import write_fake
from braindec.datasets.prepared import read_hashes
from braindec.locations import configs_folder
from braindec.prepare import RECORD, Preparation, embed, prepare, verify, without_training
from braindec.targets.pixels import Pixels
from braindec.types import DataError


def config(tmp_path, *more: str):
    return compose(
        "prepare",
        ["dataset=nsd", f"dataset.root={tmp_path / 'nsd'}", "+dataset.sessions=2", "subject=subj01",
         f"cache_dir={tmp_path / 'cache'}", *more],
    )  # fmt: skip


def test_a_data_set_is_cached_once_and_answered_from_the_record(tmp_path, monkeypatch) -> None:
    write_fake(tmp_path / "nsd", n_sessions=2)
    first = prepare(config(tmp_path))["subj01"]
    assert first["cached"]
    assert first["shape"] == [1500, 40, 1]
    assert sum(first["trials"].values()) == 1500
    signals = list((tmp_path / "cache").rglob("*.npy"))
    assert signals
    monkeypatch.setattr("braindec.prepare.prepare_subject", lambda *a, **k: pytest.fail("read again"))
    assert prepare(config(tmp_path))["subj01"] == first


def test_changed_files_are_verified_again(tmp_path) -> None:
    write_fake(tmp_path / "nsd", n_sessions=2)
    prepare(config(tmp_path))
    record = tmp_path / "cache" / RECORD
    before = json.loads(record.read_text())
    write_fake(tmp_path / "nsd", n_sessions=2, seed=1)
    prepare(config(tmp_path))
    assert json.loads(record.read_text())["version"] != before["version"]


def test_a_data_set_without_a_cache_is_verified(tmp_path) -> None:
    small = ["dataset=simulated", "+dataset.n_subjects=2", "+dataset.n_train=20", "+dataset.n_test=5",
             "+dataset.n_voxels=100", "n_jobs=2"]  # fmt: skip
    found = prepare(compose("prepare", small))
    assert list(found) == ["sim01", "sim02"]
    assert found["sim01"]["trials"] == {"train": 40, "test": 20}
    assert not found["sim01"]["cached"]


SMALL = ["dataset=simulated", "+dataset.n_subjects=1", "+dataset.n_train=20", "+dataset.n_test=5",
         "+dataset.n_voxels=100"]  # fmt: skip


def test_training_reads_the_embeddings_that_were_prepared(tmp_path, monkeypatch) -> None:
    from braindec.train import train

    # Pixels stand in for a network: they are the one target without a state that needs no weights.
    prepared = embed(compose("prepare", [*SMALL, "target=[pixels]", f"cache_dir={tmp_path / 'cache'}"]))["pixels"]
    assert prepared.values.shape[0] == 25
    monkeypatch.setattr(Pixels, "embed", lambda *a: pytest.fail("embedded again"))
    run = train(
        compose("train", [*SMALL, "target=[pixels]", "stage=[]", "metric=[]", f"run_dir={tmp_path / 'run'}",
                          f"cache_dir={tmp_path / 'cache'}", "device=cpu"])
    )  # fmt: skip
    (fold,) = run.folds()
    fit = json.loads((run.decoder(fold) / "fit.json").read_text())
    assert fit["targets"]["pixels"]["key"].split("/")[0] == prepared.source["key"].split("/")[0]


def test_only_what_needs_no_training_can_be_prepared(tmp_path) -> None:
    assert embed(compose("prepare", SMALL)) == {}
    with pytest.raises(DataError, match="set it to a folder"):
        embed(compose("prepare", [*SMALL, "target=[pixels]"]))
    with pytest.raises(DataError, match="the targets image_pca are fitted on training stimuli"):
        embed(compose("prepare", [*SMALL, "target=[pixels,image_pca]", f"cache_dir={tmp_path}"]))


def test_damage_is_named() -> None:
    trials = from_arrays(np.ones((4, 3)), ["a", "b", "a", "b"])
    assert verify(trials, stimuli_of([trials]))["stimuli"] == 2
    with pytest.raises(DataError, match="unknown"):
        verify(trials, stimuli_of([trials]).select(["a"]))
    trials.table["repetition"] = 0
    with pytest.raises(DataError, match="2 trials share stimulus and repetition"):
        verify(trials, stimuli_of([trials]))


def test_published_checksums_are_compared(tmp_path) -> None:
    import hashlib

    write_fake(tmp_path / "nsd", n_sessions=2)
    path = next((tmp_path / "nsd").rglob("responses.tsv"))
    line = f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(tmp_path / 'nsd')}\n"
    (tmp_path / "nsd" / "SHA256SUMS").write_text(line)
    assert prepare(config(tmp_path))["subj01"]["checksums"] == 1
    (tmp_path / "nsd" / "SHA256SUMS").write_text(line.replace(line[:4], "0000", 1))
    with pytest.raises(DataError, match=r"responses\.tsv"):
        prepare(config(tmp_path, "again=true"))
    assert prepare(config(tmp_path, "again=true", "checksums=false"))["subj01"]["checksums"] == 0


@pytest.mark.parametrize("name", sorted(path.stem for path in (configs_folder() / "dataset").glob("*.yaml")))
def test_every_data_set_can_be_prepared_whatever_its_file_says_of_training(name: str) -> None:
    checked(without_training(compose("prepare", [f"dataset={name}"])), Preparation)


def test_a_misspelt_key_is_still_named() -> None:
    with pytest.raises(DataError, match="n_job"):
        prepare(compose("prepare", ["dataset=simulated", "+n_job=2"]))


def test_training_from_a_prepared_cache_finds_the_hashes_of_the_leak_check(tmp_path, monkeypatch) -> None:
    from braindec.datasets.nsd.reader import NSD
    from braindec.signals import content
    from braindec.signals.leak import check_folds
    from braindec.signals.split import published

    write_fake(tmp_path / "nsd", n_sessions=2)
    prepare(config(tmp_path))
    dataset = NSD(str(tmp_path / "nsd"), sessions=2, cache_dir=str(tmp_path / "cache"))
    trials, stimuli = {"subj01": dataset.trials("subj01")}, dataset.stimuli()
    folds = {"subj01": published(trials["subj01"].table)}
    hashes = read_hashes(dataset, dataset.version(), ["subj01"])
    assert hashes.of_trials(trials["subj01"]) == content.trial_hashes(trials["subj01"].signal)
    some = stimuli.ids[:3]
    used = [i for i in some if i in hashes.stimuli]
    assert {i: hashes.stimuli[i] for i in used} == content.content_hashes(stimuli, used)
    monkeypatch.setattr(content, "trial_hashes", lambda *a: pytest.fail("signals were read again"))
    monkeypatch.setattr(content, "content_hashes", lambda _, ids: pytest.fail("read again") if ids else {})
    assert check_folds(folds, trials, stimuli, hashes=hashes) == []
    assert not read_hashes(dataset, "another version", ["subj01"]).trials
    assert not read_hashes(NSD(str(tmp_path / "nsd"), sessions=2), dataset.version(), ["subj01"]).trials
