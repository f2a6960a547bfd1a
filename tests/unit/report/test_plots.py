from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braindec.report.plots import Row, Trajectory, curves, difference_bar, distribution, forest, nice_ticks, trajectory

SVG = "{http://www.w3.org/2000/svg}"


@settings(max_examples=60, deadline=None)
@given(st.floats(-1e4, 1e4), st.floats(1e-4, 1e4))
def test_ticks_are_inside_ordered_and_few(low: float, span: float):
    ticks = nice_ticks(low, low + span)
    slack = 1e-6 * span
    assert 1 <= len(ticks) <= 9
    assert ticks == sorted(set(ticks))
    assert ticks[0] >= low - slack
    assert ticks[-1] <= low + span + slack


def rows() -> list[Row]:
    values = np.random.default_rng(0).normal(0.6, 0.1, 200)
    return [
        Row("decoded", 0.6, (0.55, 0.65), "own", values),
        Row("<noise>", 0.5, (0.45, 0.54), "above", values - 0.1),
        Row("mean", 0.61, None, "below", np.full(200, 0.61)),
        Row("absent", None, None, "unknown", np.full(200, np.nan)),
    ]


def marks(svg: str, css: str) -> list[ElementTree.Element]:
    return [node for node in ElementTree.fromstring(svg).iter() if css in node.get("class", "").split()]


def test_forest_places_values_in_order_and_marks_unbeaten_controls():
    svg = forest("two & way", rows(), chance=0.5, ceiling=0.9)
    own = float(marks(svg, "mark")[0].get("cx", "nan"))
    control = float(marks(svg, "mark")[1].get("cx", "nan"))
    chance = float(marks(svg, "chance")[0].get("x1", "nan"))
    assert own > control
    assert control == pytest.approx(chance, abs=0.11)
    assert len(marks(svg, "below")) == 1
    assert len(marks(svg, "mark")) == 3, "a source without a value has no mark"
    band = marks(svg, "band")[0]
    left, width = float(band.get("x", "nan")), float(band.get("width", "nan"))
    assert left + width / 2 == pytest.approx(own, abs=0.2)


def test_plots_say_in_words_what_they_show():
    label = ElementTree.fromstring(forest("two & way", rows(), 0.5, None)).get("aria-label", "")
    assert label.startswith("two & way: decoded 0.600, 95% interval 0.550 to 0.650; <noise> 0.500")


def test_histogram_area_counts_every_item():
    svg = distribution("m", rows()[:1], None, n_bins=8)
    path = marks(svg, "hist")[0].get("d", "")
    heights = [float(v) for v in re.findall(r"V([\d.]+)H", path)]
    base = float(re.findall(r" ([\d.]+)V", path)[0])
    values = rows()[0].values
    assert values is not None
    low, high = np.quantile(values, [0.002, 0.998])
    counts, _ = np.histogram(np.clip(values, low, high), np.linspace(low, high, 9))
    np.testing.assert_allclose(base - np.array(heights), 23 * counts / counts.max(), atol=0.11)


def test_constant_or_missing_values_still_draw():
    constant = [Row("decoded", 1.0, (1.0, 1.0), "own", np.ones(5))]
    for svg in (forest("m", constant, None, None), distribution("m", constant, None), distribution("m", [], None)):
        assert "nan" not in svg
        ElementTree.fromstring(svg)
    assert "nan" not in difference_bar(0.0, (0.0, 0.0))


def test_curves_skip_undefined_points():
    svg = curves("loss", "epoch", {"<a>": (np.arange(4.0), np.array([4.0, np.nan, 2.0, 1.0]))})
    points = marks(svg, "curve")[0].get("points", "").split()
    assert len(points) == 3
    heights = [float(p.split(",")[1]) for p in points]
    assert heights == sorted(heights), "a falling loss falls on the page"


def test_a_trajectory_draws_line_band_chance_and_onset_where_they_are() -> None:
    x = np.array([-100.0, 0.0, 100.0, 200.0])
    line = Trajectory(x, np.array([0.2, 0.2, 0.6, 0.4]), np.full(4, 0.1), np.full(4, 0.7), 0.2)
    root = ElementTree.fromstring(trajectory("accuracy", "ms", line, onset=0.0))
    (curve,) = [e for e in root if e.tag.endswith("polyline")]
    points = np.array([point.split(",") for point in curve.get("points", "").split()], dtype=float)
    assert points[0, 0] == 52.0
    assert np.ptp(np.diff(points[:, 0])) < 0.2
    assert points[2, 1] < points[3, 1] < points[0, 1], "higher scores are drawn higher"
    (chance,) = [e for e in root if e.get("class") == "chance"]
    assert float(chance.get("y1", "0")) == pytest.approx(points[0, 1], abs=0.11)
    assert any(e.get("x1") == e.get("x2") == f"{points[1, 0]:.1f}" for e in root if e.get("class") == "axis")
    assert sum(e.get("class") == "band" for e in root) == 1
    assert "highest 0.600 at 100" in root.get("aria-label", "")


def test_repetitions_are_spaced_by_doubling_and_gaps_in_intervals_are_left_out() -> None:
    line = Trajectory(np.array([1.0, 2.0, 4.0, 80.0]), np.arange(4.0), np.full(4, np.nan), np.full(4, np.nan), None)
    root = ElementTree.fromstring(trajectory("top-1", "repetitions", line, doubling=True))
    marks = [float(e.get("cx", "0")) for e in root if e.tag.endswith("circle")]
    assert marks[1] - marks[0] == pytest.approx(marks[2] - marks[1], abs=0.2)
    assert [e.text for e in root if e.get("class") == "tick" and e.get("text-anchor") == "middle"][:4] == [
        "1", "2", "4", "80",
    ]  # fmt: skip
    assert not any(e.get("class") in ("band", "chance") for e in root)
