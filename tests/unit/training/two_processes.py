"""Fits toy recipes in one of several processes; the test starts it. Argument: folder."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from braindec.contracts import FitContext
from tests.golden.recipes import OF_TIME, toy_data, toy_decoder

RECIPES = ("mindbridge", "ubp", "sttm", "mindeye2", "vit3d", "whole_brain")
"""Recipes without batch norm, which sees its own process's trials."""


def fit_without_chance(recipe: str, folder: Path) -> None:
    """Random numbers differ between processes: dropout, shuffling, mixing and the noise of priors are switched off."""
    decoder = toy_decoder(recipe, epochs=4, mix=None)
    decoder.parts, decoder.predicts = replace(decoder.parts, priors=None), "value"
    decoder.objectives = {name: term for name, term in decoder.objectives.items() if name != "prior"}
    engine = decoder.prepare(toy_data(recipe in OF_TIME), FitContext(0, "cpu", folder))
    for part in engine.module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        for name in ("dropout", "attention_dropout", "shuffle"):
            if isinstance(getattr(part, name, None), float | bool):
                setattr(part, name, 0.0)
    engine.run()


if __name__ == "__main__":
    for name in RECIPES:
        fit_without_chance(name, Path(sys.argv[1]) / name)
    torch.distributed.destroy_process_group()
