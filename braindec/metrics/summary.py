"""From per-prediction scores to ``scores.json``: values, intervals, controls, and verdicts in words.

The file's layout is documented in ``docs/scores.md``; change `SCHEMA_VERSION` with it.

Legend: S subjects, I stimuli, M columns (one metric of one source each).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from braindec.metrics.bootstrap import Resampled, Statistic, resample
from braindec.metrics.ceilings import Ceiling
from braindec.metrics.retrieval import MEDIAN_FLAG
from braindec.metrics.statistics import ceiling_normalised, per_stimulus, percentile_interval
from braindec.metrics.verdicts import MIN_STIMULI, ControlResult, verdict
from braindec.types import DataError, Direction, Evidence, Scores

SCHEMA_VERSION = 1
DECODED = "decoded"
ITEM_COLUMNS = ("item_id", "subject", "fold", "stimulus_id", "metric", "value", "source")

Scored = tuple[Evidence, tuple[Scores, ...]]
"""An `Evidence` (one subject and fold) with everything that the metrics said of it."""


def item_rows(scored: Sequence[Scored], source: str) -> pd.DataFrame:
    """Per-item values in long format, columns `ITEM_COLUMNS`, one row an item and metric.

    Where an item was scored more than once (several permutations of the shuffled brain), its defined values are
    averaged.

    Raises
    ------
    DataError
        If a metric's values do not match the rows of its evidence.
    """
    parts = []
    for evidence, all_scores in scored:
        for scores in all_scores:
            if len(scores.values) != len(evidence.table):
                raise DataError(
                    f"metric {scores.name!r}: {len(scores.values)} values for {len(evidence.table)} predictions"
                )
            part = evidence.table[["item_id", "subject", "fold", "stimulus_id"]].astype(str)
            parts.append(part.assign(metric=scores.name, value=scores.values.astype(np.float64), source=source))
    if not parts:
        return pd.DataFrame({column: pd.Series(dtype=object) for column in ITEM_COLUMNS})
    rows = pd.concat(parts, ignore_index=True)
    keys = [column for column in ITEM_COLUMNS if column != "value"]
    means = rows.groupby(keys, sort=False)["value"].mean().reset_index()
    return means[list(ITEM_COLUMNS)]


def summarise(
    decoded: Sequence[Scored],
    controls: Mapping[str, Sequence[Scored]] | None = None,
    n_resamples: int = 10_000,
    seed: int = 0,
    ceilings: Mapping[str, Ceiling] | None = None,
    flags: Sequence[str] = (),
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Everything that a result file says.

    All metrics of all sources are resampled with the same stimuli (and subjects), so that a control is compared with
    decoding pair by pair.

    Parameters
    ----------
    decoded : one entry a subject and fold.
    controls : control name -> the same for that control; several entries for one subject and fold are averaged.
    n_resamples, seed : of the bootstrap.
    ceilings : metric -> its noise ceiling, where one could be computed.
    flags : stamped on every metric (``allow_leak: reason``, ...).

    Returns
    -------
    scores : content of ``scores.json``, JSON-able without NaN.
    items : per-item values of decoding and controls, columns `ITEM_COLUMNS`.

    Raises
    ------
    DataError
        If nothing was scored, or two metrics share a name.
    """
    sources = {DECODED: decoded, **(controls or {})}
    facts = _facts(decoded)
    if not facts:
        raise DataError("evaluation: no metric applies to what was decoded; choose metrics whose inputs exist")
    items = pd.concat([rows for s, scored in sources.items() if len(rows := item_rows(scored, s))], ignore_index=True)
    items = items[items["metric"].isin(facts)].reset_index(drop=True)
    columns = _Columns.of(items, facts, n_resamples, seed)
    content: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "metrics": {}, "controls": {}, "verdicts": {}}
    for metric, fact in facts.items():
        entry = columns.entry(DECODED, metric)
        own = [*fact.flags, *flags] + ([f"n = {entry['n']}: no interval"] if entry["n"] < 2 else [])
        content["metrics"][metric] = {
            "value": entry["value"],
            "ci95": entry["ci95"],
            "n": entry["n"],
            "chance": fact.chance,
            "direction": fact.direction,
            **_beside_ceiling(entry["value"], fact.chance, (ceilings or {}).get(metric)),
            "flags": list(dict.fromkeys(own)),
            "gallery_size": fact.gallery_size,
            "n_undefined": fact.n_undefined,
            "corpus_value": fact.corpus_value,
            "per_subject": columns.per_subject(DECODED, metric),
        }
        results = _control_results(columns, controls or {}, metric, fact.direction)
        for result in results:
            content["controls"].setdefault(result.name, {})[metric] = result.entry()
        content["verdicts"][metric] = verdict(metric, content["metrics"][metric], results)
    return content, items


