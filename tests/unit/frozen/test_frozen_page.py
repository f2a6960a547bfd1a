"""The page on frozen networks names every configuration, and sizes and licences as the table of weights has them."""

from __future__ import annotations

import re
from pathlib import Path

from braindec.frozen.weights import known_weights
from braindec.locations import configs_folder

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "frozen.md").read_text(encoding="utf-8")


def test_every_configuration_is_on_the_page() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE))
    missing = {path.stem for path in (configs_folder() / "frozen").glob("*.yaml")} - named
    assert missing == set()


def test_sizes_and_licences_are_those_of_the_table() -> None:
    rows = re.findall(r"\| ([\w.-]+/[\w.-]+) \| ([\d.]+) \| ([^|]+?) \|$", PAGE, re.MULTILINE)
    assert len(rows) > 15
    for identifier, size_gb, licence in rows:
        known = known_weights()[identifier]
        assert abs(known.size_gb - float(size_gb)) < 0.01, identifier
        assert known.licence == licence, identifier
