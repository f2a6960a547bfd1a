"""The pages in a real browser: headless Chromium, driven by Selenium."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from braindec.report.compare import write_comparison
from braindec.report.content import ReportContent
from braindec.report.leaderboard import Entry, published_boards, write_leaderboard
from braindec.report.page import write_report

CHROMIUM = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="chromium and chromedriver are missing: apt-get install -y chromium chromium-driver fonts-dejavu",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is missing: pip install -e '.[dev]'")
    from selenium.webdriver.chrome.service import Service

    options = selenium.ChromeOptions()
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1280,900",
    ):
        options.add_argument(flag)
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = selenium.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def report(content: ReportContent, tmp_path_factory) -> str:
    return write_report(tmp_path_factory.mktemp("browser") / "report.html", content).as_uri()


@pytest.fixture(scope="module")
def comparison(content: ReportContent, make_content: Callable[..., ReportContent], tmp_path_factory) -> str:
    paired = pd.DataFrame(
        {"metric": ["ssim"], "difference": [0.02], "ci95": [(0.01, 0.05)], "p_permutation": [0.01], "p_holm": [0.01]}
    )
    runs = [replace(content, title="First run"), make_content(seed=3, title="Second run")]
    return write_comparison(tmp_path_factory.mktemp("browser") / "compare.html", runs, paired).as_uri()


@pytest.fixture
def page(browser: Any, report: str) -> Any:
    browser.get(report)
    return browser


def all_of(browser: Any, selector: str) -> list[Any]:
    return browser.find_elements("css selector", selector)


def texts(browser: Any, selector: str) -> list[str]:
    return browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector
    )


def keys(browser: Any, *pressed: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(browser).send_keys(*pressed).perform()


def choose(browser: Any, name: str, value: str) -> None:
    browser.execute_script(
        "const f = document.querySelector('#filters').elements[arguments[0]]; f.value = arguments[1];"
        "document.querySelector('#filters').dispatchEvent(new Event('input'));",
        name,
        value,
    )


def test_pages_load_without_a_word_in_the_console(browser: Any, report: str, comparison: str):
    for address in (report, comparison):
        browser.get(address)
        assert browser.get_log("browser") == []
        assert len(texts(browser, "#cards .card")) == 32
        broken = (
            "const done = arguments[0];Promise.all([...document.images].map(i => i.decode())).then(() => done(0), done)"
        )
        assert browser.execute_async_script(broken) == 0


def test_a_column_sorts_by_keyboard_and_says_so(page: Any):
    from selenium.webdriver.common.keys import Keys

    button = all_of(page, "table.sortable .sort")[1]
    page.execute_script("arguments[0].focus()", button)
    keys(page, Keys.ENTER)
    column = "table.sortable tbody tr td:nth-child(2)"
    values = page.execute_script(
        "return [...document.querySelectorAll(arguments[0])].slice(0, 4).map(e => Number(e.dataset.sort))", column
    )
    assert values == sorted(values, reverse=True)
    header = "return document.querySelectorAll('table.sortable th')[1].getAttribute('aria-sort')"
    assert page.execute_script(header) == "descending"
    keys(page, Keys.SPACE)
    assert page.execute_script(header) == "ascending"
    first = page.execute_script("return Number(document.querySelector(arguments[0]).dataset.sort)", column)
    assert first == min(values)


def test_gallery_filters_and_keeps_to_its_rule(page: Any, content: ReportContent):
    choose(page, "rule", "best")
    values = [float(v) for v in texts(page, "#cards .measure b")]
    assert len(values) == 24
    assert values == sorted(values, reverse=True)
    best = content.item_values()["pixel_correlation"].nlargest(24)
    assert values == pytest.approx(best.tolist(), abs=6e-4)
    choose(page, "metric", "3")
    values = [float(v) for v in texts(page, "#cards .measure b")]
    assert values == sorted(values), "lower distances are better"
    choose(page, "rule", "all")
    choose(page, "subject", "subj02")
    assert len(texts(page, "#cards .card")) == 40
    choose(page, "concept", "red kite")
    assert len(texts(page, "#cards .card")) == 10
    choose(page, "concept", "")
    choose(page, "text", "NUMBER 17")
    assert len(texts(page, "#cards .card")) == 1
    choose(page, "text", "no such words")
    assert texts(page, "#count")[0].startswith("No item passes the filters.")


def test_the_page_chooses_as_the_package_does(page: Any, content: ReportContent):
    from braindec.report.gallery import overview
    from braindec.report.page import report_material

    material = report_material(content)
    assert material is not None
    ids = material.items["item_id"].tolist()
    expected = [ids[row] for rows in overview(material).values() for row in rows]
    labels = page.execute_script(
        "return [...document.querySelectorAll('#cards .card > button')].map(b => b.getAttribute('aria-label'))"
    )
    assert [label.split()[2].rstrip(",") for label in labels] == expected


def test_more_items_appear_on_demand(page: Any):
    choose(page, "rule", "all")
    assert len(texts(page, "#cards .card")) == 60
    page.execute_script("document.querySelector('#more').click()")
    assert len(texts(page, "#cards .card")) == 80
    assert not all_of(page, "#more")[0].is_displayed()


def test_enlargement_opens_walks_and_closes_by_keyboard(page: Any):
    from selenium.webdriver.common.keys import Keys

    card = all_of(page, "#cards .card > button")[1]
    page.execute_script("arguments[0].focus()", card)
    keys(page, Keys.ENTER)
    dialog = all_of(page, "#zoom")[0]
    assert dialog.is_displayed()
    assert texts(page, "#zoom-place")[0].startswith("2 of ")
    title = texts(page, "#zoom-title")
    assert len(all_of(page, "#zoom .large img")) == 2
    assert len(all_of(page, "#zoom .small img")) == 3
    keys(page, Keys.ARROW_RIGHT)
    assert texts(page, "#zoom-place")[0].startswith("3 of ")
    keys(page, Keys.ARROW_LEFT)
    assert texts(page, "#zoom-title") == title
    keys(page, Keys.ESCAPE)
    assert not dialog.is_displayed()
    assert page.switch_to.active_element == card, "focus returns to the card"


def test_tiny_pictures_grow_by_whole_factors(browser: Any, make_content: Callable[..., ReportContent], tmp_path: Path):
    browser.get(write_report(tmp_path / "tiny.html", make_content(n_items=10, side=10, subjects=("S1",))).as_uri())
    shown = browser.execute_async_script(
        "const i = document.querySelector('#cards img'), done = arguments[0];"
        "i.decode().then(() => done([i.getBoundingClientRect().width, i.naturalWidth,"
        " getComputedStyle(i).imageRendering]))"
    )
    assert shown == [120, 10, "pixelated"]


def test_theme_follows_the_toggle(page: Any):
    def background() -> str:
        return page.execute_script("return getComputedStyle(document.body).backgroundColor")

    seen = {}
    for _ in range(3):
        page.execute_script("document.querySelector('#theme').click()")
        seen[page.execute_script("return document.documentElement.dataset.theme")] = background()
    assert seen["light"] == "rgb(253, 253, 252)"
    assert seen["dark"] == "rgb(20, 23, 26)"
    assert "auto" in seen


def test_theme_follows_the_system_until_chosen(page: Any):
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    dark = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert dark == "rgb(20, 23, 26)"


@pytest.mark.parametrize("which", ["report", "comparison"])
def test_a_phone_shows_the_page_without_sideways_scrolling(browser: Any, which: str, request: pytest.FixtureRequest):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 375, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    )
    try:
        browser.get(request.getfixturevalue(which))
        width = "return [document.documentElement.scrollWidth, window.innerWidth]"
        assert browser.execute_script(width) == [375, 375]
        browser.execute_script("document.querySelector('#cards .card > button').click()")
        assert browser.execute_script(
            "const z = document.querySelector('#zoom'); return z.scrollWidth <= z.clientWidth"
        )
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_page_prints(page: Any):
    pdf = base64.b64decode(page.print_page())
    assert pdf.startswith(b"%PDF")
    assert 3 <= pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") <= 14
    assert len(pdf) > 30_000


def test_the_leaderboard_sorts_and_fits_a_phone(browser: Any, content: ReportContent, tmp_path: Path):
    run = Entry("mine", "mine/report.html", {"dataset": "nsd", "subjects": ["subj01"]}, content.scores)
    browser.get(write_leaderboard(tmp_path / "board.html", [run], published_boards()).as_uri())
    assert browser.get_log("browser") == []
    table = "section[aria-labelledby=nsd_images]"
    button = all_of(browser, f"{table} .sort")[7]
    browser.execute_script("arguments[0].click()", button)
    browser.execute_script("arguments[0].click()", button)
    assert texts(browser, f"{table} tbody th") == ["Brain-IT", "MindEye2", "MindBridge"]
    assert texts(browser, f"{table} tbody td:nth-child(4)")[0] == "98.4"
    size = browser.get_window_size()
    try:
        for width in (1280, 500):
            browser.set_window_size(width, 900)
            assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    finally:
        browser.set_window_size(size["width"], size["height"])


def test_words_alone_stand_under_what_was_shown(browser: Any, content: ReportContent, tmp_path: Path):
    told = dict.fromkeys(content.items["item_id"], "a red boat\nwhere is it? lake")
    words = replace(content, decoded_images={}, control_images={}, decoded_captions=told, decoded_labels={})
    browser.get(write_report(tmp_path / "report.html", words).as_uri())
    assert browser.get_log("browser") == []
    assert texts(browser, ".none") == []
    assert texts(browser, "#strip .said") == ["a red boat"] * 8
    assert texts(browser, "#strip figcaption") == ["shown"] * 8
    line = all_of(browser, "#cards .own")[0]
    assert line.text.splitlines() == ["● a red boat", "where is it? lake"]
