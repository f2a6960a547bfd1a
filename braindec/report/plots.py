"""Small-multiple plots as inline SVG, styled by the page's CSS so that they follow light, dark and print.

One row a source (what was decoded, then each control); one panel a metric. Colours never carry meaning alone: what was
decoded is a filled disc, a control a ring, a control that is not clearly beaten a diamond.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from braindec.report.words import number

ROW_PX = 22
TOP_PX = 10
AXIS_PX = 26
PANEL_PX = 380
CHARACTER_PX = 6.6
LABEL_CHARACTERS = 26


@dataclass(frozen=True)
class Row:
    """One row of a panel: a source's value and interval, and (for a distribution) its per-item values.

    ``role`` is ``own`` for what was decoded, a control's `Status`, or ``run0``, ``run1``, ... where runs are compared.
    """

    label: str
    value: float | None
    ci95: tuple[float, float] | None
    role: str
    values: np.ndarray | None = None


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers (steps of 1, 2, 2.5 or 5 times a power of ten) inside [low, high], about ``count`` of them."""
    span = high - low
    if not span > 0:
        return [low]
    rough = span / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [float(round(k * step, 12)) for k in range(first, math.floor(high / step + 1e-9) + 1)]


class _Panel:
    """Coordinates of one panel and the SVG pieces drawn into it."""

    def __init__(self, labels: Sequence[str], low: float, high: float, row_px: int) -> None:
        labels = [t if len(t) <= LABEL_CHARACTERS else f"{t[: LABEL_CHARACTERS - 1]}…" for t in labels]
        self.left = 14 + CHARACTER_PX * max((len(text) for text in labels), default=0)
        self.right = PANEL_PX - 14
        margin = 0.06 * (high - low) or 0.5
        self.low, self.high = low - margin, high + margin
        self.row_px = row_px
        self.bottom = TOP_PX + row_px * len(labels)
        self.pieces: list[str] = []
        for i, text in enumerate(labels):
            self.text(self.left - 8, self.y(i) + 4, text, "row" if i else "row own", "end")

    def x(self, value: float) -> float:
        return self.left + (self.right - self.left) * (value - self.low) / (self.high - self.low)

    def y(self, row: int) -> float:
        return TOP_PX + self.row_px * (row + 0.5)

    def text(self, x: float, y: float, text: str, css: str, anchor: str = "middle") -> None:
        self.pieces.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{css}" text-anchor="{anchor}">{escape(text)}</text>')

    def line(self, x1: float, y1: float, x2: float, y2: float, css: str) -> None:
        self.pieces.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{css}"/>')

    def axis(self) -> None:
        self.line(self.left, self.bottom, self.right, self.bottom, "axis")
        ticks = nice_ticks(self.low, self.high)
        for tick in ticks:
            self.line(self.x(tick), TOP_PX, self.x(tick), self.bottom, "grid")
            self.text(self.x(tick), self.bottom + 15, f"{tick:g}".replace("-", "−"), "tick")

    def reference(self, value: float | None, css: str) -> None:
        if value is not None and self.low <= value <= self.high:
            self.line(self.x(value), TOP_PX - 4, self.x(value), self.bottom, css)

    def svg(self, description: str) -> Markup:
        height = self.bottom + AXIS_PX
        return Markup(
            f'<svg class="plot" viewBox="0 0 {PANEL_PX} {height:.0f}" role="img" aria-label="{escape(description)}">'
            f"{''.join(self.pieces)}</svg>"
        )


