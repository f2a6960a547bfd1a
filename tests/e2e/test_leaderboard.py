"""``braindec leaderboard``: own runs beside published figures."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from braindec.compose import compose
from braindec.leaderboard import leaderboard
from braindec.report.leaderboard import Entry, published_boards, write_leaderboard
from braindec.types import DataError


def page_of(tmp_path: Path, *overrides: str) -> str:
    return leaderboard(compose("leaderboard", [*overrides, f"out={tmp_path / 'board.html'}"])).read_text()


def rows(page: str, board: str) -> list[list[str]]:
    """Texts of a board's body, a list a row."""
    part = page[page.index(f'aria-labelledby="{board}"') :]
    body = part[part.index("<tbody>") : part.index("</tbody>")]
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in body.split("<tr")[1:]]
    return [[re.sub(r"<span.*?</span>|<[^>]+>", "", cell).strip() for cell in row] for row in cells]


def test_published_figures_are_whole_and_without_unverified_rows() -> None:
    boards = {board["id"]: board for board in published_boards()}
    for board in boards.values():
        for row in board["rows"]:
            assert len(row["values"]) == len(board["columns"])
            assert row["source"]
    systems = [row["system"] for board in boards.values() for row in board["rows"]]
    assert "Brain-IT" in systems
    # Quoted second-hand only.
    assert not {"Brain-Diffuser", "STTM"} & set(systems)


def test_runs_are_found_linked_and_their_scores_shown(evaluated_run: Path, tmp_path: Path) -> None:
    home = tmp_path / "outputs"
    shutil.copytree(evaluated_run, home / "a")
    shutil.copytree(evaluated_run, home / "deep" / "b")
    page = page_of(tmp_path, f"folder={home}")
    found = rows(page, "runs")
    assert [row[0] for row in found] == ["demo (a)", "demo (b)"]
    assert 'href="outputs/deep/b/report.html"' in page
    value = json.loads((evaluated_run / "scores.json").read_text())["metrics"]["pixcorr"]["value"]
    assert f"{value:.3f}" in found[0][1]
    published = rows(page, "nsd_images")
    assert published[0][:3] == ["Brain-IT", "0.386", "0.486"]
    assert len(published) == 3


def entry(dataset: str, metrics: dict, **manifest: object) -> Entry:
    filled = {
        name: {"value": value, "ci95": [value, value], "direction": "higher", "gallery_size": 200, "flags": []}
        for name, value in metrics.items()
    }
    return Entry("mine", "mine/report.html", {"dataset": dataset, **manifest}, {"metrics": filled, "controls": {}})


def test_a_run_joins_the_boards_of_its_data_set_in_their_units(tmp_path: Path) -> None:
    run = entry("nsd", {"mindeye_pixcorr": 0.3, "mindeye_clip": 0.931}, flags=["allow_leak: shared pictures"])
    page = write_leaderboard(tmp_path / "a.html", [run], published_boards()).read_text()
    (mine,) = (row for row in rows(page, "nsd_images") if row[0] == "mine")
    assert mine[1] == "0.300"
    assert mine[6].startswith("93.1")
    assert mine[3] == "–"
    assert mine[-1] == "allow_leak: shared pictures"
    assert not any(row[0] == "mine" for row in rows(page, "nsd_captions"))
    other = entry("simulated", {"mindeye_pixcorr": 0.3})
    page = write_leaderboard(tmp_path / "b.html", [other], published_boards()).read_text()
    assert not any(row[0] == "mine" for row in rows(page, "nsd_images"))
    eeg = entry("things_eeg2", {"clip_forward_top1": 0.2, "clip_forward_top5": 0.5})
    page = write_leaderboard(tmp_path / "c.html", [eeg], published_boards()).read_text()
    assert next(row for row in rows(page, "things_eeg2_retrieval") if row[0] == "mine")[1].startswith("20.0")


def test_figures_of_a_corpus_stand_beside_published_ones(tmp_path: Path) -> None:
    run = entry("nsd", {"brainhub_bleu1": 0.58, "brainhub_meteor": 0.19, "brainhub_cider": 0.6})
    run.scores["metrics"]["brainhub_bleu1"]["corpus_value"] = 0.59438
    run.scores["metrics"]["brainhub_meteor"]["corpus_value"] = None
    page = write_leaderboard(tmp_path / "a.html", [run], published_boards()).read_text()
    (mine,) = (row for row in rows(page, "nsd_captions") if row[0] == "mine")
    assert [cell.split()[0] for cell in mine[1:6]] == ["59.44", "–", "–", "–", "60.00"]


def test_controls_that_were_not_beaten_are_named(tmp_path: Path) -> None:
    run = entry("nsd", {"mindeye_pixcorr": 0.3})
    run.scores["controls"]["shuffled_brain"] = {"mindeye_pixcorr": {"beaten": False}}
    page = write_leaderboard(tmp_path / "a.html", [run], []).read_text()
    assert "does not beat every control on" in rows(page, "runs")[0][-1]


def test_bad_input_is_refused_by_name(evaluated_run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        page_of(tmp_path, f"folder={tmp_path / 'nowhere'}")
    with pytest.raises(DataError, match="neither a run nor a published figure"):
        page_of(tmp_path, f"folder={tmp_path}", "published=false")
    with pytest.raises(DataError, match="given more than once"):
        page_of(tmp_path, f"runs=[{evaluated_run},{evaluated_run}]")
    board = {**published_boards()[0], "rows": [{"system": "X", "source": "", "caveat": "", "values": [1]}]}
    with pytest.raises(DataError, match="figures of X: expected 8 values, found 1"):
        write_leaderboard(tmp_path / "a.html", [], [board])
