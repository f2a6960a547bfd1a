from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from braindec.frozen import weights
from braindec.frozen.loading import check_readable, load_strictly, read_checkpoint
from braindec.locations import data_folder
from braindec.types import DataError


@pytest.fixture(autouse=True)
def own_homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    monkeypatch.setenv("BRAINDEC_WEIGHTS", str(root))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return root


def test_the_table_is_complete() -> None:
    table = weights.known_weights()
    assert "openai/vdvae-imagenet64" in table
    for known in table.values():
        assert known.size_gb > 0
        assert known.licence
        assert known.files
    assert "openai/vdvae-imagenet64" in {known.id for known in weights.needed_by("brain_diffuser")}


def test_missing_weights_say_what_where_how_large_and_how_to_get_them() -> None:
    with pytest.raises(DataError) as error:
        weights.resolve("laion/CLIP-ViT-bigG-14-laion2B-39B-b160k")
    message = str(error.value)
    for part in (
        "ViT-bigG/14",
        "10.2 GB",
        "licence MIT",
        "BRAINDEC_WEIGHTS",
        "braindec weights fetch laion/CLIP-ViT-bigG",
    ):
        assert part in message
    with pytest.raises(DataError, match="no such file or folder"):
        weights.resolve("./nowhere.safetensors")
    with pytest.raises(DataError, match="download 'someone/something'"):
        weights.resolve("someone/something")


def test_the_root_mirrors_hub_ids(own_homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = own_homes / "timm" / "vgg19.tv_in1k"
    folder.mkdir(parents=True)
    assert weights.resolve("timm/vgg19.tv_in1k") == folder
    assert weights.resolve(str(folder)) == folder
    monkeypatch.setenv("BRAINDEC_WEIGHTS", str(own_homes / "absent"))
    with pytest.raises(DataError, match="expected a folder"):
        weights.resolve("timm/vgg19.tv_in1k")


def test_status_tells_missing_damaged_and_present(own_homes: Path) -> None:
    assert weights.status("timm/vgg19.tv_in1k").status == "missing"
    folder = own_homes / "timm" / "vgg19.tv_in1k"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    found = weights.status("timm/vgg19.tv_in1k")
    assert found.status == "damaged"
    assert "lacks model.safetensors" in found.detail
    (folder / "model.safetensors").write_bytes(b"x")
    assert weights.status("timm/vgg19.tv_in1k").status == "present"
    with pytest.raises(DataError, match="not in the table"):
        weights.status("a/b")


def published(monkeypatch: pytest.MonkeyPatch, source: Path, sha256: str) -> None:
    known = weights.KnownWeights(
        "some/net", "a network", 1e-6, "MIT", ("a.bin",), url=source.parent.as_uri(), sha256={"a.bin": sha256}
    )
    monkeypatch.setattr(weights, "known_weights", lambda: {"some/net": known})


def test_fetching_checks_the_checksum(tmp_path: Path, own_homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "server" / "a.bin"
    source.parent.mkdir()
    source.write_bytes(b"weights" * 1000)
    published(monkeypatch, source, hashlib.sha256(source.read_bytes()).hexdigest())
    folder = weights.fetch("some/net")
    assert (folder / "a.bin").read_bytes() == source.read_bytes()
    (folder / "a.bin").write_bytes(b"changed")
    assert weights.status("some/net", verify=True).status == "damaged"
    (folder / "a.bin").unlink()
    published(monkeypatch, source, "0" * 64)
    with pytest.raises(DataError, match="nothing was kept"):
        weights.fetch("some/net")
    assert list(folder.iterdir()) == []


def test_fetching_without_a_network_says_where_the_files_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published(monkeypatch, tmp_path / "no_server" / "a.bin", "0" * 64)
    with pytest.raises(DataError, match=r"the download failed .*copy a\.bin from elsewhere into .*some/net"):
        weights.fetch("some/net")
    monkeypatch.undo()
    monkeypatch.setenv("BRAINDEC_WEIGHTS", str(tmp_path / "root"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"the download failed .*copy .*model\.safetensors"):
        weights.fetch("timm/vgg19.tv_in1k")


def test_hashes_are_remembered_until_the_file_changes(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"one")
    first = weights.file_sha256(file)
    assert first == hashlib.sha256(b"one").hexdigest() == weights.file_sha256(file)
    store = tmp_path / "cache" / "braindec" / "weight_hashes.json"
    store.write_text(store.read_text().replace(first, "f" * 64))
    assert weights.file_sha256(file) == "f" * 64
    file.write_bytes(b"another")
    assert weights.file_sha256(file) == hashlib.sha256(b"another").hexdigest()


class Trap:
    """Unpickling this would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("plain_pickle", [False, True])
def test_pickled_code_is_refused_and_never_run(tmp_path: Path, plain_pickle: bool) -> None:
    sprung = tmp_path / "sprung"
    file = tmp_path / "model.pth"
    content = {"weight": torch.zeros(2), "extra": Trap(sprung)}
    if plain_pickle:
        file.write_bytes(pickle.dumps(content["extra"]))
    else:
        torch.save(content, file)
    for read in (read_checkpoint, lambda path: check_readable([path])):
        with pytest.raises(DataError, match=r"model\.pth: .*(not executed|not a PyTorch checkpoint)"):
            read(file)
    assert not sprung.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "model.pth"])
def test_truncated_files_are_named(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    state = {"weight": torch.zeros(1000)}
    if name.endswith("pth"):
        torch.save(state, file)
    else:
        save_file(state, file)
    whole = file.read_bytes()
    for kept in (0, 5, len(whole) // 2, len(whole) - 20):
        file.write_bytes(whole[:kept])
        with pytest.raises(DataError, match=f"{name}: .*truncated"):
            read_checkpoint(file)


def test_loading_reports_declared_mismatches(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(3, 2), "old.buffer": torch.zeros(1)}, tmp_path / "a.safetensors")
    layer = nn.Linear(2, 3)
    checkpoint = read_checkpoint(tmp_path)
    with pytest.raises(DataError, match=r"1 keys matched, 1 missing \(bias\), 1 unexpected \(old.buffer\)"):
        load_strictly(layer, checkpoint)
    report = load_strictly(layer, checkpoint, allow_missing=["bias"], allow_unexpected=["old.*"])
    assert report.matched == 1
    assert report.missing == ("bias",)
    assert report.unexpected == ("old.buffer",)
    assert bool((layer.weight == 1).all())
    with pytest.raises(DataError, match="0 keys matched"):
        load_strictly(nn.BatchNorm1d(7), checkpoint, ["*"], ["*"])


def test_several_files_need_an_index_or_a_name(tmp_path: Path) -> None:
    for number in (1, 2):
        save_file(
            {f"part{number}": torch.full((1,), float(number))}, tmp_path / f"model-0000{number}-of-00002.safetensors"
        )
    with pytest.raises(DataError, match="name the file"):
        read_checkpoint(tmp_path)
    index = '{"weight_map": {"part1": "model-00001-of-00002.safetensors", "part2": "model-00002-of-00002.safetensors"}}'
    (tmp_path / "model.safetensors.index.json").write_text(index)
    assert sorted(read_checkpoint(tmp_path).tensors) == ["part1", "part2"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="found none"):
        read_checkpoint(tmp_path / "empty")


def test_networks_that_come_with_the_project_are_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert weights.resolve("tiny/tiny_clip") == data_folder() / "tiny" / "tiny_clip"
    with pytest.raises(DataError, match="are missing"):
        weights.resolve("tiny/tiny_clop")
