"""Pictures of a map over a recording's positions: projections of a volume, a glass brain, topographies, bars of ROIs.

Legend: S positions, T time points.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from braindec.types import Space

N_TOPOGRAPHIES = 6
MAX_TOPOGRAPHIES = 10
"""So many time points or fewer are all shown; of more, `N_TOPOGRAPHIES` evenly spaced ones."""
MAX_BARS = 24
Style = Literal["projections", "glass_brain"]


@dataclass(frozen=True)
class BrainMap:
    """A picture of a map for the report: title, PNG as a data URI, and a sentence that says what it shows.

    ``wide`` pictures (a row of heads) are not shown two in a row.
    """

    title: str
    src: str
    caption: str
    wide: bool = False


def draw_map(
    values_ST: np.ndarray,
    space: Space,
    times_s: np.ndarray | None,
    rois: Mapping[str, np.ndarray],
    title: str,
    style: Style = "projections",
) -> bytes:
    """A PNG of a map: a volume on a grid, topographies of channels with places, parcels at their centres, or bars.

    Parameters
    ----------
    values_ST : (S, T); a volume shows the time point of largest root mean square.
    style : volumes as their own ``projections``, or, where they lie in MNI coordinates, as nilearn's ``glass_brain``.
    """
    if space.grid_index is not None:
        draw = _glass_brain if style == "glass_brain" else _projections
        return draw(values_ST[:, _strongest(values_ST)], space, title)
    places = space.positions_m if space.positions_m is not None else standard_places(space)
    if space.kind == "channels" and places is not None and space.size >= 4:
        return _topographies(values_ST, places, times_s, title)
    if space.kind == "channels" and times_s is not None:
        return _over_time(values_ST, space, times_s, title)
    if space.kind == "parcels" and space.positions_m is not None and space.size >= 4:
        return _centres(values_ST[:, _strongest(values_ST)], space.positions_m, title)
    return _bars(values_ST, space, rois, title)


def _strongest(values_ST: np.ndarray) -> int:
    return int((values_ST.astype(np.float64) ** 2).sum(axis=0).argmax())


def colour_limits(values: np.ndarray) -> dict[str, Any]:
    """Colours about zero where there are two signs, else from zero up."""
    reach = float(np.abs(values).max()) or 1.0
    return {"cmap": "RdBu_r", "vmin": -reach, "vmax": reach} if values.min() < 0 else {
        "cmap": "inferno", "vmin": 0.0, "vmax": reach
    }  # fmt: skip


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, format="png")
    return buffer.getvalue()


def _volume(values_S: np.ndarray, space: Space) -> np.ndarray:
    volume = np.full(space.grid_shape or (), np.nan)
    assert space.grid_index is not None
    volume[tuple(space.grid_index.T)] = values_S
    return volume


def direction_labels(space: Space) -> tuple[str, str, str]:
    """Where each axis of the grid leads in the body (L R, P A, I S), by the largest entry of its column."""
    if space.affine is None:
        return ("", "", "")
    labels = []
    for column in np.asarray(space.affine, dtype=np.float64)[:3, :3].T:
        world = int(np.abs(column).argmax())
        start, stop = ("LR", "PA", "IS")[world]
        labels.append(f"{start} → {stop}" if column[world] > 0 else f"{stop} → {start}")
    return (labels[0], labels[1], labels[2])


def _projections(values_S: np.ndarray, space: Space, title: str) -> bytes:
    """The value of largest size along each axis of the grid; where no voxel lies is grey. Letters: left, right, ..."""
    from matplotlib.figure import Figure

    volume = _volume(values_S, space)
    size = np.where(np.isnan(volume), -1, np.abs(volume))
    figure = Figure(figsize=(8, 3), layout="constrained")
    shown: Any = None
    labels = direction_labels(space)
    for axis, (panel, name) in enumerate(zip(figure.subplots(1, 3), ("along x", "along y", "along z"))):
        place = np.expand_dims(size.argmax(axis=axis), axis)
        flat = np.take_along_axis(volume, place, axis).squeeze(axis)
        panel.set_facecolor("0.85")
        shown = panel.imshow(flat.T, origin="lower", interpolation="nearest", **colour_limits(values_S))
        across, up = (labels[i] for i in range(3) if i != axis)
        panel.set(title=name, xticks=[], yticks=[], xlabel=across, ylabel=up)
    figure.colorbar(shown, ax=figure.axes, shrink=0.8)
    figure.suptitle(title)
    return _png(figure)


def _glass_brain(values_S: np.ndarray, space: Space, title: str) -> bytes:
    import nibabel
    from matplotlib.figure import Figure
    from nilearn.plotting import plot_glass_brain

    figure = Figure(figsize=(8, 3))
    image = nibabel.Nifti1Image(np.nan_to_num(_volume(values_S, space)).astype(np.float32), space.affine)
    plot_glass_brain(image, figure=figure, title=title, colorbar=True, plot_abs=False, **colour_limits(values_S))
    return _png(figure)


def standard_places(space: Space) -> np.ndarray | None:
    """Places (S, 3) in m of electrodes by their names in the 10-05 system; None where a channel has no such name."""
    if space.kind != "channels" or space.names is None:
        return None
    from mne.channels import get_builtin_montages, make_standard_montage

    # MNE 1.12 renamed it.
    name = next(name for name in ("colin27_1005", "standard_1005") if name in get_builtin_montages())
    known = make_standard_montage(name).get_positions()["ch_pos"]
    by_name = {name.lower(): place for name, place in known.items()}
    if not all(name.lower() in by_name for name in space.names):
        return None
    return np.array([by_name[name.lower()] for name in space.names])


def _centres(values_S: np.ndarray, positions_m: np.ndarray, title: str) -> bytes:
    """Parcels as discs at their centres, seen from the right, the front and above; the largest values lie on top."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    order = np.argsort(np.abs(values_S), kind="stable")
    shown: Any = None
    views = (("from the right", 1, 2), ("from the front", 0, 2), ("from above", 0, 1))
    for panel, (name, across, up) in zip(figure.subplots(1, 3), views):
        places_mm = 1000 * positions_m[order]
        shown = panel.scatter(
            places_mm[:, across], places_mm[:, up], c=values_S[order], s=14, edgecolors="0.6", linewidths=0.3,
            **colour_limits(values_S),
        )  # fmt: skip
        panel.set(title=name, aspect="equal", xlabel=f"{'xyz'[across]}, mm", ylabel=f"{'xyz'[up]}, mm")
    figure.colorbar(shown, ax=figure.axes, shrink=0.8)
    figure.suptitle(title)
    return _png(figure)


