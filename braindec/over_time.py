"""``braindec over_time``: the same experiment in sliding windows of time.

    braindec over_time experiment=things_eeg1_erps decoder=discriminant metric=[concept_n_way] run_dir=outputs/erps_time

Every window is a training run of its own in ``windows/``, its test trials sealed until its decoder is saved; a killed
series is taken up by the same command. Writes ``over_time.csv`` and ``over_time.png``; where the run folder holds a
run, its report shows the curves once it is evaluated.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from braindec.artifacts import atomic_write, write_table
from braindec.compose import checked
from braindec.console import progress
from braindec.experiment import Experiment
from braindec.train import read_recording
from braindec.variants import (
    IntervalOver,
    chance_p,
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

OWN_KEYS = ("window_s", "step_s", "interval_over")


@dataclass(frozen=True)
class OverTime(Experiment):
    """The schema of ``configs/over_time.yaml``.

    Attributes
    ----------
    window_s, step_s : width of a window, and from one window's start to the next; seconds.
    interval_over : what intervals draw anew: stimuli; or ``item`` (test trials) or ``fold`` (runs, people) where a
        stimulus is a whole class.
    """

    window_s: float
    step_s: float
    interval_over: IntervalOver


def over_time(config: DictConfig) -> pd.DataFrame:
    """One row a window and metric: ``start_s, stop_s, metric, value, low, high, chance, direction, n, p_corrected``.

    ``low`` and ``high`` are the 95% bootstrap interval (NaN where there is none) of one window by itself;
    ``p_corrected`` is the p-value that a score is chance, corrected for the number of windows.

    Raises
    ------
    DataError
        If the trials have no time axis, or subjects differ in theirs.
    """
    import pandas as pd

    checked(config, OverTime)
    recording = read_recording(config)
    windows = windows_of(recording, config.window_s, config.step_s)
    scored = [
        train_and_score(window_config(config, *window), recording, config.interval_over)
        for window in progress(windows, "windows")
    ]
    rows = [
        {"start_s": start_s, "stop_s": stop_s, **row}
        for (start_s, stop_s), found in zip(windows, scored)
        for row in found.rows
    ]
    table = pd.DataFrame(rows).assign(p_corrected=chance_p(scored, config))
    write_table(Path(config.run_dir) / "over_time.csv", table)
    return table


def window_config(config: DictConfig, start_s: float, stop_s: float) -> DictConfig:
    """The training configuration of one window: cut after all other transforms, in a run folder of its own."""
    cut = {"over_time_window": window_transform(start_s, stop_s)}
    return variant_config(config, f"windows/{window_label(start_s)}", OWN_KEYS, last=cut)


def run(config: DictConfig) -> None:
    """What ``braindec over_time`` does."""
    from braindec.report.over_time import draw_over_time

    table = over_time(config)
    with atomic_write(Path(config.run_dir) / "over_time.png") as file:
        file.write(draw_over_time(table))
    print(table.drop(columns=["n", "direction"]).to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    log.info("curves: %s", Path(config.run_dir) / "over_time.png")
