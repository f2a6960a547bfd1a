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
