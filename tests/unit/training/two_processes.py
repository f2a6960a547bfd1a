"""Fits toy recipes in one of several processes; the test starts it. Argument: folder."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from braindec.contracts import FitContext
from tests.golden.recipes import OF_TIME, toy_data, toy_decoder

RECIPES = ("mindbridge", "ubp")


def fit_without_dropout(recipe: str, folder: Path) -> None:
    """Dropout differs between processes, so it is switched off."""
    decoder = toy_decoder(recipe, epochs=4)
    parts = decoder.parts
    for part in (parts.adapter, parts.encoder) if recipe == "mindbridge" else (parts.heads["default"],):
        part.keywords["dropout"] = 0.0
    decoder.fit(toy_data(recipe in OF_TIME), FitContext(0, "cpu", folder))


if __name__ == "__main__":
    for name in RECIPES:
        fit_without_dropout(name, Path(sys.argv[1]) / name)
    torch.distributed.destroy_process_group()