@dataclass
class _Fact:
    """What the `Scores` of one metric say besides their values, over all evidences."""

    direction: Direction
    flags: list[str] = field(default_factory=list)
    chances: list[float | None] = field(default_factory=list)
    sizes: list[int | None] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)
    n_undefined: int = 0
    corpus: dict[str, list[float | None]] = field(default_factory=dict)

    @property
    def corpus_value(self) -> float | None:
        """Mean over subjects; None where a subject has none, or has several folds, which are no corpus together."""
        values = [own[0] for own in self.corpus.values() if len(own) == 1 and own[0] is not None]
        return float(np.mean(values)) if values and len(values) == len(self.corpus) else None

    @property
    def chance(self) -> float | None:
        """Mean over predictions; None when an evidence has none."""
        known = [(c, w) for c, w in zip(self.chances, self.weights, strict=True) if c is not None and np.isfinite(c)]
        if len(known) < len(self.chances):
            return None
        return float(np.average([c for c, _ in known], weights=[w for _, w in known]))

    @property
    def gallery_size(self) -> int | None:
        """The smallest gallery; a flag tells when they differ."""
        known = [size for size in self.sizes if size is not None]
        return min(known) if known else None


def _facts(decoded: Sequence[Scored]) -> dict[str, _Fact]:
    """Metric name -> facts, in the order of first appearance."""
    facts: dict[str, _Fact] = {}
    for evidence, all_scores in decoded:
        names = [scores.name for scores in all_scores]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f"evaluation: two metrics are named {twice[0]!r}; give one another name in its config")
        for scores in all_scores:
            fact = facts.setdefault(scores.name, _Fact(scores.direction))
            fact.flags += [flag for flag in scores.flags if flag not in fact.flags]
            fact.chances.append(scores.chance)
            fact.sizes.append(scores.gallery_size)
            subject = str(evidence.table["subject"].iloc[0]) if len(evidence.table) else ""
            fact.corpus.setdefault(subject, []).append(scores.corpus_value)
            fact.weights.append(max(1, len(evidence.table)))
            fact.n_undefined += int(np.isnan(scores.values).sum())
    for fact in facts.values():
        distinct = sorted({size for size in fact.sizes if size is not None})
        if len(distinct) > 1:
            fact.flags.append(f"gallery sizes {distinct[0]} to {distinct[-1]}")
    return facts


