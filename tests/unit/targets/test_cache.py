from __future__ import annotations

import json
import logging
from dataclasses import replace

import numpy as np
import pytest

from braindec.targets.cache import load_or_compute, stimuli_hash
from braindec.targets.image_pca import ImagePCA
from braindec.targets.pixels import Pixels
from braindec.types import DataError, Stimuli


class Counting(Pixels):
    """Pixels that count how often they were made."""

    made = 0

    def embed(self, stimuli):
        type(self).made += 1
        return super().embed(stimuli)


@pytest.fixture
def target():
    Counting.made = 0
    return Counting(4)


def only(folder, ending):
    (path,) = folder.glob(f"*{ending}")
    return path


def test_the_second_call_reads_what_the_first_wrote(target, make_stimuli, tmp_path):
    stimuli = make_stimuli()
    first = load_or_compute(target, stimuli, tmp_path / "new" / "cache", "pixels")
    second = load_or_compute(Counting(4), make_stimuli(), tmp_path / "new" / "cache", "other name")
    assert Counting.made == 1
    np.testing.assert_array_equal(second.values, target.embed(stimuli))
    np.testing.assert_array_equal(first.values, second.values)
    assert isinstance(second.values, np.memmap)
    assert (first.name, second.name) == ("pixels", "other name")
    assert second.ids == stimuli.ids
    assert second.source == first.source
    assert second.source["arguments"] == {"size": 4, "grey": False}
    assert second.source["class"].endswith("Counting")


def test_without_a_folder_nothing_is_kept(target, make_stimuli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        load_or_compute(target, make_stimuli(), None, "pixels")
    assert Counting.made == 2
    assert list(tmp_path.iterdir()) == []


def changed_stimuli(stimuli):
    pictures = stimuli.images.copy()
    pictures[5, 3, 3, 0] ^= 1
    wave = np.linspace(-1, 1, 20, dtype=np.float32)
    n = len(stimuli)
    return {
        "one pixel": replace(stimuli, images=pictures),
        "ids": replace(stimuli, ids=tuple(f"x{i}" for i in range(n))),
        "order": stimuli.select(stimuli.ids[::-1]),
        "fewer": stimuli.select(stimuli.ids[:-1]),
        "captions": replace(stimuli, captions=(("a",),) * n),
        "captions grouped": replace(stimuli, captions=(("a", "a"),) * n),
        "concepts": replace(stimuli, concepts=("a",) * n),
        "texts": replace(stimuli, texts=("a",) * n),
        "audio": replace(stimuli, audio=(wave,) * n, audio_rate_hz=10.0),
        "audio rate": replace(stimuli, audio=(wave,) * n, audio_rate_hz=20.0),
        "extras": replace(stimuli, extras={"depth": np.zeros(n)}),
        "extras value": replace(stimuli, extras={"depth": np.ones(n)}),
        "extras list": replace(stimuli, extras={"boxes": [[1, 2]] * n}),
        "no images": replace(stimuli, images=None),
    }


def test_the_hash_changes_with_every_field(make_stimuli):
    stimuli = make_stimuli()
    hashes = {name: stimuli_hash(other) for name, other in changed_stimuli(stimuli).items()}
    hashes["as is"] = stimuli_hash(stimuli)
    assert len(set(hashes.values())) == len(hashes)
    assert stimuli_hash(make_stimuli()) == hashes["as is"]


def test_other_content_under_the_same_ids_is_not_taken_from_the_cache(target, make_stimuli, tmp_path):
    stimuli = make_stimuli()
    darker = replace(stimuli, images=stimuli.images // 2)
    for shown in (stimuli, darker):
        found = load_or_compute(target, shown, tmp_path, "pixels")
        np.testing.assert_array_equal(found.values, target.embed(shown))


def test_a_lazy_store_may_name_its_own_content(make_stimuli):
    class Store:
        shape = (2, 4, 4, 3)

        def __init__(self, release):
            self.release = release

        def fingerprint(self):
            return self.release

        def __getitem__(self, rows):
            raise AssertionError("must not be read")

    hashes = {stimuli_hash(Stimuli(("a", "b"), images=Store(release))) for release in ("1", "2", "1")}
    assert len(hashes) == 2


def test_arguments_and_fitted_state_are_part_of_the_key(make_stimuli, tmp_path):
    stimuli, others = make_stimuli(seed=0), make_stimuli(seed=1)
    targets = [ImagePCA(3, 8), ImagePCA(3, 8), ImagePCA(4, 8), ImagePCA(3, 8, grey=True)]
    for target, training in zip(targets, (stimuli, others, stimuli, stimuli)):
        target.fit(training)
        found = load_or_compute(target, stimuli, tmp_path, "pca")
        np.testing.assert_array_equal(found.values, target.embed(stimuli))
    assert len(list(tmp_path.glob("*.npy"))) == len(targets)


def test_a_nested_part_is_part_of_the_key(make_stimuli, tmp_path):
    class Network:
        def __init__(self, weights):
            self.weights = weights

    class Blind(Pixels):
        def __init__(self, network):
            super().__init__(4)
            self.network = network

    class Fingerprinted:
        def fingerprint(self):
            return "v1"

    keys = set()
    for network in (Network(np.zeros(3)), Network(np.ones(3)), Fingerprinted(), {"a": [1, 2]}, {"a": [1, 3]}, None):
        keys.add(load_or_compute(Blind(network), make_stimuli(), tmp_path, "t").source["key"])
    assert len(keys) == 6
    for opaque in (object(), len, lambda: 0):
        with pytest.raises(DataError, match=r"cannot tell what .* holds"):
            load_or_compute(Blind(opaque), make_stimuli(), tmp_path, "t")


def test_arguments_that_are_not_stored_are_named(make_stimuli, tmp_path):
    class Forgetful(Pixels):
        def __init__(self, width):
            super().__init__(width)

    with pytest.raises(DataError, match=r"does not store its arguments \['width'\]"):
        load_or_compute(Forgetful(4), make_stimuli(), tmp_path, "t")


def flip_last_byte(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def edit_sidecar(**fields):
    def edit(folder):
        path = only(folder, ".json")
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    return edit


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: flip_last_byte(only(folder, ".npy")), "does not have the hash"),
        (lambda folder: only(folder, ".npy").write_bytes(b""), "not a whole .npy array"),
        (lambda folder: only(folder, ".npy").write_bytes(only(folder, ".npy").read_bytes()[:-8]), "not a whole"),
        (lambda folder: only(folder, ".npy").unlink(), "no such file"),
        (lambda folder: only(folder, ".json").write_text("{"), "not valid JSON"),
        (lambda folder: only(folder, ".json").write_text("[]"), "expected key"),
        (edit_sidecar(key="0"), "expected key"),
        (edit_sidecar(shape=[12, 1, 47]), "expected shape"),
        (edit_sidecar(dtype="<f8"), "expected dtype"),
        (lambda folder: np.save(only(folder, ".npy"), np.full((12, 1, 48), np.nan, np.float32)), "NaN"),
    ],
)
def test_a_damaged_entry_is_made_anew_with_a_warning(target, make_stimuli, tmp_path, caplog, damage, message):
    stimuli = make_stimuli()
    expected = np.array(load_or_compute(target, stimuli, tmp_path, "pixels").values)
    damage(tmp_path)
    with caplog.at_level(logging.WARNING):
        found = load_or_compute(target, stimuli, tmp_path, "pixels")
    assert Counting.made == 2
    assert message in caplog.text
    np.testing.assert_array_equal(found.values, expected)
    caplog.clear()
    load_or_compute(target, stimuli, tmp_path, "pixels")
    assert Counting.made == 2
    assert caplog.text == ""


