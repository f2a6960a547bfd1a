"""Seeded 50-step loss curves of every recipe at toy size; ``python -m tests.golden.test_recipes`` writes them anew."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest

from tests.golden.recipes import N_UPDATES, TOY, loss_curve

CURVES = Path(__file__).parent / "loss_curves.json"


@pytest.mark.parametrize("recipe", sorted(TOY))
def test_the_loss_curve_of_a_recipe_is_what_it_was(recipe: str, tmp_path: Path) -> None:
    found = loss_curve(recipe, tmp_path)
    assert len(found) == N_UPDATES
    np.testing.assert_allclose(found, json.loads(CURVES.read_text())[recipe], rtol=1e-4)


@pytest.mark.parametrize("recipe", sorted(TOY))
def test_on_one_machine_the_curve_is_the_same_to_the_bit(recipe: str, tmp_path: Path) -> None:
    first, second = (loss_curve(recipe, tmp_path / name, epochs=2) for name in ("first", "second"))
    assert first == second


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        curves = {recipe: loss_curve(recipe, Path(folder) / recipe) for recipe in sorted(TOY)}
    lines = [f' "{name}": [{", ".join(f"{value:.9g}" for value in curve)}]' for name, curve in curves.items()]
    CURVES.write_text("{\n" + ",\n".join(lines) + "\n}\n")
