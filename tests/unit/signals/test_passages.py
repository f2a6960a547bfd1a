from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braindec.signals.passages import SegmentPlan, plan_segments
from braindec.signals.unit_split import by_hashed_unit, unit_number
from braindec.types import DataError

PLAN = SegmentPlan(passage_s=8.0)


def transcript(n_sentences: int, sound: str = "a", n_words: int = 6, step_s: float = 0.4) -> pd.DataFrame:
    rows = []
    for sentence in range(n_sentences):
        for word in range(n_words):
            onset = 1.0 + (sentence * n_words + word) * step_s
            rows.append((sound, onset, 0.3, f"{sound}w{sentence}x{word}", sentence))
    return pd.DataFrame(rows, columns=["sound", "onset_s", "duration_s", "word", "sentence"])


def length(words: pd.DataFrame) -> dict[str, float]:
    ends = (words["onset_s"] + words["duration_s"]).groupby(words["sound"]).max()
    return {str(sound): float(end) + 1.0 for sound, end in ends.items()}


@settings(max_examples=25, deadline=None)
@given(n_sentences=st.integers(6, 40), passage_s=st.floats(3.5, 30), offset_s=st.floats(0, 0.5))
def test_windows_of_sound_and_recording_lie_within_the_passage(
    n_sentences: int, passage_s: float, offset_s: float
) -> None:
    words = transcript(n_sentences)
    plan = SegmentPlan(offset_s=offset_s, passage_s=passage_s)
    segments = plan_segments(words, length(words), plan)
    assert (segments["onset_s"] - 0.5 >= segments["passage_start_s"] - 1e-6).all()
    assert (segments["onset_s"] + 2.5 + offset_s <= segments["passage_stop_s"] + 1e-6).all()
    bounds = segments.drop_duplicates("passage")[["passage_start_s", "passage_stop_s"]].to_numpy()
    assert (bounds[1:, 0] >= bounds[:-1, 1] - 1e-9).all(), "passages overlap"
    assert segments.groupby("sentence")["passage"].nunique().max() == 1, "a sentence is divided"


def test_segments_of_different_units_share_neither_sound_nor_recording() -> None:
    words = transcript(40)
    segments = plan_segments(words, length(words), PLAN)
    fold = by_hashed_unit(segments.assign(split="train"), 0.3, 0.2)[0]
    parts = [segments.iloc[rows] for rows in (fold.train, fold.validation, fold.test)]
    for one in range(3):
        for other in range(one):
            gaps = np.abs(parts[one]["onset_s"].to_numpy()[:, None] - parts[other]["onset_s"].to_numpy()[None])
            assert gaps.min() >= 3.0 - 1e-9
            assert not set(parts[one]["sentence"]) & set(parts[other]["sentence"])


def test_passages_with_a_sentence_in_common_are_one_unit() -> None:
    words = pd.concat([transcript(12, "a"), transcript(12, "b")], ignore_index=True)
    apart = plan_segments(words, length(words), PLAN)
    assert apart["unit"].nunique() == apart["passage"].nunique()
    first = words["sound"].eq("a") & words["sentence"].eq(0)
    last = words["sound"].eq("b") & words["sentence"].eq(5)
    words.loc[last, "word"] = [w.upper() + "," for w in words.loc[first, "word"]]
    tied = plan_segments(words, length(words), PLAN)
    a, b = (tied[tied["sound"] == s] for s in "ab")
    middle = b[b["sentence"].eq(a["sentence"].iloc[0])].iloc[0]
    assert a["unit"].iloc[0] == middle["unit"]
    assert a["passage"].iloc[0] != middle["passage"]
    assert b["unit"].nunique() > 1


def test_short_sentences_tie_nothing() -> None:
    words = pd.concat([transcript(20, "a", 2), transcript(20, "b", 2)], ignore_index=True)
    words["word"] = ["yes", "indeed"] * 40
    segments = plan_segments(words, length(words), PLAN)
    assert segments["unit"].nunique() == segments["passage"].nunique()


def test_text_holds_the_words_that_begin_within_the_window() -> None:
    segments = plan_segments(transcript(10), length(transcript(10)), PLAN)
    row = segments.iloc[5]
    words = transcript(10)
    inside = words[(words["onset_s"] >= row["onset_s"] - 0.5) & (words["onset_s"] < row["onset_s"] + 2.5)]
    assert row["text"].split() == inside["word"].tolist()


def test_segments_can_be_kept_apart() -> None:
    words = transcript(30)
    whole = plan_segments(words, length(words), PLAN)
    apart = plan_segments(words, length(words), SegmentPlan(passage_s=8.0, least_gap_s=3.0))
    assert (np.diff(apart["onset_s"]) >= 3.0 - 1e-9).all()
    assert set(apart["stimulus_id"]) < set(whole["stimulus_id"])
    assert apart["onset_s"].iloc[0] == whole["onset_s"].iloc[0]


def test_plan_and_split_are_the_same_in_another_process() -> None:
    words = transcript(30)
    segments = plan_segments(words, length(words), PLAN).assign(split="train")
    here = [segments["stimulus_id"].iloc[part].tolist() for part in _parts(segments)]
    code = (
        "import sys, json; sys.path[:0] = json.loads(sys.argv[1]);"
        "from tests.unit.signals.test_passages import PLAN, _parts, length, plan_segments, transcript;"
        "s = plan_segments(transcript(30), length(transcript(30)), PLAN).assign(split='train');"
        "print([s['stimulus_id'].iloc[p].tolist() for p in _parts(s)])"
    )
    import json
    import os

    found = subprocess.run(
        [sys.executable, "-c", code, json.dumps([p for p in [os.getcwd(), *sys.path] if p])],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": "7"},
    )  # fmt: skip
    assert found.stdout.strip() == str(here)


def _parts(segments: pd.DataFrame) -> list[np.ndarray]:
    fold = by_hashed_unit(segments, 0.3, 0.2)[0]
    return [fold.train, fold.validation, fold.test]


def test_a_unit_s_part_does_not_depend_on_the_others() -> None:
    table = pd.DataFrame({"unit": [f"u{i}" for i in range(200)], "split": "train"})
    whole = by_hashed_unit(table, 0.3, 0.2)[0]
    few = table.iloc[::3].reset_index(drop=True)
    some = by_hashed_unit(few, 0.3, 0.2)[0]
    assert set(few["unit"].iloc[some.test]) == set(table["unit"].iloc[whole.test]) & set(few["unit"])
    assert 0.2 < len(whole.test) / 200 < 0.4
    assert unit_number("u1", "a") != unit_number("u1", "b")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.assign(onset_s=w["onset_s"] * 1000), "outside its"),
        (lambda w: w.iloc[::-1], "increasing"),
        (lambda w: w.drop(columns="word"), "columns"),
        (lambda w: w.assign(onset_s=np.nan), "finite"),
        (lambda w: w.assign(sound="unknown"), "not among"),
    ],
)
def test_bad_transcripts(change, message: str) -> None:
    words = transcript(8)
    with pytest.raises(DataError, match=message):
        plan_segments(change(words), length(words), PLAN)


def test_bad_plans_and_splits() -> None:
    with pytest.raises(DataError, match="passages no shorter"):
        SegmentPlan(passage_s=1.0)
    with pytest.raises(DataError, match="no trial in"):
        by_hashed_unit(pd.DataFrame({"unit": ["u"], "split": "train"}), 0.5)
    with pytest.raises(DataError, match="no column"):
        by_hashed_unit(pd.DataFrame({"split": ["train"]}), 0.5)
