"""doctor says what is there, what is missing and how to mend it."""

from __future__ import annotations

from pathlib import Path

import pytest

from braindec import doctor


def by_subject(findings) -> dict[str, doctor.Finding]:
    return {finding.subject: finding for finding in findings}


def test_a_missing_data_root_comes_with_its_fix(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BRAINDEC_DATA", str(tmp_path))
    finding = by_subject(doctor.data_roots())["data set miyawaki2008"]
    assert finding.level == "note"
    assert str(tmp_path) in finding.found
    assert "dataset.root" in finding.fix
    nsd = by_subject(doctor.data_roots())["data set nsd"]
    for what in ("naturalscenesdataset.org", "form", "GB", "aws s3 cp"):
        assert what in nsd.fix


def test_a_present_data_root_is_found(monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "miyawaki2008_figures").mkdir()
    monkeypatch.setenv("BRAINDEC_DATA", str(tmp_path))
    findings = by_subject(doctor.data_roots())
    assert findings["data set miyawaki2008"].level == "ok"
    assert findings["data set simulated"].level == "ok"


def test_missing_extras_are_named(monkeypatch) -> None:
    monkeypatch.setitem(doctor.EXTRAS, "fmri", ("nibabel", "no_such_module_xyz"))
    finding = by_subject(doctor.extras())["extra fmri"]
    assert "no_such_module_xyz" in finding.found
    assert "braindec[fmri]" in finding.fix


def test_a_missing_torch_is_fatal(monkeypatch, capsys) -> None:
    real = doctor.importlib.util.find_spec
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None if name == "torch" else real(name))
    with pytest.raises(SystemExit) as stop:
        doctor.main([])
    assert stop.value.code == 1
    assert "[BAD ] torch: missing" in capsys.readouterr().out
