"""The code of docs/tutorial_neurovl.md, run as a reader would run it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from braindec.artifacts import RunFolder, read_json
from braindec.run_tables import answers_of, read_reconstructions

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial_neurovl.md"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("tutorial")
    names: dict[str, object] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S):
            exec(compile(code, PAGE.name, "exec"), names)
    return RunFolder.open(folder / "outputs" / "neurovl")


def test_questions_are_answered_from_the_brain(run: RunFolder) -> None:
    scores = read_json(run.path / "scores.json")
    for name in ("answer_accuracy_object", "answer_accuracy_place", "answer_accuracy_lighting"):
        for control in ("shuffled_brain", "noise_input", "mean_training_stimulus"):
            assert scores["metrics"][name]["ci95"][0] > scores["controls"][control][name]["value"], (name, control)
    path = run.reconstructions("decoded") / "table.csv"
    answers = answers_of(read_reconstructions(path), path)
    assert {len(own) for own in answers} == {5}
    assert "what is the light?" in (run.path / "report.html").read_text(encoding="utf-8")


def test_the_mapper_is_kept_and_words_have_maps(run: RunFolder) -> None:
    assert len(list((run.path / "stages" / "published").glob("prefix_mapper_*/state.json"))) == 1
    for subject in ("sim01", "sim02"):
        gradient = np.load(run.path / "maps" / f"{subject}_words_gradient__of__night.npy")
        everywhere = np.load(run.path / "maps" / f"{subject}_words_word__night_all.npy")
        assert gradient.shape == everywhere.shape
        assert np.abs(gradient).max() > 0
