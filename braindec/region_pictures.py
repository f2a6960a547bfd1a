"""Pictures, volumes and heat maps of what ``braindec over_space`` found.

Legend: S positions in space, T windows of time.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from braindec.artifacts import array_hash, atomic_write, safe_name, write_json
from braindec.report.brain_maps import draw_map
from braindec.report.over_space import TIME_CAPTION, draw_heat_maps
from braindec.signals.regions import region_mask
from braindec.train import Recording
from braindec.types import Trials

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig

ALONE, WITHOUT = "alone", "without"
REGIONS, TIMED_REGIONS = "regions", "regions_over_time"
DROP_CAPTION = (
    "Score of the whole recording less that without the region, a decoder of its own each, mean over subjects; where "
    "regions overlap, the largest. Intervals stand in the plots over space and in the tables."
)


def draw_drops(
    config: DictConfig, recording: Recording, chosen: Mapping[str, list[str] | None], table: pd.DataFrame
) -> None:
    """What each region's removal takes from each score, at its positions: pictures, and volumes of voxels."""
    from braindec.datasets.nifti import write_map

    folder = Path(config.run_dir) / REGIONS
    pictures = []
    for metric, rows in table[table["use"] == WITHOUT].groupby("metric", sort=False):
        drops = rows.set_index("region")["drop"].astype(float)
        for who, trials in distinct_people(recording, chosen).items():
            lost_S1 = at_positions(trials, chosen, {name: np.array([drops[name]]) for name in chosen})
            file = safe_name(f"drop_{metric}_{who}")
            if trials.space.grid_index is not None:
                write_map(folder / f"{file}.nii.gz", lost_S1[:, 0], trials.space)
            title = f"{who}, {metric}: lost without the region"
            pictures.append(_drawn(folder / f"{file}.png", lost_S1, trials, None, chosen, title, DROP_CAPTION, config))
    write_json(folder / "pictures.json", pictures)


def draw_windows(
    config: DictConfig, recording: Recording, chosen: Mapping[str, list[str] | None], table: pd.DataFrame
) -> None:
    """Heat maps of regions x windows, and topographies a window where positions have places."""
    folder = Path(config.run_dir) / TIMED_REGIONS
    pictures = []
    for metric, rows in table.groupby("metric", sort=False):
        file = safe_name(f"windows_{metric}")
        with atomic_write(folder / f"{file}.png") as out:
            out.write(draw_heat_maps(rows))
        title = f"{metric}: regions over time"
        pictures.append({"title": title, "file": f"{file}.png", "caption": TIME_CAPTION})
        drops = rows[rows["use"] == WITHOUT].pivot(index="region", columns="start_s", values="drop").astype(float)
        stops = rows.drop_duplicates("start_s").set_index("start_s")["stop_s"]
        centres_s = np.array([(start + stops[start]) / 2 for start in drops.columns])
        for who, trials in distinct_people(recording, chosen).items():
            lost_ST = at_positions(trials, chosen, {name: drops.loc[name].to_numpy() for name in chosen})
            title = f"{who}, {metric}: lost without the region"
            path = folder / f"{safe_name(f'drop_{metric}_{who}')}.png"
            pictures.append(_drawn(path, lost_ST, trials, centres_s, chosen, title, DROP_CAPTION, config))
    write_json(folder / "pictures.json", pictures)


def distinct_people(recording: Recording, chosen: Mapping[str, list[str] | None]) -> dict[str, Trials]:
    """Subjects whose regions lie at different positions; one stands for all where they are the same in everyone."""
    keys = {}
    for subject, trials in recording.trials.items():
        masks = {name: region_mask(trials, name, names) for name, names in chosen.items()}
        places = {} if trials.space.grid_index is None else {"/grid": trials.space.grid_index}
        keys[subject] = array_hash({**masks, **places})
    if len(set(keys.values())) == 1 and len(keys) > 1:
        return {"all subjects": next(iter(recording.trials.values()))}
    return dict(recording.trials)


def at_positions(
    trials: Trials, chosen: Mapping[str, list[str] | None], values: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Values (T,) of regions at their positions (S, T): the largest of overlapping regions, 0 outside all."""
    layers = [
        np.where(region_mask(trials, name, names)[:, None], values[name][None, :], -np.inf)
        for name, names in chosen.items()
    ]
    found_ST = np.stack(layers).max(axis=0)
    return np.where(np.isfinite(found_ST), found_ST, 0.0)


def _drawn(
    path: Path,
    values_ST: np.ndarray,
    trials: Trials,
    times_s: np.ndarray | None,
    chosen: Mapping[str, list[str] | None],
    title: str,
    caption: str,
    config: DictConfig,
) -> dict[str, str]:
    """Draw a map into a file; returns its entry of ``pictures.json``."""
    masks = {name: region_mask(trials, name, names) for name, names in chosen.items()}
    with atomic_write(path) as out:
        out.write(draw_map(values_ST, trials.space, times_s, masks, title, config.style))
    return {"title": title, "file": path.name, "caption": caption}
