from __future__ import annotations

import pandas as pd

from braindec.report.tables import scores_frame, to_latex, to_markdown, write_csv

SCORES = {
    "schema_version": 1,
    "metrics": {
        "top_1": {
            "value": 0.25,
            "ci95": [0.2, 0.3],
            "n": 200,
            "chance": 0.005,
            "direction": "higher",
            "ceiling": None,
            "flags": ["a|b", "50%"],
            "gallery_size": 200,
            "n_undefined": 0,
            "per_subject": {"S1": {"value": 0.3, "ci95": [0.2, 0.4], "n": 100}, "S2": 0.2},
        },
        "distance": {"value": 1.5, "ci95": [1.4, 1.6], "n": 200, "direction": "lower"},
    },
    "controls": {"noise_input": {"top_1": {"value": 0.006, "ci95": None}}, "50%_mix|up": {}},
    "verdicts": {},
}


def test_frame_holds_every_source_and_subject():
    frame = scores_frame(SCORES).set_index(["metric", "source", "subject"])
    assert len(frame) == 5
    assert frame.loc[("top_1", "decoded", "all"), "ci95_high"] == 0.3
    assert frame.loc[("top_1", "decoded", "S2"), "value"] == 0.2
    assert frame.loc[("top_1", "noise_input", "all"), "value"] == 0.006
    assert frame.loc[("top_1", "noise_input", "all"), "chance"] == 0.005


def test_csv_reads_back(tmp_path):
    path = write_csv(tmp_path / "scores.csv", SCORES)
    back = pd.read_csv(path)
    assert back["value"].tolist() == scores_frame(SCORES)["value"].tolist()
    assert back["flags"][0] == "a|b; 50%"


def test_markdown_has_equal_cells_and_escapes_bars():
    lines = to_markdown(SCORES).splitlines()
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert "50% mix\\|up" in lines[0]
    assert "| top 1 ↑ | 0.250 [0.200, 0.300] | 0.005 | 200 | 0.006 | – |" in lines


def test_latex_escapes_what_latex_reads():
    text = to_latex(SCORES)
    assert r"50\% mix|up" in text
    assert r"top 1 $\uparrow$ & 0.250 [0.200, 0.300] & 0.005 & 200 & 0.006 & -- \\" in text
    assert text.startswith(r"\begin{tabular}{lrrrrr}")
