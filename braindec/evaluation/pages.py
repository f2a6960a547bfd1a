"""A run's material as the content of its report."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from braindec.artifacts import RunFolder, read_image, read_json, read_table
from braindec.evaluation.sounds import heard_items
from braindec.report.brain_maps import BrainMap
from braindec.report.content import ReportContent
from braindec.run_tables import HALVES, read_reconstructions
from braindec.types import DataError, Evidence

_IMAGERY = ("two_way", "null_95", "p_value", "top1", "chance_top1", "n_stimuli", "n_candidates")
_NUMBERS = ("value", "low", "high", "chance")
_WIDE_PX = 900
"""Pictures that are wider (a volume's three views are 880) would be too small side by side."""


def report_content(
    run: RunFolder,
    scores: Mapping[str, Any],
    items: pd.DataFrame,
    decoded: Sequence[Evidence],
    manifest: Mapping[str, Any],
    links: Mapping[str, str] | None = None,
) -> ReportContent:
    """Gather what `braindec.report.page.write_report` shows of a run.

    Parameters
    ----------
    scores, items : of `braindec.metrics.summary.summarise`.
    decoded : the decoded evidence of every subject and fold.
    manifest : the run's.
    links : item id -> its full-size picture relative to the page; None means where ``reconstruct`` puts them.
    """
    images, captions, labels = {}, {}, {}
    own_links = {}
    truth_images, truth_captions, truth_concepts = {}, {}, {}
    for evidence in decoded:
        for row, item in enumerate(evidence.table["item_id"]):
            if evidence.images is not None:
                images[item] = evidence.images[row]
                own_links[item] = f"reconstructions/{item}.png"
            if evidence.captions is not None:
                captions[item] = evidence.captions[row]
            if evidence.answers is not None:
                captions[item] = "\n".join([captions.get(item, ""), *_answers(evidence, row)]).strip()
            if evidence.labels is not None:
                labels[item] = evidence.labels[row]
        for row, stimulus_id in enumerate(evidence.gallery.ids):
            if evidence.gallery.images is not None:
                truth_images[stimulus_id] = evidence.gallery.images[row]
            if evidence.gallery.captions is not None:
                truth_captions[stimulus_id] = evidence.gallery.captions[row]
            if evidence.gallery.concepts is not None:
                truth_concepts[stimulus_id] = evidence.gallery.concepts[row]
    return ReportContent(
        title=f"{manifest['name']}: {manifest['dataset']}",
        scores=scores,
        items=items,
        truth_images=truth_images,
        decoded_images=images,
        truth_captions=truth_captions,
        decoded_captions=captions,
        truth_concepts=truth_concepts,
        decoded_labels=labels,
        control_images=_control_images(run),
        training_curves=_training_curves(run),
        over_time=_beside(run, "over_time.csv"),
        over_space=_beside(run, "over_space.csv"),
        maps=_maps(run),
        imagery=_imagery(run),
        repetition_curve=None if not scores.get("repetition_curve") else pd.DataFrame(scores["repetition_curve"]),
        fit_report={name: read_json(run.decoder(name) / "fit.json") for name in run.folds()},
        manifest=manifest,
        config_yaml=(run.path / "config.yaml").read_text(),
        image_links=own_links if links is None else links,
        sounds=heard_items(decoded),
    )


def _answers(evidence: Evidence, row: int) -> list[str]:
    """Each question with the decoded and, where they differ, the true answer."""
    assert evidence.answers is not None
    questions = evidence.gallery.questions
    asked_of = () if questions is None else questions[evidence.truth[row]]
    known = {asked.question: asked.answers for asked in asked_of}
    told = []
    for question, answer in evidence.answers[row].items():
        true = known.get(question, (answer,))
        told.append(f"{question} {answer}" + ("" if answer in true else f" (true: {true[0]})"))
    return told


def _beside(run: RunFolder, name: str) -> pd.DataFrame | None:
    """A table that ``over_time`` or ``over_space`` wrote into the run folder, or None."""
    path = run.path / name
    if not path.exists():
        return None
    table = read_table(path, ("metric", "region", "use"))
    missing = [column for column in ("metric", *_NUMBERS) if column not in table.columns]
    if missing:
        raise DataError(f"{path}: lacks the columns {missing}; run braindec {path.stem} again, or delete the file")
    return table.assign(**{column: pd.to_numeric(table[column], errors="coerce") for column in _NUMBERS})


def _imagery(run: RunFolder) -> pd.DataFrame | None:
    """The table that ``braindec imagery`` wrote into the run folder, or None."""
    path = run.path / "imagery.csv"
    if not path.exists():
        return None
    table = read_table(path, ("target", "subject"))
    missing = [column for column in _IMAGERY if column not in table.columns]
    if missing:
        raise DataError(f"{path}: lacks the columns {missing}; run braindec imagery again, or delete the file")
    return table


def _maps(run: RunFolder) -> list[BrainMap]:
    """The pictures that ``braindec maps``, ``over_space`` and ``synthesise`` put into the run folder."""
    shown = []
    made_by = {"maps": "maps", "regions": "over_space", "regions_over_time": "over_space", "synthesis": "synthesise"}
    for folder, command in made_by.items():
        index = run.path / folder / "pictures.json"
        for entry in read_json(index) if index.exists() else []:
            try:
                content = (index.parent / entry["file"]).read_bytes()
            except (OSError, KeyError) as error:
                raise DataError(f"{index}: a picture is missing ({error}); run braindec {command} again") from error
            src = f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"
            # A PNG's width stands in its bytes 16 to 19.
            wide = int.from_bytes(content[16:20], "big") > _WIDE_PX
            shown.append(BrainMap(entry["title"], src, entry["caption"], wide))
    return shown


def _training_curves(run: RunFolder) -> pd.DataFrame | None:
    """The curves that each fold's fit report names, joined, with a column that names the fold; None without any."""
    tables = []
    for fold in run.folds():
        named = read_json(run.decoder(fold) / "fit.json").get("curves")
        if named is not None and (path := run.decoder(fold) / named).exists():
            tables.append(read_table(path).assign(fold=fold))
    return pd.concat(tables, ignore_index=True) if tables else None


def _control_images(run: RunFolder) -> dict[str, dict[str, np.ndarray]]:
    """Reconstructed controls, to be shown beside the decoded pictures."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for source in run.sources():
        path = run.reconstructions(source) / "table.csv"
        if source in ("decoded", *HALVES) or not path.exists():
            continue
        rows = read_reconstructions(path)
        pictures = {
            str(item): read_image(path.parent / str(name))
            for item, name in zip(rows["item_id"], rows["image"], strict=True)
            if name
        }
        if pictures:
            found[source] = pictures
    return found