def _topographies(values_ST: np.ndarray, positions_m: np.ndarray, times_s: np.ndarray | None, title: str) -> bytes:
    """Heads seen from above at evenly spaced times, and below them the root mean square over channels in time."""
    from matplotlib.figure import Figure
    from mne.viz import plot_topomap

    n_times = values_ST.shape[1]
    shown = np.arange(n_times)
    if n_times > MAX_TOPOGRAPHIES:
        shown = np.unique(np.linspace(0, n_times - 1, N_TOPOGRAPHIES + 2).round().astype(int)[1:-1])
    figure = Figure(figsize=(1.7 * max(3, len(shown)), 3.6 if n_times > 1 else 2.2), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(3, 2)) if n_times > 1 else (figure,)
    heads, *below = parts
    limits = colour_limits(values_ST)
    flat_S2 = seen_from_above(positions_m)
    panels = heads.subplots(1, len(shown), squeeze=False)[0]
    drawn: Any = None
    for panel, time in zip(panels, shown):
        drawn, _ = plot_topomap(
            values_ST[:, time], flat_S2, axes=panel, show=False, sphere=(0, 0, 0, 1), extrapolate="head",
            cmap=limits["cmap"], vlim=(limits["vmin"], limits["vmax"]), contours=0,
        )  # fmt: skip
        if times_s is not None:
            panel.set_title(f"{1000 * times_s[time]:.0f} ms", fontsize=9)
    heads.colorbar(drawn, ax=list(panels), shrink=0.7)
    if below:
        axis = below[0].subplots()
        x = np.arange(n_times) if times_s is None else 1000 * times_s
        axis.plot(x, np.sqrt((values_ST.astype(np.float64) ** 2).mean(axis=0)), color="#0a5c96")
        axis.set(xlabel="time point" if times_s is None else "ms from onset", ylabel="over channels")
        axis.spines[["top", "right"]].set_visible(False)
    heads.suptitle(title)
    return _png(figure)


def seen_from_above(positions_m: np.ndarray) -> np.ndarray:
    """Places on a head (S, 3) as (S, 2) of a disc of radius 1: distance from its top along the head (azimuthal)."""
    centred = positions_m - (positions_m.max(axis=0) + positions_m.min(axis=0)) / 2 * np.array([1, 1, 0])
    angle = np.arctan2(np.hypot(centred[:, 0], centred[:, 1]), centred[:, 2])
    reach = angle.max() or 1.0
    direction = np.arctan2(centred[:, 1], centred[:, 0])
    return 0.95 * np.stack([angle * np.cos(direction), angle * np.sin(direction)], axis=1) / reach


def _over_time(values_ST: np.ndarray, space: Space, times_s: np.ndarray, title: str) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1.5 + 0.16 * space.size), layout="constrained")
    panel = figure.subplots()
    shown = panel.imshow(
        values_ST, aspect="auto", interpolation="nearest", **colour_limits(values_ST),
        extent=(1000 * times_s[0], 1000 * times_s[-1], space.size - 0.5, -0.5),
    )  # fmt: skip
    if space.names is not None and space.size <= 80:
        panel.set_yticks(range(space.size), space.names, fontsize=6)
    panel.set(xlabel="ms from onset", title=title)
    figure.colorbar(shown, ax=panel)
    return _png(figure)


def _bars(values_ST: np.ndarray, space: Space, rois: Mapping[str, np.ndarray], title: str) -> bytes:
    """Mean size in each ROI; without ROIs, at the positions of largest size."""
    from matplotlib.figure import Figure

    size_S = np.abs(values_ST[:, _strongest(values_ST)])
    if rois:
        bars = {name: float(size_S[mask].mean()) for name, mask in rois.items() if mask.any()}
    else:
        names = space.names or tuple(f"{space.kind} {i}" for i in range(space.size))
        bars = {names[i]: float(size_S[i]) for i in np.argsort(-size_S)}
    kept = sorted(bars.items(), key=lambda item: item[1])[-MAX_BARS:]
    figure = Figure(figsize=(6, 1 + 0.25 * len(kept)), layout="constrained")
    panel = figure.subplots()
    panel.barh([name for name, _ in kept], [value for _, value in kept], color="#0a5c96")
    panel.set(title=title, xlabel="mean size" if rois else "size")
    panel.spines[["top", "right"]].set_visible(False)
    return _png(figure)
