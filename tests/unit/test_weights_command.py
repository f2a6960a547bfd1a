"""``braindec weights`` lists what is known, verifies what is here and refuses what it does not know."""

from __future__ import annotations

from pathlib import Path

import pytest

from braindec import doctor, weights
from braindec.types import DataError


@pytest.fixture(autouse=True)
def empty_root(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("BRAINDEC_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def test_list_names_size_licence_and_experiments(capsys) -> None:
    weights.main(["list", "brain_diffuser"])
    shown = capsys.readouterr().out
    assert "[missing] openai/vdvae-imagenet64  0.5 GB, MIT" in shown
    assert "bigG" not in shown
    assert "goes to $BRAINDEC_WEIGHTS/openai/vdvae-imagenet64" in shown
    assert "shi-labs/versatile-diffusion" in shown
    assert "3 networks, 13.2 GB in all, 13.2 GB of them missing" in shown


def test_list_takes_what_the_configuration_says(capsys) -> None:
    assert weights.configured_weights("takagi2023") == ("CompVis/stable-diffusion-v1-4",)
    weights.main(["list", "haxby2001"])
    assert "no weights are needed by haxby2001" in capsys.readouterr().out
    with pytest.raises(DataError, match="did you mean brain_diffuser"):
        weights.main(["list", "brain_difuser"])


def test_own_weights_of_a_configuration_are_named_too(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(weights, "configured_weights", lambda name: (str(tmp_path), "someone/else"))
    weights.main(["list", "haxby2001"])
    shown = capsys.readouterr().out
    assert f"[here   ] {tmp_path}" in shown
    assert "[missing] someone/else" in shown
    with pytest.raises(SystemExit):
        weights.main(["check", "haxby2001"])


def test_the_tiny_family_comes_with_braindec(capsys) -> None:
    weights.main(["list"])
    shown = capsys.readouterr().out
    assert shown.count("comes with braindec") == 7
    assert "[here   ] tiny/tiny_clip" in shown
    weights.main(["check", "tiny/tiny_clip", "tiny/tiny_diffusion"])
    with pytest.raises(DataError, match="come with braindec"):
        weights.main(["fetch", "tiny/tiny_clip"])


def test_check_fails_on_weights_that_lack_a_file(empty_root: Path, capsys) -> None:
    (empty_root / "openai" / "vdvae-imagenet64").mkdir(parents=True)
    with pytest.raises(SystemExit) as stop:
        weights.main(["check"])
    assert stop.value.code == 1
    assert "[DAMAGED] openai/vdvae-imagenet64" in capsys.readouterr().out


def test_fetch_needs_a_name_and_a_known_one() -> None:
    with pytest.raises(DataError, match="name the weights"):
        weights.main(["fetch"])
    with pytest.raises(DataError):
        weights.main(["fetch", "nobody/nothing"])
    with pytest.raises(DataError, match="expected one of list, check, fetch"):
        weights.main(["steal"])


def test_doctor_reports_each_known_weight_with_its_fix() -> None:
    findings = {finding.subject: finding for finding in doctor.weights()}
    found = findings["weights openai/vdvae-imagenet64"]
    assert found.found == "missing"
    assert "braindec weights fetch openai/vdvae-imagenet64" in found.fix