@pytest.mark.parametrize("step", ["values", "between", "sidecar"])
def test_a_kill_while_writing_leaves_nothing_that_is_taken_for_whole(target, make_stimuli, tmp_path, monkeypatch, step):
    class Killed(BaseException):
        pass

    def die(*args, **kwargs):
        raise Killed

    def half_written(file, array, **kwargs):
        file.write(b"half an array")
        raise Killed

    with monkeypatch.context() as patch:
        if step == "values":
            patch.setattr(np.lib.format, "write_array", half_written)
        elif step == "between":
            patch.setattr("braindec.targets.cache.write_json", die)
        else:
            patch.setattr("braindec.artifacts.json.dumps", die)
        with pytest.raises(Killed):
            load_or_compute(target, make_stimuli(), tmp_path, "pixels")
    assert not list(tmp_path.glob("*.json"))
    assert not list(tmp_path.glob(".*"))
    found = load_or_compute(target, make_stimuli(), tmp_path, "pixels")
    np.testing.assert_array_equal(found.values, target.embed(make_stimuli()))
    assert only(tmp_path, ".json").stem == only(tmp_path, ".npy").stem


class Faulty(Pixels):
    def __init__(self, fault):
        super().__init__(4)
        self.fault = fault

    def embed(self, stimuli):
        values = super().embed(stimuli)
        if self.fault == "nan":
            values[7, 0, 3] = np.nan
        return {"nan": values, "flat": values[:, 0], "double": values.astype(float), "short": values[1:]}[self.fault]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("nan", "NaN or infinite values for 1 of 12 stimuli, first 's0-7'"),
        ("flat", "expected float32"),
        ("double", "found float64"),
        ("short", "found float32"),
    ],
)
@pytest.mark.parametrize("cached", [True, False])
def test_faulty_embeddings_are_refused_and_not_cached(make_stimuli, tmp_path, fault, message, cached):
    with pytest.raises(DataError, match=message):
        load_or_compute(Faulty(fault), make_stimuli(), tmp_path if cached else None, "faulty")
    assert list(tmp_path.iterdir()) == []


def test_no_stimuli_are_refused(target, tmp_path):
    nothing = Stimuli((), images=np.empty((0, 4, 4, 3), dtype=np.uint8))
    with pytest.raises(DataError, match="target pixels: no stimuli to embed"):
        load_or_compute(target, nothing, tmp_path, "pixels")
