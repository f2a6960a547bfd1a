"""What an evaluated run left on disk, as the content of a report: nothing is scored again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from braindec.artifacts import RunFolder, read_image, read_json
from braindec.report.content import ReportContent
from braindec.run_tables import read_item_scores, read_reconstructions
from braindec.types import DataError, Stimuli

SIDE = 256
"""Pictures are held at this side at most: several runs of a thousand full-size pictures would not fit in memory."""


@dataclass(frozen=True)
class Decoded:
    """Pictures (no larger than `SIDE`), captions and labels by item id."""

    images: dict[str, np.ndarray] = field(default_factory=dict)
    captions: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)


def require_evaluated(run: RunFolder) -> None:
    """Raise `DataError` when a run has no scores yet."""
    for name in ("scores.json", "scores_items.csv"):
        if not (run.path / name).exists():
            raise DataError(f"{run.path}: not evaluated ({name} is missing); run braindec evaluate run={run.path}")


def read_decoded(folder: Path) -> Decoded:
    """What lies in a folder of reconstructions; empty where nothing was reconstructed.

    Raises
    ------
    DataError
        When a picture that the table names is missing or broken.
    """
    found = Decoded()
    if not (folder / "table.csv").exists():
        return found
    for row in read_reconstructions(folder / "table.csv").itertuples(index=False):
        item = str(row.item_id)
        if row.image:
            found.images[item] = _thumbnail(read_image(folder / str(row.image)))
        if row.caption:
            found.captions[item] = str(row.caption)
        if row.label:
            found.labels[item] = str(row.label)
    return found


def stored_content(run: RunFolder, title: str, stimuli: Stimuli | None) -> ReportContent:
    """The report content of an evaluated run.

    Parameters
    ----------
    title : names the run on the page.
    stimuli : what was shown; those that no item of the run names may be missing. None: they are not to be had, which
        the page says.

    Raises
    ------
    DataError
        When the run was not evaluated, or one of its files is broken.
    """
    require_evaluated(run)
    items = read_item_scores(run.path / "scores_items.csv")
    decoded = read_decoded(run.reconstructions("decoded"))
    shown = _shown(stimuli, set(items["stimulus_id"]))
    truth_images = {} if shown.images is None else dict(zip(shown.ids, map(_thumbnail, shown.images[:]), strict=True))
    return ReportContent(
        title=title,
        scores=read_json(run.path / "scores.json"),
        items=items,
        truth_images=truth_images,
        decoded_images=decoded.images,
        truth_captions={} if shown.captions is None else dict(zip(shown.ids, shown.captions, strict=True)),
        decoded_captions=decoded.captions,
        truth_concepts={} if shown.concepts is None else dict(zip(shown.ids, shown.concepts, strict=True)),
        decoded_labels=decoded.labels,
        manifest=run.manifest(),
        config_yaml=(run.path / "config.yaml").read_text(),
        warnings=_unseen(stimuli, shown, items["stimulus_id"].nunique()),
    )


def _shown(stimuli: Stimuli | None, ids: set[str]) -> Stimuli:
    if stimuli is None:
        return Stimuli(ids=())
    return stimuli.select([stimulus_id for stimulus_id in stimuli.ids if stimulus_id in ids])


def _unseen(stimuli: Stimuli | None, shown: Stimuli, n: int) -> tuple[str, ...]:
    if stimuli is None:
        return ("The stimuli could not be opened here and are not shown.",)
    return () if len(shown) == n else (f"{n - len(shown)} of {n} stimuli are not in the data set and are not shown.",)


def _thumbnail(image_HWC: np.ndarray) -> np.ndarray:
    if max(image_HWC.shape[:2]) <= SIDE:
        return image_HWC
    from PIL import Image

    picture = Image.fromarray(image_HWC)
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return np.asarray(picture)
