from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from braindec.report import rendering
from braindec.report.axis_panels import training_panels
from braindec.report.compare import write_comparison
from braindec.report.content import ReportContent
from braindec.report.gallery import gallery_data, overview
from braindec.report.methods import flatten, methods, provenance
from braindec.report.page import report_material, write_report
from braindec.report.rendering import PAGE_BYTES
from braindec.types import DataError

VOID = {"meta", "link", "img", "input", "br", "hr"}
SVG_EMPTY = {"line", "circle", "path", "rect", "polyline"}


class Page(HTMLParser):
    """Checks that tags nest and close, ids are unique, and collects addresses and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.words: list[str] = []
        self.without_alt = 0
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [found["id"] or ""] if "id" in found else []
        self.addresses += [found[key] or "" for key in ("src", "href", "action", "srcset") if key in found]
        self.handlers += [key for key in found if key.startswith("on")]
        self.without_alt += tag == "img" and not found.get("alt")
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SVG_EMPTY, f"<{tag}/> does not close itself in HTML"

    def handle_endtag(self, tag: str) -> None:
        assert self.stack, f"</{tag}> closes nothing"
        assert self.stack.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if self.stack[-1:] not in (["script"], ["style"]):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


def read(path: Path) -> tuple[str, Page]:
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


def gallery_json(text: str) -> dict:
    found = re.search(r'<script type="application/json" id="gallery-data">(.*?)</script>', text, re.S)
    assert found
    return json.loads(found.group(1))


@pytest.fixture(scope="module")
def pages(content: ReportContent, make_content: Callable[..., ReportContent], tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    other = make_content(seed=3, title="Second run")
    paired = pd.DataFrame(
        {
            "metric": ["ssim", "efficientnet_distance"],
            "difference": [0.02, -0.05],
            "ci95": [(-0.01, 0.05), (-0.08, -0.02)],
            "p_permutation": [0.2, 0.0001],
            "p_holm": [0.2, 0.0002],
        }
    )
    return {
        "report": write_report(folder / "report.html", content),
        "compare": write_comparison(folder / "compare.html", [replace(content, title="First run"), other], paired),
    }


@pytest.mark.parametrize("name", ["report", "compare"])
def test_pages_are_valid_and_load_nothing(pages: dict[str, Path], name: str):
    text, page = read(pages[name])
    assert len(page.ids) == len(set(page.ids))
    assert page.handlers == []
    assert page.without_alt == 0
    assert [a for a in page.addresses if not a.startswith(("#", "data:"))] == []
    assert set(page.addresses) >= {"#verdict", "#gallery"}
    assert all(a[1:] in page.ids for a in page.addresses if a.startswith("#"))
    assert not re.search(r"https?://|url\(|@import", text)


def test_report_says_what_was_found(pages: dict[str, Path], content: ReportContent):
    _, page = read(pages["report"])
    assert "On no metric does decoding beat every control." in page.text
    assert "Not clearly beaten: nearest training stimulus (on 4 of 4)." in page.text
    assert content.warnings[0] in page.text
    assert "Hyper-parameters were selected on validation trials." in page.text
    assert "_target_: braindec.models.ridge.RidgeDecoder" in page.text
    assert f"{content.scores['metrics']['ssim']['per_subject']['subj02']['value']:.3f}" in page.text


def test_only_the_finished_file_is_left(pages: dict[str, Path]):
    assert sorted(p.name for p in pages["report"].parent.iterdir()) == ["compare.html", "report.html"]


def test_hostile_text_stays_text(content: ReportContent, tmp_path: Path):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    item = content.items["item_id"].iloc[0]
    content = replace(content, control_images={}, truth_images={})
    hostile = replace(
        content,
        title=evil,
        warnings=[evil],
        config_yaml=f"name: '{evil}'",
        truth_captions=dict.fromkeys(content.truth_captions, evil),
        decoded_captions={item: evil},
        decoded_labels={item: evil},
        manifest={"git_revision": evil},
        fit_report={evil: evil},
    )
    text, page = read(write_report(tmp_path / "report.html", hostile))
    clean = write_report(tmp_path / "clean.html", content).read_text(encoding="utf-8")
    assert text.count("<script") == clean.count("<script")
    assert "<img src=x" not in text
    assert page.handlers == []
    assert gallery_json(text)["items"][0]["captions"][0] == evil


def test_gallery_carries_every_item_once_and_values_as_given(pages: dict[str, Path], content: ReportContent):
    data = gallery_json(pages["report"].read_text(encoding="utf-8"))
    assert [i["id"] for i in data["items"]] == content.item_table()["item_id"].tolist()
    assert len(data["images"]) == 40 + 80 + 3 * 80
    assert sorted(i["rank"] for i in data["items"]) == list(range(80))
    values = content.item_values("noise_input")
    item = data["items"][17]
    column = [m["name"] for m in data["metrics"]].index("ssim")
    series = [s["label"] for s in data["series"]].index("noise input")
    assert item["values"][series][column] == pytest.approx(values.loc[item["id"], "ssim"], rel=1e-4)


def test_pictures_keep_to_their_budget(make_content: Callable[..., ReportContent]):
    content = replace(make_content(n_items=16, side=160, subjects=("S1",)), control_images={})
    material = report_material(content)
    assert material is not None
    wide = gallery_data(material, 10_000_000)
    tight = gallery_data(material, 60_000)
    assert max(i[1] for i in wide["images"]) == 160
    assert len(tight["images"]) == len(wide["images"])
    assert sum(len(i[0]) for i in tight["images"]) <= 60_000


def test_page_weight_is_bounded(make_content: Callable[..., ReportContent], tmp_path: Path, monkeypatch):
    monkeypatch.setattr(rendering, "PAGE_BYTES", 400_000)
    content = replace(make_content(n_items=30, side=128, subjects=("S1",)), control_images={})
    path = write_report(tmp_path / "r.html", content)
    assert path.stat().st_size <= 400_000 < PAGE_BYTES < 15_000_000


def test_control_pictures_of_large_runs_are_those_of_the_overview(make_content: Callable[..., ReportContent]):
    content = make_content(n_items=210, side=8, subjects=("S1",))
    material = report_material(content)
    assert material is not None
    data = gallery_data(material, 5_000_000)
    shown = {int(row) for rows in overview(material).values() for row in rows}
    with_controls = {row for row, item in enumerate(data["items"]) if item["pictures"][1] is not None}
    assert with_controls == shown
    assert not data["allControls"]


def test_runs_without_pictures_controls_or_items_are_reported(content: ReportContent, tmp_path: Path):
    words_only = replace(content, truth_images={}, decoded_images={}, control_images={}, training_curves=None)
    assert gallery_json(read(write_report(tmp_path / "words.html", words_only))[0])["images"] == []
    alone = {**content.scores, "controls": {}}
    _, page = read(write_report(tmp_path / "alone.html", replace(content, scores=alone)))
    assert "No control was run" in page.text
    empty = replace(content, items=content.items.iloc[:0], manifest={}, config_yaml="", fit_report={})
    _, page = read(write_report(tmp_path / "empty.html", empty))
    assert "gallery" not in page.ids
    assert "recorded no provenance" in page.text


def test_missing_scores_are_dashes_not_numbers(content: ReportContent, tmp_path: Path):
    metrics = {**content.scores["metrics"]}
    metrics["ssim"] = {"value": float("nan"), "ci95": [None, None], "direction": "higher", "n": 0}
    changed = replace(content, scores={**content.scores, "metrics": metrics}, control_images={}, decoded_images={})
    text, _ = read(write_report(tmp_path / "r.html", changed))
    assert not re.search(r">[^<]*\bnan\b", text.split("gallery-data")[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": {"schema_version": 2, "metrics": {}}}, "expected schema_version 1, found 2"),
        ({"scores": {"schema_version": 1, "metrics": {}}}, "at least one entry"),
        ({"scores": {"schema_version": 1, "metrics": {"a": {"value": 1}}}}, "metrics.a"),
        ({"items": pd.DataFrame({"item_id": []})}, "missing"),
        ({"gallery_metric": "beauty"}, "'beauty' is not a metric"),
        ({"truth_images": {"s": np.zeros((4, 4, 3))}}, r"truth_images\['s'\].*float64"),
    ],
)
def test_bad_content_is_refused_in_one_sentence(content: ReportContent, change: dict, message: str):
    with pytest.raises(DataError, match=message):
        replace(content, **change)


def test_repeated_values_are_refused(content: ReportContent):
    with pytest.raises(DataError, match="1 rows repeat"):
        replace(content, items=pd.concat([content.items, content.items.iloc[:1]]))


def test_training_curves_need_an_axis():
    with pytest.raises(DataError, match="'epoch' or 'step'"):
        training_panels(pd.DataFrame({"loss": [1.0]}))
    panels = training_panels(pd.DataFrame({"step": [1, 2], "fold": [0, 1], "loss": [1.0, 2.0]}))
    assert [p["title"] for p in panels] == ["loss"]
    assert panels[0]["legend"] == ["0", "1"]


def test_methods_claim_only_what_is_recorded():
    bare = " ".join(methods({}, "", [], 3, []))
    assert bare == "3 test items were scored; intervals are 95% bootstrap intervals."
    manifest = {
        "flags": ["transductive"],
        "config": {"transforms": {"w": {"_target_": "a.signals.MVNN", "shrink": 0.1}}},
    }
    text = " ".join(methods(manifest, "", ["S1"], 3, ["noise_input"]))
    assert "Signals were transformed, in this order: MVNN (shrink: 0.1)." in text
    assert "training trials" not in text


def test_provenance_lists_everything_but_the_configuration():
    rows = dict(provenance({"git_revision": "abc", "config": {"a": 1}, "odd_key": {"x": [1, 2]}, "flags": []}))
    assert rows == {"Code revision": "abc", "Odd key": "x 1, 2", "Flags": "none"}


def test_fit_report_is_flattened():
    rows = dict(flatten({"a": {"b_c": 0.123456}, "alphas": list(range(20)), "note": "x"}))
    assert rows == {"a › b c": "0.1235", "alphas": "20 values from 0 to 19", "note": "x"}


def test_comparison_words_each_difference(pages: dict[str, Path]):
    _, page = read(pages["compare"])
    assert "The runs differ clearly on 1 of 2 comparisons." in page.text
    assert "no clear difference" in page.text
    assert "Second run is better" in page.text, "a lower distance is better"
    assert "First run: Only two subjects were scored" in page.text


def test_comparison_matches_items_by_stimulus_and_reports_the_rest(content: ReportContent, tmp_path: Path):
    renamed = {i: f"other-{i}" for i in content.items["item_id"].unique()}
    fewer = content.items[content.items["stimulus_id"] != "s000"]
    second = replace(
        content,
        title="Second",
        items=fewer.assign(item_id=fewer["item_id"].map(renamed)),
        decoded_images={renamed[k]: v for k, v in content.decoded_images.items()},
        manifest={**content.manifest, "split_hash": "different"},
    )
    text, page = read(
        write_comparison(
            tmp_path / "c.html",
            [content, second],
            pd.DataFrame(columns=["metric", "difference", "ci95", "p_permutation", "p_holm"]),
        )
    )
    data = gallery_json(text)
    assert len(data["items"]) == 78
    assert all(item["pictures"][0] is not None and item["pictures"][1] is not None for item in data["items"])
    assert all(item["values"][0] == item["values"][1] for item in data["items"])
    assert "78 items are in every run, 2 are not" in page.text
    assert "The runs differ in split hash" in page.text


def test_comparison_refuses_what_cannot_be_compared(content: ReportContent, tmp_path: Path):
    paired = pd.DataFrame({"metric": ["ssim"]})
    with pytest.raises(DataError, match="distinct titles"):
        write_comparison(tmp_path / "c.html", [content, content], paired)
    other = replace(content, title="other")
    with pytest.raises(DataError, match=r"missing \['difference'"):
        write_comparison(tmp_path / "c.html", [content, other], paired)
    elsewhere = replace(other, items=content.items.assign(stimulus_id="x"))
    with pytest.raises(DataError, match="no item"):
        write_comparison(tmp_path / "c.html", [content, elsewhere], paired)
    assert not (tmp_path / "c.html").exists()


def test_curves_over_time_space_and_repetitions_have_their_place(content: ReportContent, tmp_path: Path) -> None:
    numbers = {"metric": "top_1", "value": 0.4, "low": 0.3, "high": 0.5, "chance": 0.25}
    time = pd.DataFrame([{"start_s": s, "stop_s": s + 0.1, **numbers} for s in (-0.1, 0.0, 0.1)])
    regions = [("everything", "alone"), ("V1", "alone"), ("V1", "without")]
    space = pd.DataFrame([{"region": r, "use": use, "n_positions": 12.0, **numbers} for r, use in regions])
    curve = pd.DataFrame([{"n_repetitions": n, **numbers, "low": None} for n in (1, 2, 4)])
    shown = replace(content, over_time=time, over_space=space, repetition_curve=curve)
    page = write_report(tmp_path / "a.html", shown).read_text()
    for said in (
        'href="#where"',
        "Over time",
        "Top 1, each region alone",
        "everything without it",
        "V1 (12)",
        "Repetitions",
    ):
        assert said in page
    assert 'id="where"' not in write_report(tmp_path / "b.html", content).read_text()


def test_the_share_of_the_ceiling_is_read_beside_it(content: ReportContent, tmp_path: Path) -> None:
    metric = {**content.scores["metrics"]["pixel_correlation"], "ceiling": 0.6, "ceiling_normalised": 0.71}
    metrics = {**content.scores["metrics"], "pixel_correlation": metric}
    found = {"subj01": {"source": "ncsnr of the data set", "n_repetitions": 3.0, "median": 22.0, "best_decile": 61.0}}
    scores = {**content.scores, "metrics": metrics, "response_ceilings": found}
    page = write_report(tmp_path / "a.html", replace(content, scores=scores)).read_text()
    assert "71% reached" in page
    assert "subj01 22% (best tenth above 61%)" in page


def test_a_repeatability_is_no_bound_of_which_a_share_is_reached(content: ReportContent, tmp_path: Path) -> None:
    own = {"ceiling": 0.6, "ceiling_rule": "repeatability", "ceiling_normalised": 1.15}
    metrics = {name: {**entry, **own} for name, entry in content.scores["metrics"].items()}
    page = write_report(tmp_path / "a.html", replace(content, scores={**content.scores, "metrics": metrics}))
    text = page.read_text()
    assert "115%" not in text
    assert "% reached" not in text
    assert text.count('<span class="ci">repeatability</span>') == len(metrics)
    assert "noise ceiling, or repeatability" in text
