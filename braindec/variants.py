"""One experiment trained and scored in many variants of its signal, each a run of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from braindec.artifacts import RunFolder
from braindec.compose import build
from braindec.evaluate import load_evaluation_fold
from braindec.train import Recording, train
from braindec.types import DataError, Direction, Stimuli

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig

    from braindec.metrics.bootstrap import Statistic

IntervalOver = Literal["stimulus", "item", "fold"]
"""What is drawn anew for an interval."""


def variant_config(
    config: DictConfig,
    folder: str,
    own_keys: Sequence[str],
    first: Mapping[str, Any] | None = None,
    last: Mapping[str, Any] | None = None,
) -> DictConfig:
    """The training configuration of one variant: further transforms, no stage, no control, a run folder of its own.

    Parameters
    ----------
    folder : of the variant, beneath the configuration's ``run_dir``.
    own_keys : keys of the configuration that ``braindec train`` does not know.
    first, last : transforms by name, added before and after the configuration's own.
    """
    from omegaconf import OmegaConf, open_dict

    one = config.copy()
    with open_dict(one):
        for key in own_keys:
            del one[key]
        one.run_dir = str(Path(config.run_dir) / folder)
        one.transforms = OmegaConf.merge(first or {}, one.transforms, last or {})
        one.stages = {}
        one.controls = []
        one.noise_ceiling = False
    return one


def windows_of(recording: Recording, window_s: float, step_s: float) -> tuple[tuple[float, float], ...]:
    """Sliding windows (start_s, stop_s) over the time axis that all subjects share.

    Raises
    ------
    DataError
        If the trials have no time axis, or subjects differ in theirs, or no window fits.
    """
    from braindec.signals.windows import sliding_windows

    axes = {None if t.times_s is None else tuple(t.times_s.tolist()) for t in recording.trials.values()}
    times_s = next(iter(recording.trials.values())).times_s
    if times_s is None or len(axes) > 1:
        raise DataError(f"windows: {recording.dataset} needs one time axis for all subjects; betas have none")
    return sliding_windows(times_s, window_s, step_s)


def window_label(start_s: float) -> str:
    """A window as part of a folder's name."""
    return f"{round(1000 * start_s):+05d}ms"


def window_transform(start_s: float, stop_s: float) -> dict[str, Any]:
    """The transform that cuts trials to a window."""
    return {"_target_": "braindec.signals.windows.Window", "start_s": start_s, "stop_s": stop_s}


@dataclass(frozen=True)
class ScoredVariant:
    """Scores of a variant: ``rows`` hold ``metric, value, low, high, chance, n`` each; ``items`` every item's value."""

    rows: list[dict[str, Any]]
    items: pd.DataFrame

    def items_of(self, metric: str) -> pd.DataFrame:
        """The items of one metric."""
        return self.items[self.items["metric"] == metric]


def train_and_score(
    variant: DictConfig, recording: Recording, interval_over: IntervalOver = "stimulus"
) -> ScoredVariant:
    """Train a variant, or take it up, and score it."""
    return score_variant(train(variant, recording), variant, recording.stimuli, interval_over)


def score_variant(
    run: RunFolder, config: DictConfig, stimuli: Stimuli, interval_over: IntervalOver = "stimulus"
) -> ScoredVariant:
    """Score a variant's predictions by every metric.

    ``low`` and ``high`` are the 95% bootstrap interval (None where there is none) over stimuli; or over test items or
    folds, for data sets in which a stimulus is a whole class and only trials, runs or people can be drawn anew.
    """
    from braindec.evaluation.evidence import build_evidence, test_ids
    from braindec.evaluation.scoring import score
    from braindec.metrics.retrieval import MEDIAN_FLAG
    from braindec.metrics.statistics import aggregate
    from braindec.metrics.summary import summarise

    galleries = {subject: stimuli.select(test_ids(run, subject)) for subject in run.manifest()["subjects"]}
    folds = [load_evaluation_fold(run, config, name, stimuli) for name in run.folds()]
    evidence = [one for fold in folds for one in build_evidence(run, "decoded", fold, galleries)]
    scores, items = summarise(score(build(config.metrics), evidence), n_resamples=config.n_resamples, seed=config.seed)
    if interval_over != "stimulus":
        items = items.assign(stimulus_id=items["item_id" if interval_over == "item" else "fold"])
        for name, entry in scores["metrics"].items():
            median: Statistic = "median" if MEDIAN_FLAG in entry["flags"] else "mean"
            found = aggregate(items[items["metric"] == name], config.n_resamples, config.seed, statistic=median)
            entry.update(ci95=found.ci95, n=found.n)
    rows = [
        {
            "metric": name,
            "value": entry["value"],
            "low": (entry["ci95"] or (None, None))[0],
            "high": (entry["ci95"] or (None, None))[1],
            "chance": entry["chance"],
            "direction": entry["direction"],
            "n": entry["n"],
        }
        for name, entry in scores["metrics"].items()
    ]
    return ScoredVariant(rows, items)


def chance_p(scored: Sequence[ScoredVariant], config: DictConfig) -> pd.Series:
    """p-value of every row of the variants, in order, that its score is chance; NaN where chance is unknown.

    Corrected for the number of variants, a metric at a time (`braindec.metrics.statistics.corrected_p`); what is
    flipped is what intervals draw anew.
    """
    import pandas as pd

    from braindec.metrics.statistics import corrected_p

    rows = pd.DataFrame([row for one in scored for row in one.rows])
    found = pd.Series(float("nan"), index=rows.index)
    for metric, own in rows.groupby("metric", sort=False):
        if own["chance"].notna().all():
            cells = [one.items_of(str(metric)) for one in scored]
            cells = [cell.assign(value=cell["value"] - chance) for cell, chance in zip(cells, own["chance"])]
            found[own.index] = corrected_p(cells, config.n_resamples, config.seed)
    return found


def better_first(
    whole: ScoredVariant, part: ScoredVariant, metric: str, direction: Direction
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Items of the whole and of the part, in the order in which the first less the second is what the part lacks."""
    own = (whole.items_of(metric), part.items_of(metric))
    return own if direction == "higher" else own[::-1]


def lost(first: pd.DataFrame, second: pd.DataFrame, n_resamples: int, seed: int) -> dict[str, float]:
    """What the part of `better_first` lacks, ``drop, drop_low, drop_high``: the 95% interval of paired differences."""
    from braindec.metrics.statistics import paired_difference

    found = paired_difference(first, second, n_resamples, seed)
    return {"drop": found.value, "drop_low": found.ci95[0], "drop_high": found.ci95[1]}
