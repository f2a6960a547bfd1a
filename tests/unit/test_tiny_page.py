"""The page on the tiny family and its model card say what was measured, and its pictures are there."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "tiny_family.md").read_text(encoding="utf-8")
FIGURES = json.loads((ROOT / "data" / "tiny" / "figures.json").read_text(encoding="utf-8"))
CARD = (ROOT / "data" / "tiny" / "README.md").read_text(encoding="utf-8")


def test_figures_of_the_page_are_those_measured_and_reach_what_was_asked() -> None:
    rows = re.findall(r"^\| .* \| ([\d.-]+) \| ([\d.]+) \| `(\w+)\.(\w+)` \|$", PAGE, re.MULTILINE)
    assert len(rows) >= 12
    for asked, measured, network, figure in rows:
        decimals = len(measured.split(".")[1])
        assert round(FIGURES[network][figure], decimals) == float(measured), figure
        if asked != "-":
            assert FIGURES[network][figure] >= float(asked), figure


def test_pictures_are_small_and_there() -> None:
    named = [ROOT / "docs" / path for path in re.findall(r"\]\((images/[^)]+)\)", PAGE)]
    assert len(named) == 5
    assert sum(path.stat().st_size for path in named) < 300_000


def test_card_names_data_figures_and_limits_of_every_network() -> None:
    folders = {path.name for path in (ROOT / "data" / "tiny").glob("tiny_*")}
    assert folders == set(re.findall(r"^\| `(tiny_\w+)` \|", CARD, re.MULTILINE))
    for heading in ("## Data", "## Networks and figures", "## Limits"):
        assert heading in CARD
    parameters = [int(n.replace(",", "")) for n in re.findall(r"\| ([\d,]{7,}) \|", CARD)]
    assert sorted(parameters) == sorted(own["parameters"] for own in FIGURES.values())
