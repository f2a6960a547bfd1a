"""What a report is made of: scores, per-item values, pictures and provenance, already computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from braindec.report.brain_maps import BrainMap
from braindec.report.sounds import HeardItem
from braindec.types import DataError

ITEM_COLUMNS = ("item_id", "subject", "fold", "stimulus_id", "metric", "value", "source")
SCHEMA_VERSION = 1
DECODED = "decoded"
"""The value of ``items.source`` for what was decoded; any other value is a control's name."""


@dataclass(frozen=True)
class ReportContent:
    """Everything one page shows. Nothing is recomputed from signals: the report only arranges and words.

    Attributes
    ----------
    title : heading of the page.
    scores : content of ``scores.json`` (schema 1): ``metrics`` {name: {value, ci95, n, chance, direction, ceiling,
        flags, gallery_size, n_undefined, per_subject}}, ``controls`` {control: {name: {value, ci95, ...}}},
        ``verdicts`` {name: [sentence]}. A control's entry may carry ``beaten`` (bool): the verdict of a paired
        comparison, used instead of the page's own rule (intervals that do not overlap).
    items : long format, columns `ITEM_COLUMNS`; one row an item, metric and source; value in the metric's own unit.
    truth_images : stimulus_id -> uint8 (H, W, 3) sRGB.
    decoded_images : item_id -> uint8 (H, W, 3) sRGB.
    truth_captions : stimulus_id -> caption, or several.
    decoded_captions : item_id -> caption.
    truth_concepts : stimulus_id -> concept name.
    decoded_labels : item_id -> decoded concept name.
    control_images : control -> item_id -> uint8 (H, W, 3); shown beside the decoded picture when it is enlarged.
    training_curves : one row a step: column ``epoch`` or ``step``, optional text columns ``subject`` and ``fold``,
        and one numeric column a curve; or None.
    over_time : scores in windows of time, columns ``start_s, stop_s, metric, value, low, high, chance``; or None.
    over_space : scores of regions, columns ``region, use, n_positions, metric, value, low, high, chance``; or None.
    maps : pictures of where the decoded information lies.
    imagery : tests of imagined stimuli, columns ``target, subject, two_way, null_95, p_value, top1, chance_top1,
        n_stimuli, n_candidates``; or None.
    repetition_curve : scores by number of repetitions, columns ``n_repetitions, metric, value, low, high, chance``;
        or None.
    fit_report : what the decoder reported of its fit, JSON-able.
    manifest : provenance; the known keys are worded (see `braindec.report.methods`), others are listed as they are.
    config_yaml : the composed configuration, as text.
    warnings : sentences shown as banners above everything else.
    image_links : item_id -> path of the full-size picture relative to the page.
    gallery_metric : metric by which best, median and worst are chosen; None: the first with per-item values.
    gallery_seed : seed of the random choice.
    gallery_count : pictures per rule in the overview.
    sounds : items of heard speech, shown with players and spectrograms.
    """

    title: str
    scores: Mapping[str, Any]
    items: pd.DataFrame
    truth_images: Mapping[str, np.ndarray] = field(default_factory=dict)
    decoded_images: Mapping[str, np.ndarray] = field(default_factory=dict)
    truth_captions: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    decoded_captions: Mapping[str, str] = field(default_factory=dict)
    truth_concepts: Mapping[str, str] = field(default_factory=dict)
    decoded_labels: Mapping[str, str] = field(default_factory=dict)
    control_images: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    training_curves: pd.DataFrame | None = None
    over_time: pd.DataFrame | None = None
    over_space: pd.DataFrame | None = None
    maps: Sequence[BrainMap] = ()
    imagery: pd.DataFrame | None = None
    repetition_curve: pd.DataFrame | None = None
    fit_report: Mapping[str, Any] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)
    config_yaml: str = ""
    warnings: Sequence[str] = ()
    image_links: Mapping[str, str] = field(default_factory=dict)
    gallery_metric: str | None = None
    gallery_seed: int = 0
    gallery_count: int = 8
    sounds: Sequence[HeardItem] = ()

    def __post_init__(self) -> None:
        found = self.scores.get("schema_version")
        if found != SCHEMA_VERSION:
            raise DataError(f"scores.json: expected schema_version {SCHEMA_VERSION}, found {found!r}; evaluate again")
        if not self.scores.get("metrics"):
            raise DataError("scores.json: expected at least one entry in 'metrics', found none; choose a metric")
        for name, entry in self.scores["metrics"].items():
            if "value" not in entry or entry.get("direction") not in ("higher", "lower"):
                raise DataError(f"scores.json, metrics.{name}: expected 'value' and a 'direction' of higher or lower")
        missing = [column for column in ITEM_COLUMNS if column not in self.items.columns]
        if missing:
            raise DataError(f"Report items: expected the columns {list(ITEM_COLUMNS)}, missing {missing}")
        twice = self.items.duplicated(["item_id", "metric", "source"])
        if twice.any():
            row = self.items[twice].iloc[0]
            raise DataError(
                f"Report items: {int(twice.sum())} rows repeat an item, metric and source, "
                f"e.g. {row['item_id']!r}, {row['metric']!r}, {row['source']!r}; give each value once"
            )
        if self.gallery_metric is not None and self.gallery_metric not in self.scores["metrics"]:
            raise DataError(
                f"Report gallery_metric: {self.gallery_metric!r} is not a metric; known: {list(self.scores['metrics'])}"
            )
        for where, images in (("truth_images", self.truth_images), ("decoded_images", self.decoded_images)):
            for key, image in images.items():
                if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                    raise DataError(
                        f"Report {where}[{key!r}]: expected uint8 (H, W, 3), found {image.dtype} {image.shape}"
                    )

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Metrics in the order of the scores."""
        return tuple(self.scores["metrics"])

    @property
    def control_names(self) -> tuple[str, ...]:
        """Controls in the order of the scores."""
        return tuple(self.scores.get("controls", {}))

    def item_table(self) -> pd.DataFrame:
        """One row an item (item_id, subject, fold, stimulus_id), in order of first appearance."""
        columns = ["item_id", "subject", "fold", "stimulus_id"]
        decoded = self.items[self.items["source"] == DECODED]
        return decoded[columns].drop_duplicates("item_id").reset_index(drop=True).astype(str)

    def item_values(self, source: str = DECODED) -> pd.DataFrame:
        """Values of one source: row an item_id (text), column a metric, NaN where there is none."""
        rows = self.items[self.items["source"] == source]
        wide = rows.assign(item_id=rows["item_id"].astype(str)).pivot(index="item_id", columns="metric", values="value")
        return wide.reindex(columns=list(self.metric_names))
