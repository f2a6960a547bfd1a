"""Curves of scores over time."""

from __future__ import annotations

import io

import pandas as pd

from braindec.report.clear_of_chance import clear_of_chance


def draw_over_time(table: pd.DataFrame) -> bytes:
    """A PNG with one panel a metric: score against the window's centre, 95% interval, chance and stimulus onset.

    Dots mark windows that are better than chance after correction for their number.

    Parameters
    ----------
    table : columns ``start_s``, ``stop_s``, ``metric``, ``value``, ``low``, ``high``, ``chance``,
        ``direction``, ``p_corrected``.
    """
    from matplotlib.figure import Figure

    metrics = list(dict.fromkeys(table["metric"]))
    figure = Figure(figsize=(7, 2.6 * len(metrics)), layout="constrained")
    for panel, metric in zip(figure.subplots(len(metrics), squeeze=False)[:, 0], metrics):
        rows = table[table["metric"] == metric].sort_values("start_s")
        centre_ms = 500 * (rows["start_s"] + rows["stop_s"])
        if rows[["low", "high"]].notna().all(axis=None):
            panel.fill_between(centre_ms, rows["low"].astype(float), rows["high"].astype(float), color="0.85")
        panel.plot(centre_ms, rows["value"], color="#0a5c96")
        clear = clear_of_chance(rows)
        panel.scatter(centre_ms[clear], rows["value"][clear], s=16, color="#0a5c96", zorder=3)
        if rows["chance"].notna().all():
            panel.plot(centre_ms, rows["chance"], color="0.4", linestyle="--", linewidth=1)
        panel.axvline(0, color="0.4", linewidth=1)
        panel.set(xlabel="centre of window, ms from onset", ylabel=metric)
        panel.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=130, format="png")
    return buffer.getvalue()
