"""``braindec over_space``: the same experiment from one region at a time, and from all but one.

    braindec over_space target=[words] metric=[retrieval_words] run_dir=outputs/first
    braindec over_space experiment=muse_n170 'regions={temporal: [TP9, TP10], frontal: [AF7, AF8]}' run_dir=outputs/n170

Every variant is a training run of its own in ``regions/``, its test trials sealed until its decoder is saved; a killed
series is taken up by the same command. Writes ``over_space.csv``; where the run folder holds a run, its report shows
the table as plots once it is evaluated.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from braindec.artifacts import safe_name, write_table
from braindec.compose import checked
from braindec.console import progress
from braindec.experiment import Experiment
from braindec.train import Recording, read_recording
from braindec.types import DataError
from braindec.variants import train_and_score, variant_config

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig

log = logging.getLogger(__name__)

WHOLE = "everything"
ALONE, WITHOUT = "alone", "without"


@dataclass(frozen=True)
class OverSpace(Experiment):
    """The schema of ``configs/over_space.yaml``.

    Attributes
    ----------
    regions : region -> channel names or shell patterns; None takes every ROI that all subjects have, but
        for those that are the whole recording.
    """

    regions: dict[str, list[str]] | None


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
    recording = read_recording(config)
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
        added = {} if name == WHOLE else {"over_space_region": part}
        folder = f"regions/{use}_{safe_name(name)}"
        variant = variant_config(config, folder, ("regions",), added, first=True)
        about = {"region": name, "use": use, "n_positions": _n_positions(recording, name, names, use)}
        rows += [{**about, **row} for row in train_and_score(variant, recording)]
    table = pd.DataFrame(rows)
    write_table(Path(config.run_dir) / "over_space.csv", table)
    return table


def regions_of(config: DictConfig, recording: Recording) -> dict[str, list[str] | None]:
    """Region -> channel patterns, or None for an ROI of the trials."""
    if config.regions:
        return {str(name): [str(pattern) for pattern in names] for name, names in config.regions.items()}
    trials = list(recording.trials.values())
    # An ROI that is the whole recording has nothing outside it.
    shared = [
        name
        for name in trials[0].rois
        if all(name in own.rois and 0 < own.rois[name].sum() < own.space.size for own in trials)
    ]
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
