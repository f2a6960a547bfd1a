"""``braindec over_space``: the same experiment from one region at a time, and from all but one.

    braindec over_space target=[words] metric=[retrieval_words] run_dir=outputs/first
    braindec over_space target=[words] metric=[retrieval_words] atlas=Yeo2011_7Networks.nii.gz run_dir=outputs/networks
    braindec over_space experiment=muse_n170 'regions={temporal: [TP9, TP10], frontal: [AF7, AF8]}' run_dir=outputs/n170

    braindec over_space experiment=muse_n170 'regions={...}' window_s=0.1 run_dir=outputs/n170

Every variant is a training run of its own in ``regions/``, its test trials sealed until its decoder is saved; a killed
series is taken up by the same command. Writes ``over_space.csv`` and, where positions have places, what each region's
removal costs as pictures and volumes in ``regions/``; where the run folder holds a run, its report shows both once it
is evaluated. With ``window_s`` all of it is done anew in windows of time: ``over_space_time.csv``, heat maps of regions
x windows and topographies in ``regions_over_time/``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from braindec.artifacts import array_hash, safe_name, write_table
from braindec.compose import checked
from braindec.console import progress
from braindec.experiment import Experiment
from braindec.metrics.statistics import corrected_p, differences
from braindec.region_pictures import ALONE, REGIONS, TIMED_REGIONS, WITHOUT, draw_drops, draw_windows
from braindec.report.brain_maps import Style
from braindec.signals.regions import region_mask
from braindec.signals.synthetic import unknown_region
from braindec.train import Recording, read_recording
from braindec.types import DataError, Trials
from braindec.variants import (
    IntervalOver,
    ScoredVariant,
    better_first,
    chance_p,
    lost,
    train_and_score,
    variant_config,
    window_label,
    window_transform,
    windows_of,
)

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig

log = logging.getLogger(__name__)

OWN_KEYS = ("regions", "atlas", "atlas_names", "silence", "style", "window_s", "step_s", "interval_over")
WHOLE = "everything"


@dataclass(frozen=True)
class OverSpace(Experiment):
    """The schema of ``configs/over_space.yaml``.

    Attributes
    ----------
    regions : region -> channel names or shell patterns, or names of ROIs; None takes every ROI that all subjects have,
        but for those that are the whole recording.
    atlas : path of an atlas of labels whose regions are the ROIs, or ``hemispheres``; None: the data set's own ROIs.
    atlas_names : label -> name, or the path of a BIDS table of them.
    silence : set what is left out to 0 in place of taking it out: for encoders that were pre-trained on all parcels, as
        WAVE does.
    style : how volumes are drawn (see `braindec.report.brain_maps`).
    window_s, step_s : width of windows of time in which all of it is done anew, and from one window's start to the
        next, seconds; None for the whole trial, and for windows side by side.
    interval_over : what intervals draw anew: stimuli; or ``item`` (test trials) or ``fold`` (runs, people) where a
        stimulus is a whole class.
    """

    regions: dict[str, list[str]] | list[str] | None
    atlas: str | None
    atlas_names: dict[int, str] | str | None
    silence: bool
    style: Style
    window_s: float | None
    step_s: float | None
    interval_over: IntervalOver


def over_space(config: DictConfig) -> pd.DataFrame:
    """One row a region, use and metric: ``region, use, n_positions, metric, value, low, high, chance, direction, n``.

    ``use`` is ``alone`` or ``without``; the region ``everything`` is the whole recording. ``n_positions`` is the mean
    over subjects. Rows ``without`` have ``drop, drop_low, drop_high``: what is lost of ``everything``, with the
    interval of the paired differences. With ``window_s`` there are ``start_s, stop_s`` too, a set of rows each window.
    Intervals are of one row by itself. ``p_corrected`` is the p-value that a score is chance, and ``drop_p_corrected``
    that nothing is lost, each corrected for all rows of the metric that have one.

    Raises
    ------
    DataError
        If there is no region, one is empty or unknown, or windows are asked of trials without a time axis.
    """
    import pandas as pd

    checked(config, OverSpace)
    if config.step_s is not None and config.window_s is None:
        raise DataError("over_space: step_s needs window_s; say window_s=SECONDS")
    recording, source = with_atlas(config, read_recording(config))
    chosen = regions_of(config, recording)
    windows: tuple[tuple[float, float] | None, ...] = (None,)
    if config.window_s is not None:
        windows = windows_of(recording, config.window_s, config.step_s or config.window_s)
    cells: list[_Cell] = []
    for window in progress(windows, "windows") if config.window_s is not None else windows:
        cells += _window_cells(config, recording, source, chosen, window)
    table = pd.DataFrame([row for cell in cells for row in cell.rows])
    table["p_corrected"] = chance_p([cell.scored for cell in cells], config)
    table["drop_p_corrected"] = _drop_p(cells, table, config)
    name = "over_space" if config.window_s is None else "over_space_time"
    write_table(Path(config.run_dir) / f"{name}.csv", table)
    if config.window_s is None:
        draw_drops(config, recording, chosen, table)
    else:
        draw_windows(config, recording, chosen, table)
    return table


@dataclass(frozen=True)
class _Cell:
    """A region's use in a window: its rows of the table, its scores, and the items of what is lost, metric by metric.

    ``losses`` is empty for what nothing is left out of.
    """

    rows: list[dict[str, Any]]
    scored: ScoredVariant
    losses: dict[str, pd.DataFrame]


def _window_cells(
    config: DictConfig,
    recording: Recording,
    source: str | None,
    chosen: Mapping[str, list[str] | None],
    window: tuple[float, float] | None,
) -> list[_Cell]:
    """Every region and use, in one window of time or in the whole trial."""
    cells: list[_Cell] = []
    variants = [(WHOLE, None, ALONE)] + [(name, own, use) for use in (ALONE, WITHOUT) for name, own in chosen.items()]
    for name, names, use in progress(variants, "regions"):
        variant = _variant(config, source, name, names, use, window)
        scored = train_and_score(variant, recording, config.interval_over)
        about = {"region": name, "use": use, "n_positions": _n_positions(recording, name, names, use)}
        if window is not None:
            about |= {"start_s": window[0], "stop_s": window[1]}
        cell = _Cell([], scored, {})
        for row in scored.rows:
            drop: dict[str, float | None] = dict.fromkeys(("drop", "drop_low", "drop_high"))
            if use == WITHOUT:
                pair = better_first(cells[0].scored, scored, row["metric"], row["direction"])
                cell.losses[row["metric"]] = differences(*pair)
                drop |= lost(*pair, config.n_resamples, config.seed)
            cell.rows.append({**about, **row, **drop})
        cells.append(cell)
    return cells


def _drop_p(cells: Sequence[_Cell], table: pd.DataFrame, config: DictConfig) -> pd.Series:
    """p-value of every row ``without`` that nothing is lost, corrected for their number, a metric at a time."""
    import pandas as pd

    found = pd.Series(float("nan"), index=table.index)
    for metric, rows in table[table["use"] == WITHOUT].groupby("metric", sort=False):
        losses = [cell.losses[str(metric)] for cell in cells if cell.losses]
        found[rows.index] = corrected_p(losses, config.n_resamples, config.seed)
    return found


def _variant(
    config: DictConfig,
    source: str | None,
    name: str,
    names: list[str] | None,
    use: str,
    window: tuple[float, float] | None,
) -> DictConfig:
    """The training configuration of a region and use: its positions first, its window after all other transforms."""
    part = {
        "_target_": "braindec.signals.regions.Region",
        "region": name,
        "names": names,
        "without": use == WITHOUT,
    }
    if source is not None:
        part["source"] = source
    if config.silence:
        part["silence"] = True
    first = {} if name == WHOLE else {"over_space_region": part}
    folder = f"{use}_{safe_name(name)}"
    if window is None:
        return variant_config(config, f"{REGIONS}/{folder}", OWN_KEYS, first)
    cut = {"over_space_window": window_transform(*window)}
    return variant_config(config, f"{TIMED_REGIONS}/{window_label(window[0])}/{folder}", OWN_KEYS, first, cut)


def with_atlas(config: DictConfig, recording: Recording) -> tuple[Recording, str | None]:
    """The recording with the atlas' regions as its ROIs, and what they were read from; as it is without an atlas."""
    if config.atlas is None:
        if config.atlas_names is not None:
            raise DataError("over_space: atlas_names needs an atlas; say atlas=FILE, or leave the names out")
        return recording, None
    from braindec.datasets.atlas import atlas_rois

    if isinstance(config.regions, Mapping):
        raise DataError("over_space: atlas and groups of channels exclude each other; give regions=[NAME,...] or none")
    names = config.atlas_names if isinstance(config.atlas_names, str | None) else dict(config.atlas_names)
    only = None if config.regions is None else [str(name) for name in config.regions]
    trials = {s: atlas_rois(own, config.atlas, names, only) for s, own in recording.trials.items()}
    masks = {f"{subject}/{name}": mask for subject, own in trials.items() for name, mask in own.rois.items()}
    return replace(recording, trials=trials), f"{config.atlas} {array_hash(masks)[:12]}"


