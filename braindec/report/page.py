"""One run as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from braindec.artifacts import atomic_write
from braindec.report.axis_panels import repetition_panels, space_panels, time_panels, training_panels
from braindec.report.content import DECODED, ReportContent
from braindec.report.gallery import Material, Series, default_metric
from braindec.report.methods import flatten, methods, provenance
from braindec.report.metric_panels import distributions, forests, metric_rows, subject_table
from braindec.report.rendering import render
from braindec.report.sounds import sound_cards
from braindec.report.words import banners, headline, label, lead_sentence, unbeaten_sentence, uses_truth, verdicts


def ceiling_sentence(found: Mapping[str, Any]) -> str:
    """What the recordings' own noise ceilings are, in a sentence; empty when none was computed."""
    if not found:
        return ""
    parts = []
    for subject, own in found.items():
        parts.append(f"{subject} {own['median']:.0f}% (best tenth above {own['best_decile']:.0f}%)")
    first = next(iter(found.values()))
    return (
        f"Of the variance of a test response averaged over {first['n_repetitions']:.3g} repetitions, signal is in the "
        f"median over positions: {', '.join(parts)}; from {first['source']}."
    )


def report_material(content: ReportContent) -> Material | None:
    """The gallery's material; None when there is no decoded item."""
    items = content.item_table()
    if items.empty:
        return None
    decoded = Series(
        DECODED,
        content.item_values(),
        content.decoded_images,
        content.decoded_captions,
        content.decoded_labels,
    )
    controls = [
        Series(name, content.item_values(name), content.control_images.get(name, {}), panel=False)
        for name in content.control_names
    ]
    return Material(
        items=items,
        series=[decoded, *controls],
        metrics={name: entry["direction"] for name, entry in content.scores["metrics"].items()},
        truth_images=content.truth_images,
        truth_captions=content.truth_captions,
        truth_concepts=content.truth_concepts,
        links=content.image_links,
        metric=content.gallery_metric or default_metric(content.metric_names, decoded.values),
        seed=content.gallery_seed,
        count=content.gallery_count,
    )


def write_report(path: Path, content: ReportContent) -> Path:
    """Write the report of one run as a single HTML file: no network, no companion files.

    The file appears under its name only when it is complete.

    Returns
    -------
    Path
        ``path``.
    """
    found = verdicts(content.scores)
    items = content.item_table()
    subjects = list(dict.fromkeys(items["subject"]))
    context = {
        "title": content.title,
        "subjects": subjects,
        "n_items": len(items),
        "n_stimuli": items["stimulus_id"].nunique(),
        "headline": headline(found),
        "lead": lead_sentence(found),
        "unbeaten": unbeaten_sentence(found),
        "verdicts": [(v, content.scores["metrics"][v.metric]) for v in found],
        "banners": banners(content.scores, content.manifest, content.warnings),
        "has_oracle": any(uses_truth(name) for name in content.control_names),
        "controls": [label(name) for name in content.control_names],
        "rows": metric_rows(content),
        "forests": forests(content),
        "distributions": distributions(content),
        "subject_table": subject_table(content),
        "ceiling_sentence": ceiling_sentence(content.scores.get("response_ceilings") or {}),
        "time": time_panels(content.over_time),
        "space": space_panels(content.over_space),
        "maps": content.maps,
        "imagery": [] if content.imagery is None else content.imagery.to_dict("records"),
        "repetitions": repetition_panels(content.repetition_curve),
        "sounds": sound_cards(content.sounds),
        "training": training_panels(content.training_curves),
        "fit_rows": flatten(content.fit_report),
        "methods": methods(content.manifest, content.config_yaml, subjects, len(items), list(content.control_names)),
        "provenance": provenance(content.manifest),
        "config_yaml": content.config_yaml,
    }
    payload = render("report.html.j2", report_material(content), context)
    with atomic_write(path) as file:
        file.write(payload)
    return path
