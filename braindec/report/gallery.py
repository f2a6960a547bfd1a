"""The gallery as data: items, their values by source, and pictures within a byte budget. The page's script draws it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from braindec.report.pictures import LADDER, TINY_SIDE, Picture, encode, fit_budget
from braindec.report.selection import RULES, Rule, choose, random_ranks
from braindec.report.words import label

CONTROL_PICTURES = 600
"""Up to so many control pictures are embedded for all items; beyond, only for those that the overview shows."""


@dataclass(frozen=True)
class Series:
    """One source of decoded material: what was decoded, a control, or one of several runs.

    ``values`` has a row an item_id and a column a metric. ``panel`` series are shown on every card, others only when a
    card is enlarged; ``ranks`` series may rank the gallery.
    """

    name: str
    values: pd.DataFrame
    images: Mapping[str, np.ndarray] = field(default_factory=dict)
    captions: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    panel: bool = True


@dataclass(frozen=True)
class Material:
    """Everything the gallery draws from; ``items`` as by `ReportContent.item_table`."""

    items: pd.DataFrame
    series: Sequence[Series]
    metrics: Mapping[str, str]
    truth_images: Mapping[str, np.ndarray]
    truth_captions: Mapping[str, str | Sequence[str]]
    truth_concepts: Mapping[str, str]
    links: Mapping[str, str]
    metric: str
    seed: int
    count: int


def overview(material: Material) -> dict[Rule, np.ndarray]:
    """Rows of ``items`` that each rule chooses by the first series' values of the gallery's metric."""
    ids = material.items["item_id"].tolist()
    # The script ranks by the rounded values that the page carries, so the same must be ranked here.
    values = np.array([_rounded(v) for v in material.series[0].values.reindex(ids)[material.metric]], dtype=float)
    direction = material.metrics[material.metric]
    return {
        rule: choose(values, ids, rule, material.count, direction, material.seed)  # type: ignore[arg-type]
        for rule in RULES
    }


def default_metric(metrics: Sequence[str], values: pd.DataFrame) -> str:
    """The first metric with any per-item value; the first of all when none has one."""
    return next((m for m in metrics if m in values and values[m].notna().any()), metrics[0])


def _rounded(value: float) -> float | None:
    value = float(value)
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _first(caption: str | Sequence[str] | None) -> str | None:
    if caption is None or isinstance(caption, str):
        return caption
    return str(caption[0]) if len(caption) else None


class _Pictures:
    """Pictures in order of first use, each held once."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self.index: dict[tuple[str, str], int] = {}

    def add(self, owner: str, key: str, images: Mapping[str, np.ndarray]) -> int | None:
        if key not in images:
            return None
        if (owner, key) not in self.index:
            self.index[owner, key] = len(self.arrays)
            self.arrays.append(images[key])
        return self.index[owner, key]

    def encoded(self, rung: int) -> list[Picture]:
        return [encode(image, *LADDER[rung]) for image in self.arrays]


def gallery_data(material: Material, budget_bytes: int) -> dict[str, Any]:
    """JSON-able content of the gallery, its pictures as data URIs of about ``budget_bytes`` at most.

    Pictures that are not tiny share one rung of `pictures.LADDER`; should the estimate prove too low, the next rung
    is taken until they fit.
    """
    pictures = _Pictures()
    ids = material.items["item_id"].tolist()
    shown = {int(row) for rows in overview(material).values() for row in rows}
    n_extra = len(ids) * sum(not s.panel and bool(s.images) for s in material.series)
    everywhere = n_extra <= CONTROL_PICTURES
    values = [s.values.reindex(index=ids, columns=list(material.metrics)).to_numpy(float) for s in material.series]
    ranks = random_ranks(len(ids), material.seed)
    items = []
    for row, (item_id, subject, fold, stimulus_id) in enumerate(material.items.itertuples(index=False)):
        items.append(
            {
                "id": item_id,
                "subject": subject,
                "fold": fold,
                "stimulus": stimulus_id,
                "concept": material.truth_concepts.get(stimulus_id),
                "truth": pictures.add("truth", stimulus_id, material.truth_images),
                "caption": _first(material.truth_captions.get(stimulus_id)),
                "pictures": [
                    pictures.add(f"series {i}", item_id, s.images) if s.panel or everywhere or row in shown else None
                    for i, s in enumerate(material.series)
                ],
                "captions": [s.captions.get(item_id) for s in material.series],
                "labels": [s.labels.get(item_id) for s in material.series],
                "values": [[_rounded(v) for v in table[row]] for table in values],
                "rank": int(ranks[row]),
                "link": material.links.get(item_id),
            }
        )
    rung = fit_budget(pictures.arrays, budget_bytes)
    encoded = pictures.encoded(rung)
    while sum(len(p.src) for p in encoded) > budget_bytes and rung + 1 < len(LADDER):
        rung += 1
        encoded = pictures.encoded(rung)
    return {
        "metrics": [
            {"name": name, "label": label(name), "direction": direction} for name, direction in material.metrics.items()
        ],
        "series": [{"label": label(s.name), "panel": s.panel} for s in material.series],
        "items": items,
        "images": [[p.src, p.width, p.height] for p in encoded],
        "tiny": TINY_SIDE,
        "metric": list(material.metrics).index(material.metric),
        "seed": material.seed,
        "count": material.count,
        "allControls": everywhere,
    }