def regions_of(config: DictConfig, recording: Recording) -> dict[str, list[str] | None]:
    """Region -> channel patterns, or None for an ROI of the trials."""
    if isinstance(config.regions, Mapping):
        groups = {str(name): [str(pattern) for pattern in names] for name, names in config.regions.items()}
        _check_groups(groups, recording)
        return dict(groups)
    trials = list(recording.trials.values())
    # An ROI that is the whole recording has nothing outside it.
    shared = [
        name
        for name in trials[0].rois
        if all(name in own.rois and 0 < own.rois[name].sum() < own.space.size for own in trials)
    ]
    if config.regions:
        for name in config.regions:
            if name not in shared:
                raise DataError(f"over_space: {_why_no_region(str(name), trials, shared)}")
        shared = [name for name in shared if name in set(config.regions)]
    if not shared:
        raise DataError(
            f"over_space: the subjects of {recording.dataset} share no ROI; name channels with "
            "'regions={NAME: [PATTERN, ...]}'"
        )
    return dict.fromkeys(shared)


def _check_groups(groups: Mapping[str, list[str]], recording: Recording) -> None:
    """Raises `DataError` when a group of channels is not to be found, or is all of them, before anything is trained."""
    for subject, own in recording.trials.items():
        for name, patterns in groups.items():
            where = f"over_space: regions.{name}: subject {subject!r}"
            if own.space.names is None:
                rois = f"regions=[ROI,...], of {', '.join(sorted(own.rois))}, or " if own.rois else ""
                raise DataError(f"{where} has {own.space.kind} without names; give {rois}atlas=FILE")
            if not patterns:
                raise DataError(f"{where}: an empty group; name channels or patterns, or leave it out")
            if region_mask(own, name, patterns).all():
                raise DataError(f"{where}: it is all {own.space.kind}; there is nothing without it")


def _why_no_region(name: str, trials: Sequence[Trials], shared: Sequence[str]) -> str:
    for own in trials:
        if name in own.rois:
            n = int(own.rois[name].sum())
            kind = own.space.kind
            if n == 0:
                return f"ROI {name!r} of subject {own.subject!r} has none of the recorded {kind}; leave it out"
            if n == own.space.size:
                return f"ROI {name!r} of subject {own.subject!r} is all {kind}; there is nothing without it"
    return unknown_region(name, shared)


def _n_positions(recording: Recording, name: str, names: list[str] | None, use: str) -> float:
    counts = []
    for trials in recording.trials.values():
        inside = trials.space.size if name == WHOLE else int(region_mask(trials, name, names).sum())
        counts.append(inside if use == ALONE else trials.space.size - inside)
    return sum(counts) / len(counts)


def run(config: DictConfig) -> None:
    """What ``braindec over_space`` does."""
    table = over_space(config)
    print(table.drop(columns=["n", "direction"]).to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    log.info("tables and pictures: %s", config.run_dir)
