"""``braindec over_space``: the same experiment from one region at a time, and from all but one.

    braindec over_space target=[words] metric=[retrieval_words] run_dir=outputs/first
    braindec over_space target=[words] metric=[retrieval_words] atlas=Yeo2011_7Networks.nii.gz run_dir=outputs/networks
    braindec over_space experiment=muse_n170 'regions={temporal: [TP9, TP10], frontal: [AF7, AF8]}' run_dir=outputs/n170

Every variant is a training run of its own in ``regions/``, its test trials sealed until its decoder is saved; a killed
series is taken up by the same command. Writes ``over_space.csv`` and, where positions have places, what each region's
removal costs as pictures and volumes in ``regions/``; where the run folder holds a run, its report shows both once it
is evaluated.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from braindec.artifacts import array_hash, atomic_write, safe_name, write_json, write_table
from braindec.compose import checked
from braindec.console import progress
from braindec.experiment import Experiment
from braindec.report.brain_maps import Style
from braindec.train import Recording, read_recording
from braindec.types import DataError
from braindec.variants import train_and_score, variant_config

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig

log = logging.getLogger(__name__)

OWN_KEYS = ("regions", "atlas", "atlas_names", "style")
WHOLE = "everything"
ALONE, WITHOUT = "alone", "without"
DROP_CAPTION = (
    "Score of the whole recording less that without the region, a decoder of its own each, mean over subjects; where "
    "regions overlap, the largest. Intervals stand in the plots over space."
)


@dataclass(frozen=True)
class OverSpace(Experiment):
    """The schema of ``configs/over_space.yaml``.

    Attributes
    ----------
    regions : region -> channel names or shell patterns, or names of ROIs; None takes every ROI that all subjects have,
        but for those that are the whole recording.
    atlas : path of an atlas of labels whose regions are the ROIs, or ``hemispheres``; None: the data set's own ROIs.
    atlas_names : label -> name, or the path of a BIDS table of them.
    style : how volumes are drawn (see `braindec.report.brain_maps`).
    """

    regions: dict[str, list[str]] | list[str] | None
    atlas: str | None
    atlas_names: dict[int, str] | str | None
    style: Style


def over_space(config: DictConfig) -> pd.DataFrame:
    """One row a region, use and metric: ``region, use, n_positions, metric, value, low, high, chance, n``.

    ``use`` is ``alone`` or ``without``; the region ``everything`` is the whole recording. ``n_positions`` is the mean
    over subjects.

    Raises
    ------
    DataError
        If there is no region, or one is empty or unknown.
    """
    import pandas as pd

    checked(config, OverSpace)
    recording, source = with_atlas(config, read_recording(config))
    chosen = regions_of(config, recording)
    rows: list[dict[str, Any]] = []
    variants = [(WHOLE, None, ALONE)] + [(name, own, use) for use in (ALONE, WITHOUT) for name, own in chosen.items()]
    for name, names, use in progress(variants, "regions"):
        part = {
            "_target_": "braindec.signals.regions.Region",
            "region": name,
            "names": names,
            "without": use == WITHOUT,
        }
        if source is not None:
            part["source"] = source
        added = {} if name == WHOLE else {"over_space_region": part}
        folder = f"regions/{use}_{safe_name(name)}"
        variant = variant_config(config, folder, OWN_KEYS, added, first=True)
        about = {"region": name, "use": use, "n_positions": _n_positions(recording, name, names, use)}
        rows += [{**about, **row} for row in train_and_score(variant, recording)]
    table = pd.DataFrame(rows)
    write_table(Path(config.run_dir) / "over_space.csv", table)
    draw_drops(config, recording, chosen, table)
    return table


def with_atlas(config: DictConfig, recording: Recording) -> tuple[Recording, str | None]:
    """The recording with the atlas' regions as its ROIs, and what they were read from; as it is without an atlas."""
    if config.atlas is None:
        return recording, None
    from braindec.datasets.atlas import atlas_rois

    if isinstance(config.regions, Mapping):
        raise DataError("over_space: atlas and groups of channels exclude each other; give regions=[NAME,...] or none")
    names = config.atlas_names if isinstance(config.atlas_names, str | None) else dict(config.atlas_names)
    only = None if config.regions is None else [str(name) for name in config.regions]
    trials = {s: atlas_rois(own, config.atlas, names, only) for s, own in recording.trials.items()}
    masks = {f"{subject}/{name}": mask for subject, own in trials.items() for name, mask in own.rois.items()}
    return replace(recording, trials=trials), f"{config.atlas} {array_hash(masks)[:12]}"