def _extent(values: Sequence[float | None]) -> tuple[float, float]:
    finite = [v for v in values if v is not None and math.isfinite(v)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _describe(title: str, rows: Sequence[Row]) -> str:
    parts = []
    for row in rows:
        bounds = "" if row.ci95 is None else f", 95% interval {number(row.ci95[0])} to {number(row.ci95[1])}"
        parts.append(f"{row.label} {number(row.value)}{bounds}")
    return f"{title}: {'; '.join(parts)}."


def _css(role: str) -> str:
    if role == "own" or role.startswith("run"):
        return role
    return "unbeaten" if role in ("overlap", "below") else "control"


def _marker(panel: _Panel, i: int, row: Row) -> None:
    if row.value is None:
        return
    x, y = panel.x(row.value), panel.y(i)
    if row.role == "own" or row.role.startswith("run"):
        panel.pieces.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" class="mark {row.role}"/>')
    elif row.role in ("overlap", "below"):
        panel.pieces.append(
            f'<path d="M{x:.1f} {y - 5.5:.1f}l5.5 5.5l-5.5 5.5l-5.5 -5.5z" class="mark unbeaten {row.role}"/>'
        )
    else:
        panel.pieces.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" class="mark control"/>')


def forest(title: str, rows: Sequence[Row], chance: float | None, ceiling: float | None, band: bool = True) -> Markup:
    """A metric's value and 95% interval over those of its controls, with chance and noise ceiling.

    The first row is what was decoded; its interval is carried down the panel as a band.
    """
    marks: list[float | None] = [chance, ceiling]
    for row in rows:
        marks += [row.value, *(row.ci95 or ())]
    panel = _Panel([row.label for row in rows], *_extent(marks), ROW_PX)
    own = rows[0].ci95
    if own is not None and band:
        left, width = panel.x(own[0]), panel.x(own[1]) - panel.x(own[0])
        panel.pieces.append(
            f'<rect x="{left:.1f}" y="{TOP_PX}" width="{max(width, 1):.1f}" '
            f'height="{panel.bottom - TOP_PX}" class="band"/>'
        )
    panel.axis()
    panel.reference(chance, "chance")
    panel.reference(ceiling, "ceiling")
    for i, row in enumerate(rows):
        css = _css(row.role)
        if row.ci95 is not None:
            panel.line(panel.x(row.ci95[0]), panel.y(i), panel.x(row.ci95[1]), panel.y(i), f"whisker {css}")
        _marker(panel, i, row)
    return panel.svg(_describe(title, rows))


def distribution(title: str, rows: Sequence[Row], chance: float | None, n_bins: int = 32) -> Markup:
    """Per-item values of every source, one histogram a row on common bins, each scaled to its own highest bin.

    A tick marks each row's median.
    """
    values = [np.asarray(row.values)[np.isfinite(row.values)] for row in rows if row.values is not None]
    joined = np.concatenate(values) if values else np.zeros(0)
    # Far outliers would flatten every row: the axis covers the central 99.6 % and the ends collect what lies beyond.
    low, high = np.quantile(joined, [0.002, 0.998]) if len(joined) else (0.0, 1.0)
    low, high = _extent([float(low), float(high), chance])
    panel = _Panel([row.label for row in rows], low, high, 30)
    panel.axis()
    panel.reference(chance, "chance")
    edges = np.linspace(low, high, n_bins + 1)
    for i, row in enumerate(rows):
        if row.values is None:
            continue
        finite = np.asarray(row.values)[np.isfinite(row.values)]
        if len(finite) == 0:
            continue
        counts, _ = np.histogram(np.clip(finite, low, high), edges)
        base, tall = panel.y(i) + 12, 23.0
        heights = base - tall * counts / counts.max()
        steps = [f"M{panel.x(edges[0]):.1f} {base:.1f}"]
        for k in range(n_bins):
            steps.append(f"V{heights[k]:.1f}H{panel.x(edges[k + 1]):.1f}")
        css = _css(row.role)
        panel.pieces.append(f'<path d="{"".join(steps)}V{base:.1f}z" class="hist {css}"/>')
        middle = panel.x(float(np.clip(np.median(finite), low, high)))
        panel.line(middle, base - tall, middle, base + 2, f"median {css}")
    return panel.svg(f"{title}: distribution over items. " + _describe("Medians", _with_medians(rows)))


def _with_medians(rows: Sequence[Row]) -> list[Row]:
    medians = []
    for row in rows:
        finite = np.zeros(0) if row.values is None else np.asarray(row.values)[np.isfinite(row.values)]
        medians.append(Row(row.label, float(np.median(finite)) if len(finite) else None, None, row.role))
    return medians


def curves(title: str, x_name: str, lines: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Markup:
    """Training curves of one quantity: name -> (x (n,), y (n,)); each line is labelled by its last point's order."""
    xs = np.concatenate([x for x, _ in lines.values()])
    ys = np.concatenate([y for _, y in lines.values()])
    low, high = _extent(ys[np.isfinite(ys)].tolist())
    low -= 0.05 * (high - low)
    left, right, top, bottom = 52.0, PANEL_PX - 14.0, 12.0, 150.0
    x_low, x_high = _extent(xs.tolist())
    pieces = []
    for tick in nice_ticks(low, high, 5):
        y = bottom - (bottom - top) * (tick - low) / (high - low)
        pieces.append(f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" class="grid"/>')
        pieces.append(f'<text x="{left - 6}" y="{y + 4:.1f}" class="tick" text-anchor="end">{tick:g}</text>')
    for tick in nice_ticks(x_low, x_high, 5):
        x = left + (right - left) * (tick - x_low) / (x_high - x_low)
        pieces.append(f'<text x="{x:.1f}" y="{bottom + 16}" class="tick" text-anchor="middle">{tick:g}</text>')
    pieces.append(f'<line x1="{left}" y1="{bottom}" x2="{right}" y2="{bottom}" class="axis"/>')
    for i, (name, (x_values, y_values)) in enumerate(lines.items()):
        kept = np.isfinite(y_values)
        points = " ".join(
            f"{left + (right - left) * (x - x_low) / (x_high - x_low):.1f},"
            f"{bottom - (bottom - top) * (y - low) / (high - low):.1f}"
            for x, y in zip(x_values[kept], y_values[kept])
        )
        pieces.append(f'<polyline points="{points}" class="curve c{i % 6}"><title>{escape(name)}</title></polyline>')
    pieces.append(
        f'<text x="{(left + right) / 2}" y="{bottom + 32}" class="tick" text-anchor="middle">{escape(x_name)}</text>'
    )
    last = "; ".join(
        f"{name} ends at {number(y[np.isfinite(y)][-1])}" for name, (_, y) in lines.items() if np.isfinite(y).any()
    )
    return Markup(
        f'<svg class="plot" viewBox="0 0 {PANEL_PX} {bottom + 40:.0f}" role="img" '
        f'aria-label="{escape(f"{title} by {x_name}: {last}")}">{"".join(pieces)}</svg>'
    )


@dataclass(frozen=True)
class Trajectory:
    """Scores along an axis: places x (n,), values, ends of their intervals (NaN where there are none), and chance.

    ``marked`` bool (n,) says which get a dot; None gives one to each of up to 12.
    """

    x: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    chance: float | None
    marked: np.ndarray | None = None


def trajectory(title: str, x_name: str, line: Trajectory, onset: float | None = None, doubling: bool = False) -> Markup:
    """A score along time or number of repetitions, with its 95% band, chance, and a line at ``onset``.

    ``doubling`` spaces the axis by powers of two and ticks the places themselves.
    """
    place = np.log2(line.x) if doubling else np.asarray(line.x, dtype=float)
    low, high = _extent([*line.value.tolist(), *line.low.tolist(), *line.high.tolist(), line.chance])
    low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)
    left, right, top, bottom = 52.0, PANEL_PX - 14.0, 12.0, 170.0
    x_low, x_high = _extent(place.tolist())

    def at(x: float, y: float) -> tuple[float, float]:
        across = left + (right - left) * (x - x_low) / (x_high - x_low)
        return across, bottom - (bottom - top) * (y - low) / (high - low)

    pieces = []
    for tick in nice_ticks(low, high, 5):
        _, y = at(x_low, tick)
        pieces.append(f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" class="grid"/>')
        pieces.append(f'<text x="{left - 6}" y="{y + 4:.1f}" class="tick" text-anchor="end">{tick:g}</text>')
    ticks = zip(place.tolist(), line.x.tolist()) if doubling else ((t, t) for t in nice_ticks(x_low, x_high, 6))
    for where, tick in ticks:
        x, _ = at(where, low)
        text = f"{tick:g}".replace("-", "−")
        pieces.append(f'<text x="{x:.1f}" y="{bottom + 16}" class="tick" text-anchor="middle">{text}</text>')
    banded = np.isfinite(line.low) & np.isfinite(line.high)
    if banded.any():
        upper = [at(x, y) for x, y in zip(place[banded], line.high[banded])]
        lower = [at(x, y) for x, y in zip(place[banded], line.low[banded])]
        outline = " ".join(f"{x:.1f},{y:.1f}" for x, y in [*upper, *reversed(lower)])
        pieces.append(f'<polygon points="{outline}" class="band"/>')
    pieces.append(f'<line x1="{left}" y1="{bottom}" x2="{right}" y2="{bottom}" class="axis"/>')
    if line.chance is not None:
        _, y = at(x_low, line.chance)
        pieces.append(f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" class="chance"/>')
    if onset is not None and x_low <= onset <= x_high:
        x, _ = at(onset, low)
        pieces.append(f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" class="axis"/>')
    kept = np.isfinite(line.value)
    points = [at(x, y) for x, y in zip(place[kept], line.value[kept])]
    pieces.append(f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}" class="curve c0"/>')
    marked = np.full(len(points), len(points) <= 12) if line.marked is None else line.marked[kept]
    pieces += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" class="mark own"/>' for (x, y), m in zip(points, marked) if m]
    pieces.append(
        f'<text x="{(left + right) / 2}" y="{bottom + 32}" class="tick" text-anchor="middle">{escape(x_name)}</text>'
    )
    best = int(np.nanargmax(line.value)) if kept.any() else 0
    told = f"{title} by {x_name}: highest {number(line.value[best])} at {line.x[best]:g}"
    return Markup(
        f'<svg class="plot" viewBox="0 0 {PANEL_PX} {bottom + 40:.0f}" role="img" '
        f'aria-label="{escape(told)}">{"".join(pieces)}</svg>'
    )


def difference_bar(difference: float, ci95: tuple[float, float] | None) -> Markup:
    """One paired difference and its interval about a zero line, on its own symmetric scale."""
    bounds = ci95 or (difference, difference)
    reach = 1.15 * max(abs(difference), abs(bounds[0]), abs(bounds[1])) or 1.0
    low, middle, high = (70 + 64 * value / reach for value in (bounds[0], difference, bounds[1]))
    return Markup(
        '<svg class="bar" viewBox="0 0 140 18" aria-hidden="true"><line x1="70" y1="1" x2="70" y2="17" class="axis"/>'
        f'<line x1="{low:.1f}" y1="9" x2="{high:.1f}" y2="9" class="whisker own"/>'
        f'<circle cx="{middle:.1f}" cy="9" r="4" class="mark own"/></svg>'
    )
