"""Pages and pictures of regions: gallery of synthetic patterns, labelled sheets, heat maps over time, loss plots."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from braindec.report.axis_panels import space_panels, time_panels
from braindec.report.brain_maps import standard_places
from braindec.report.clear_of_chance import clear_of_chance
from braindec.report.contact_sheet import labelled_sheet
from braindec.report.over_space import _score_limits, draw_heat_maps
from braindec.report.over_time import draw_over_time
from braindec.report.synthesis import resemblance_tables, summary, write_synthesis
from braindec.types import DataError, Space


@pytest.fixture
def concepts() -> pd.DataFrame:
    rows = [
        {"pattern": p, "subject": s, "fold": "f", "target": "words", "concept": c, "similarity": v + 0.1 * (s == "b"),
         "rank": 1}
        for p, values in (("faces", (0.8, -0.2)), ("V<1>", (0.1, 0.2)))
        for s in ("a", "b")
        for c, v in zip(("face", "house"), values)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "pattern": ["rest", "faces", "faces"],
            "subject": ["a", "a", "b"],
            "item_id": ["a_f_seed-0", "a_f_seed-0", "b_f_seed-1"],
            "image": ["rest/x.png", "faces/x.png", "faces/y.png"],
            "caption": ["nothing", "a <face>", "two faces"],
            "label": ["", "face", "face"],
            "change": [np.nan, 0.1, 0.3],
            "change_eccentricity": [np.nan, 0.5, 0.7],
        }
    )


def test_the_page_is_whole_and_escapes_what_it_shows(tmp_path: Path, concepts: pd.DataFrame, table) -> None:
    grey = np.full((16, 16, 3), 90, np.uint8)
    images = {"rest": [grey], "faces": [grey, grey + 5]}
    path = write_synthesis(
        tmp_path / "p.html", "A <run>", {"rest": 0, "faces": 7.5, "V<1>": 3}, table, images, concepts
    )
    page = path.read_text()
    assert page.count("<img") == 3
    assert page.count('<article class="pattern">') == 2
    assert "a &lt;face&gt;" in page
    assert "V&lt;1&gt;" in page
    assert "<run>" not in page
    assert "change at 0.60" in page


def test_the_largest_of_a_row_is_marked_and_means_are_over_subjects(concepts: pd.DataFrame) -> None:
    (found,) = resemblance_tables(concepts)
    assert [row["name"] for row in found["rows"]] == ["faces", "V<1>"]
    cells = found["rows"][0]["cells"]
    assert [cell["text"] for cell in cells] == ["0.85", "-0.15"]
    assert [cell["best"] for cell in cells] == [True, False]
    assert cells[0]["share"] == 75
    assert cells[1]["hue"] == "warn"


def test_the_summary_reads_what_was_written(tmp_path: Path, concepts: pd.DataFrame, table: pd.DataFrame) -> None:
    concepts.to_csv(tmp_path / "concepts.csv", index=False)
    table.to_csv(tmp_path / "table.csv", index=False)
    rows = summary(tmp_path).set_index("pattern")
    assert rows.loc["faces", "words"] == "face 0.85, house -0.15"
    assert rows.loc["faces", "eccentricity"] == pytest.approx(0.6)
    assert np.isnan(rows.loc["V<1>", "change"])


def test_a_labelled_sheet_shows_tiny_pictures_in_whole_multiples() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
    sheet = np.asarray(labelled_sheet({"one": [picture, picture], "two": [picture]}))
    enlarged = picture.repeat(3, axis=0).repeat(3, axis=1)
    left = sheet.shape[1] - 6 - 2 * (96 + 6)
    np.testing.assert_array_equal(sheet[6:102, left : left + 96], enlarged)
    with pytest.raises(DataError, match="no row"):
        labelled_sheet({})


def heat_rows(direction: str = "higher") -> pd.DataFrame:
    rows = []
    for start in (-0.1, 0.0, 0.1):
        for region, use in (("everything", "alone"), ("back", "alone"), ("back", "without")):
            value = 0.5 + (0.2 if direction == "higher" else -0.2) * (start > 0)
            drop = 0.1 if use == "without" and start > 0 else (0.0 if use == "without" else None)
            rows.append({"region": region, "use": use, "n_positions": 3, "metric": "auc", "start_s": start,
                         "stop_s": start + 0.1, "value": value, "low": value - 0.05, "high": value + 0.05,
                         "chance": 0.5, "direction": direction, "n": 9, "drop": drop,
                         "drop_low": None if drop is None else drop - 0.05,
                         "drop_high": None if drop is None else drop + 0.05,
                         "p_corrected": 0.01 if start > 0 else 0.9,
                         "drop_p_corrected": None if drop is None else (0.01 if drop else 1.0)})  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize("direction", ["higher", "lower"])
def test_heat_maps_are_drawn_for_both_directions(direction: str) -> None:
    picture = Image.open(io.BytesIO(draw_heat_maps(heat_rows(direction))))
    assert picture.width > picture.height > 200


@pytest.mark.parametrize("direction", ["higher", "lower"])
def test_a_mark_needs_a_small_p_value_on_the_better_side(direction: str) -> None:
    rows = heat_rows(direction).query("region == 'everything'")
    assert clear_of_chance(rows).tolist() == [False, False, True]
    worse = rows.assign(value=0.1 if direction == "higher" else 0.9)
    assert not clear_of_chance(worse).any()
    assert not clear_of_chance(rows.assign(chance=None)).any()
    assert not clear_of_chance(rows.assign(p_corrected=0.06)).any()


def test_heat_maps_show_marks() -> None:
    rows = heat_rows()
    unmarked = rows.assign(p_corrected=1.0, drop_p_corrected=1.0)
    assert draw_heat_maps(rows) != draw_heat_maps(unmarked)


def test_curves_mark_windows_after_correction_only() -> None:
    rows = heat_rows().query("region == 'everything'")
    marked, older = (time_panels(table)[0]["svg"] for table in (rows, rows.drop(columns="p_corrected")))
    assert (marked.count("<circle"), older.count("<circle")) == (1, 3)
    assert draw_over_time(rows) != draw_over_time(rows.assign(p_corrected=1.0))


def test_bright_is_better_and_dark_is_chance() -> None:
    score = np.array([[0.5, 0.9], [0.2, np.nan]])
    assert _score_limits(score, 0.5, True) == {"cmap": "inferno", "vmin": 0.5, "vmax": 0.9}
    assert _score_limits(score, 0.5, False) == {"cmap": "inferno_r", "vmin": 0.2, "vmax": 0.5}
    below = _score_limits(np.array([[0.3, 0.4]]), 0.5, True)
    assert below["vmin"] == 0.5 < below["vmax"]
    equal = _score_limits(np.array([[0.5]]), 0.5, True)
    assert equal["vmin"] < equal["vmax"]


def test_losses_get_a_plot_of_their_own_and_older_tables_none() -> None:
    rows = heat_rows().query("start_s == 0.1").drop(columns=["start_s", "stop_s"])
    titles = [panel["title"] for panel in space_panels(rows)]
    assert titles == ["AUC, each region alone", "AUC, everything without it", "AUC, lost without it"]
    assert len(space_panels(rows.drop(columns=["drop", "drop_low", "drop_high"]))) == 2


def test_electrodes_without_places_lie_where_the_10_05_system_has_their_names() -> None:
    places = standard_places(Space("channels", 4, names=("Fz", "OZ", "tp9", "TP10")))
    assert places is not None
    assert places[0, 1] > 0 > places[1, 1]
    assert places[2, 0] < 0 < places[3, 0]
    assert standard_places(Space("channels", 2, names=("Fz", "MLC11"))) is None
    assert standard_places(Space("voxels", 2)) is None