def draw_drops(
    config: DictConfig, recording: Recording, chosen: Mapping[str, list[str] | None], table: pd.DataFrame
) -> None:
    """What each region's removal takes from each score, at its positions: pictures, and volumes where there is a grid.

    A position of several regions gets their largest loss; one of none is 0.
    """
    from braindec.datasets.nifti import write_map
    from braindec.report.brain_maps import draw_map
    from braindec.signals.regions import region_mask

    folder = Path(config.run_dir) / "regions"
    pictures = []
    for metric, rows in table.groupby("metric", sort=False):
        value = rows.set_index(["use", "region"])["value"].astype(float)
        drops = {name: value[ALONE, WHOLE] - value[WITHOUT, name] for name in chosen}
        for subject, trials in recording.trials.items():
            masks = {name: region_mask(trials, name, names) for name, names in chosen.items()}
            lost_RS = np.stack([np.where(mask, drops[name], -np.inf) for name, mask in masks.items()])
            lost_S = lost_RS.max(axis=0)
            lost_S1 = np.where(np.isfinite(lost_S), lost_S, 0.0)[:, None]
            file = safe_name(f"drop_{metric}_{subject}")
            if trials.space.grid_index is not None:
                write_map(folder / f"{file}.nii.gz", lost_S1[:, 0], trials.space)
            title = f"{subject}, {metric}: lost without the region"
            with atomic_write(folder / f"{file}.png") as out:
                out.write(draw_map(lost_S1, trials.space, None, masks, title, config.style))
            pictures.append({"title": title, "file": f"{file}.png", "caption": DROP_CAPTION})
    write_json(folder / "pictures.json", pictures)


def regions_of(config: DictConfig, recording: Recording) -> dict[str, list[str] | None]:
    """Region -> channel patterns, or None for an ROI of the trials."""
    if isinstance(config.regions, Mapping):
        return {str(name): [str(pattern) for pattern in names] for name, names in config.regions.items()}
    trials = list(recording.trials.values())
    # An ROI that is the whole recording has nothing outside it.
    shared = [
        name
        for name in trials[0].rois
        if all(name in own.rois and 0 < own.rois[name].sum() < own.space.size for own in trials)
    ]
    if config.regions:
        unknown = sorted(set(config.regions) - set(shared))
        if unknown:
            raise DataError(f"over_space: no ROI {unknown} in all subjects of {recording.dataset}; there are {shared}")
        shared = [name for name in shared if name in set(config.regions)]
    if not shared:
        raise DataError(
            f"over_space: the subjects of {recording.dataset} share no ROI; name channels with "
            "'regions={NAME: [PATTERN, ...]}'"
        )
    return dict.fromkeys(shared)


def _n_positions(recording: Recording, name: str, names: list[str] | None, use: str) -> float:
    from braindec.signals.regions import region_mask

    counts = []
    for trials in recording.trials.values():
        inside = trials.space.size if name == WHOLE else int(region_mask(trials, name, names).sum())
        counts.append(inside if use == ALONE else trials.space.size - inside)
    return sum(counts) / len(counts)


def run(config: DictConfig) -> None:
    """What ``braindec over_space`` does."""
    table = over_space(config)
    print(table.drop(columns=["n"]).to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    log.info("table: %s", Path(config.run_dir) / "over_space.csv")
