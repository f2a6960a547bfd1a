"""Heat maps of scores over regions and windows of time."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd

from braindec.report.brain_maps import colour_limits
from braindec.report.clear_of_chance import LEVEL, clear_of_chance

TIME_CAPTION = (
    "A decoder of its own in every window: from each region alone, and what is lost of the whole window's score "
    "without the region. Dots: better than chance, or a loss, with p below 0.05 after correction for all regions and "
    "windows (sign flips, maximal statistic). The line is the onset."
)
_WHOLE = "everything"


def draw_heat_maps(rows: pd.DataFrame) -> bytes:
    """A PNG of one metric: regions x windows, the score of each alone and what is lost without it.

    Parameters
    ----------
    rows : of one metric: ``region``, ``use``, ``start_s``, ``stop_s``, ``value``, ``chance``, ``direction``,
        ``p_corrected``, ``drop``, ``drop_p_corrected``.
    """
    from matplotlib.figure import Figure

    alone, without = (rows[rows["use"] == use] for use in ("alone", "without"))
    names = list(dict.fromkeys(alone["region"]))
    starts = np.sort(rows["start_s"].unique())
    chance = rows["chance"].astype(float).mean() if rows["chance"].notna().all() else None
    figure = Figure(figsize=(min(11, 3.4 + 0.55 * len(starts)), 1.8 + 0.6 * len(names)), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    score = _grid(alone, names, starts, "value")
    higher = rows["direction"].iloc[0] == "higher"
    clear = _grid(alone.assign(clear=clear_of_chance(alone)), names, starts, "clear") == 1
    limits = _score_limits(score, chance, higher)
    shown = _panel(upper, score, clear, names, starts, rows, limits)
    upper.set_title(f"{rows['metric'].iloc[0]}: each region alone", fontsize=10)
    figure.colorbar(shown, ax=upper, label="score")
    kept = [name for name in names if name != _WHOLE]
    loss = _grid(without, kept, starts, "drop")
    clear = (loss > 0) & (_grid(without, kept, starts, "drop_p_corrected") < LEVEL)
    shown = _panel(lower, loss, clear, kept, starts, rows, colour_limits(np.nan_to_num(loss)))
    lower.set_title("lost without the region", fontsize=10)
    lower.set_xlabel("ms from onset")
    figure.colorbar(shown, ax=lower, label="score lost")
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=120, format="png")
    return buffer.getvalue()


def _score_limits(score: np.ndarray, chance: float | None, higher: bool) -> dict[str, Any]:
    """Colours from chance (dark) to the best score (bright), whichever way is better."""
    finite = score[np.isfinite(score)] if np.isfinite(score).any() else np.zeros(1)
    best = float(finite.max() if higher else finite.min())
    base = chance if chance is not None else float(finite.min() if higher else finite.max())
    if best == base:
        best = base + (1e-6 if higher else -1e-6)
    low, high = sorted((base, best))
    # A best score on chance's wrong side would turn the colours around.
    if (best > base) != higher:
        low, high = (base, base + (high - low)) if higher else (base - (high - low), base)
    return {"cmap": "inferno" if higher else "inferno_r", "vmin": low, "vmax": high}


def _grid(rows: pd.DataFrame, names: list[str], starts: np.ndarray, column: str) -> np.ndarray:
    table = rows.assign(**{column: rows[column].astype(float)}).pivot(index="region", columns="start_s", values=column)
    return table.reindex(index=names, columns=starts).to_numpy(dtype=float)


def _panel(
    panel: Any,
    values_RW: np.ndarray,
    clear_RW: np.ndarray,
    names: list[str],
    starts: np.ndarray,
    rows: pd.DataFrame,
    limits: dict[str, Any],
) -> Any:
    """One heat map; windows stand side by side, each as wide as the step to the next, about its centre."""
    width = float((rows["stop_s"] - rows["start_s"]).iloc[0])
    step = float(np.diff(starts).min()) if len(starts) > 1 else width
    centres_ms = 1000 * (starts + width / 2)
    extent = (centres_ms[0] - 500 * step, centres_ms[-1] + 500 * step, len(names) - 0.5, -0.5)
    shown = panel.imshow(values_RW, aspect="auto", interpolation="nearest", extent=extent, **limits)
    down, across = np.nonzero(clear_RW)
    panel.scatter(centres_ms[across], down, s=16, color="white", edgecolor="black", linewidth=0.6, zorder=3)
    panel.set_yticks(range(len(names)), names, fontsize=9)
    panel.set_xlim(extent[:2])
    if extent[0] < 0 < extent[1]:
        panel.axvline(0, color="0.5", linewidth=1.2)
    panel.spines[["top", "right"]].set_visible(False)
    return shown
