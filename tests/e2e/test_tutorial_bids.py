"""The code of docs/tutorial_bids.md, run as a reader would run it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial_bids.md"


def test_the_tutorial_decodes_haxby_from_a_bids_folder(real_data, tmp_path, monkeypatch, capsys) -> None:
    pytest.importorskip("nibabel")
    monkeypatch.setenv("BRAINDEC_DATA", str(real_data("haxby2001").resolve().parent))
    monkeypatch.chdir(tmp_path)
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S):
        exec(compile(code, PAGE.name, "exec"), {})
    assert float(re.search(r"accuracy ([\d.]+)", capsys.readouterr().out)[1]) >= 0.80