@dataclass(frozen=True)
class _Columns:
    """Resampled statistics of every (source, metric), and of every paired difference from decoding."""

    place: Mapping[tuple[str, str], int]
    difference_place: Mapping[tuple[str, str], int]
    values_SIM: np.ndarray
    resampled: Resampled
    subjects: tuple[str, ...]

    @classmethod
    def of(cls, items: pd.DataFrame, facts: Mapping[str, _Fact], n_resamples: int, seed: int) -> _Columns:
        pairs = list(items[["source", "metric"]].drop_duplicates().itertuples(index=False, name=None))
        column_of_row = items.groupby(["source", "metric"], sort=False).ngroup().to_numpy()
        values_SIM = per_stimulus(items, column_of_row)
        place = {pair: column for column, pair in enumerate(pairs)}
        compared = [(s, m) for s, m in pairs if s != DECODED and (DECODED, m) in place]
        differences = [values_SIM[:, :, place[DECODED, m]] - values_SIM[:, :, place[s, m]] for s, m in compared]
        everything = np.concatenate([values_SIM, *(d[:, :, None] for d in differences)], axis=2)
        statistics: list[Statistic] = ["median" if MEDIAN_FLAG in facts[m].flags else "mean" for _, m in pairs]
        statistics += ["mean"] * len(compared)
        difference_place = {pair: len(pairs) + column for column, pair in enumerate(compared)}
        subjects = tuple(sorted(items["subject"].unique()))
        return cls(
            place, difference_place, everything, resample(everything, n_resamples, seed, tuple(statistics)), subjects
        )

    def entry(self, source: str, metric: str) -> dict[str, Any]:
        column = self.place[source, metric]
        defined_SI = ~np.isnan(self.values_SIM[:, :, column])
        return {
            "value": _number(self.resampled.value[column]),
            "ci95": _interval(self.resampled.draws[:, column]),
            "n": int(defined_SI.any(axis=0).sum()),
        }

    def difference(self, source: str, metric: str) -> dict[str, Any]:
        column = self.difference_place[source, metric]
        return {
            "value": _number(self.resampled.value[column]),
            "ci95": _interval(self.resampled.draws[:, column]),
            "n": int((~np.isnan(self.values_SIM[:, :, column])).any(axis=0).sum()),
        }

    def per_subject(self, source: str, metric: str) -> dict[str, Any]:
        column = self.place[source, metric]
        entries = {}
        for row, subject in enumerate(self.subjects):
            n = int((~np.isnan(self.values_SIM[row, :, column])).sum())
            if n:
                entries[subject] = {
                    "value": _number(self.resampled.subject_value[row, column]),
                    "ci95": _interval(self.resampled.subject_draws[:, row, column]),
                    "n": n,
                }
        return entries


def _control_results(
    columns: _Columns, controls: Mapping[str, Sequence[Scored]], metric: str, direction: Direction
) -> list[ControlResult]:
    decoded = columns.entry(DECODED, metric)
    results = []
    for name in controls:
        if (name, metric) not in columns.place:
            continue
        entry, difference = columns.entry(name, metric), columns.difference(name, metric)
        results.append(ControlResult(name, entry, difference, direction, _beats(decoded, entry, difference, direction)))
    return results


def _beats(decoded: dict[str, Any], control: dict[str, Any], difference: dict[str, Any], direction: Direction) -> bool:
    """Whether the paired difference excludes 0 and decoding's interval excludes the control's value."""
    if difference["n"] < MIN_STIMULI or None in (*difference["ci95"], *decoded["ci95"], control["value"]):
        return False
    if direction == "higher":
        return difference["ci95"][0] > 0 and decoded["ci95"][0] > control["value"]
    return difference["ci95"][1] < 0 and decoded["ci95"][1] < control["value"]


def _beside_ceiling(value: float | None, chance: float | None, ceiling: Ceiling | None) -> dict[str, Any]:
    """The ceiling, its rule, and where the value lies between chance (0) and it (1)."""
    if ceiling is None:
        return {"ceiling": None, "ceiling_rule": None, "ceiling_normalised": None}
    # A ceiling that is no better than chance says that nothing can be decoded: nothing is divided by it.
    above = chance is not None and (ceiling.value - chance) * (1 if ceiling.direction == "higher" else -1) > 1e-6
    normalised = None
    if above and value is not None and chance is not None:
        normalised = ceiling_normalised(value, ceiling.value, chance)
    return {"ceiling": ceiling.value, "ceiling_rule": ceiling.rule, "ceiling_normalised": normalised}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _interval(draws_R: np.ndarray) -> list[float | None]:
    low, high = percentile_interval(draws_R)
    return [_number(float(low)), _number(float(high))]
