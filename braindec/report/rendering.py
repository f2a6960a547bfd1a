"""Templates filled into self-contained HTML pages, pictures within a page's weight."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from braindec.report.contact_sheet import contact_sheet
from braindec.report.gallery import Material, gallery_data, overview
from braindec.report.words import STATUS_WORDS, VERDICT_RULE, capital, interval, label, number

if TYPE_CHECKING:
    from jinja2 import Environment

PAGE_BYTES = 14_500_000
"""What a page may weigh; pictures get what the text leaves."""
TEXT_ALLOWANCE_BYTES = 60_000
TEMPLATES = Path(__file__).parent / "templates"


@cache
def environment() -> Environment:
    """The Jinja environment: autoescape on, undefined names are errors."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    env = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(number=number, interval=interval, label=label, capital=capital)
    env.globals.update(
        css=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        script=Markup((TEMPLATES / "page.js").read_text(encoding="utf-8")),
        STATUS_WORDS=STATUS_WORDS,
        VERDICT_RULE=VERDICT_RULE,
    )
    return env


def render(template: str, material: Material | None, context: Mapping[str, Any]) -> bytes:
    """Fill a template, giving the gallery's pictures the bytes that the rest of the page leaves."""
    page = environment().get_template(template)
    fallback = None if material is None else fallback_sheet(material)
    bare = page.render(**context, gallery=None, has_gallery=material is not None, fallback=fallback)
    if material is None:
        return bare.encode()
    text_bytes = len(bare.encode()) + len(material.items) * (400 + 12 * len(material.metrics) * len(material.series))
    data = gallery_data(material, PAGE_BYTES - text_bytes - TEXT_ALLOWANCE_BYTES)
    return page.render(**context, gallery=data, has_gallery=True, fallback=fallback).encode()


def fallback_sheet(material: Material) -> str | None:
    """A contact sheet of the overview as a data URI, for readers without scripts."""
    ids = material.items["item_id"].tolist()
    stimuli = material.items["stimulus_id"].tolist()
    rows = [int(row) for chosen in overview(material).values() for row in chosen]
    truth = [material.truth_images.get(stimuli[row]) for row in rows]
    shown = [material.series[0].images.get(ids[row]) for row in rows]
    if not any(image is not None for image in (*truth, *shown)):
        return None
    buffer = io.BytesIO()
    contact_sheet(truth, shown, columns=material.count, tile_px=80).save(buffer, "WEBP", quality=70)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
