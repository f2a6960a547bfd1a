from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from evidence import make_evidence

from braindec.metrics.ceilings import Ceiling
from braindec.metrics.controls import shuffled_brain
from braindec.metrics.image import MSE, PixCorr
from braindec.metrics.retrieval import Retrieval
from braindec.metrics.statistics import aggregate
from braindec.metrics.summary import DECODED, ITEM_COLUMNS, SCHEMA_VERSION, Scored, item_rows, summarise
from braindec.types import DataError, Evidence, Scores

METRICS = (PixCorr(size=None), MSE(size=None), Retrieval("e", k=(1,), ways=("forward",)))


def scored(evidence: Evidence) -> Scored:
    return evidence, tuple(scores for metric in METRICS for scores in metric.scores(evidence))


def given(values: list[float] | np.ndarray, name: str = "m", subject: str = "s1", **fields: object) -> Scored:
    """An evidence with these values as its only score."""
    evidence = make_evidence(len(values), subject=subject)
    return evidence, (Scores(name, np.asarray(values, dtype=np.float64), **fields),)


def test_the_documented_layout() -> None:
    evidences = [make_evidence(20, noise=1.0, subject=s, seed=i) for i, s in enumerate(("a", "b"))]
    shuffled = [scored(e) for permutation in shuffled_brain(evidences, 3, 0) for e in permutation]
    content, items = summarise(
        [scored(e) for e in evidences],
        {"shuffled_brain": shuffled},
        n_resamples=500,
        ceilings={"pixcorr": Ceiling(0.9, "correlation", "higher")},
        flags=("allow_leak: because",),
    )
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["schema_version"] == SCHEMA_VERSION
    entry = content["metrics"]["pixcorr"]
    assert set(entry) == {
        "value",
        "ci95",
        "n",
        "chance",
        "direction",
        "ceiling",
        "ceiling_rule",
        "ceiling_normalised",
        "flags",
        "gallery_size",
        "n_undefined",
        "corpus_value",
        "per_subject",
    }
    assert (entry["ceiling"], entry["ceiling_rule"]) == (0.9, "correlation")
    assert entry["ceiling_normalised"] == pytest.approx(entry["value"] / 0.9)
    assert "allow_leak: because" in entry["flags"]
    assert set(entry["per_subject"]) == {"a", "b"}
    assert set(entry["per_subject"]["a"]) == {"value", "ci95", "n"}
    control = content["controls"]["shuffled_brain"]["pixcorr"]
    assert {"value", "ci95", "n", "direction"} <= set(control)
    assert control["beaten"] is True
    assert any("above every control" in sentence for sentence in content["verdicts"]["pixcorr"])
    assert tuple(items.columns) == ITEM_COLUMNS
    assert not items.duplicated(["item_id", "metric", "source"]).any()
    assert set(items["source"]) == {DECODED, "shuffled_brain"}


def test_values_agree_with_aggregate() -> None:
    rng = np.random.default_rng(0)
    pairs = [given(rng.normal(size=25), subject=s) for s in ("a", "b", "c")]
    content, items = summarise(pairs, n_resamples=4000)
    expected = aggregate(items, 4000)
    assert content["metrics"]["m"]["value"] == pytest.approx(expected.value)
    assert content["metrics"]["m"]["ci95"] == pytest.approx(expected.ci95)
    alone = aggregate(items[items["subject"] == "b"], 4000)
    entry = content["metrics"]["m"]["per_subject"]["b"]
    assert entry["value"] == pytest.approx(alone.value)
    assert entry["ci95"] == pytest.approx(alone.ci95, abs=0.05)


def test_undefined_values() -> None:
    content, _ = summarise([given([1.0, np.nan, 3.0])], n_resamples=100)
    entry = content["metrics"]["m"]
    assert (entry["value"], entry["n"], entry["n_undefined"]) == (2.0, 2, 1)
    content, _ = summarise([given([np.nan] * 3)], n_resamples=100)
    entry = content["metrics"]["m"]
    assert (entry["value"], entry["ci95"], entry["n"], entry["per_subject"]) == (None, [None, None], 0, {})
    assert "undefined" in content["verdicts"]["m"][0]
    json.dumps(content, allow_nan=False)


def test_rank_is_summarised_by_its_median() -> None:
    content, _ = summarise([scored(make_evidence(15, noise=6.0, dim=2))], n_resamples=200)
    _, all_scores = scored(make_evidence(15, noise=6.0, dim=2))
    ranks = next(s for s in all_scores if s.name == "e_forward_rank").values
    assert content["metrics"]["e_forward_rank"]["value"] == np.median(ranks) != np.mean(ranks)


def sentence(decoded: Scored, controls: dict[str, list[Scored]] | None = None) -> str:
    content, _ = summarise([decoded], controls or {}, n_resamples=2000)
    return " ".join(content["verdicts"]["m"])


def test_verdict_above_every_control() -> None:
    base = np.random.default_rng(0).normal(size=40)
    text = sentence(
        given(base + 3, chance=0.0),
        {"weak": [given(base * 0 - 1)], "strong": [given(base + 1)]},
    )
    assert "is above every control; the strongest control is strong at" in text
    assert "better than chance" in text


def test_verdict_names_the_control_that_is_not_beaten() -> None:
    base = np.random.default_rng(0).normal(size=40)
    text = sentence(given(base), {"equal": [given(base)], "weak": [given(base - 3)]})
    assert "does not beat equal at" in text
    assert "above 1 of 2 controls" in text
    assert "above every control" not in text


def test_a_small_paired_advantage_inside_the_interval_is_not_called_a_win() -> None:
    base = np.random.default_rng(0).normal(size=40)
    content, _ = summarise([given(base + 0.05)], {"near": [given(base)]}, n_resamples=1000)
    near = content["controls"]["near"]["m"]
    assert near["difference"]["ci95"][0] > 0
    assert near["beaten"] is False


def test_lower_is_better() -> None:
    base = np.random.default_rng(0).normal(size=40)
    content, _ = summarise([given(base, direction="lower")], {"worse": [given(base + 2, direction="lower")]}, 500)
    assert content["controls"]["worse"]["m"]["beaten"] is True
    assert "below (better than) every control" in content["verdicts"]["m"][0]
    content, _ = summarise([given(base, direction="lower")], {"better": [given(base - 2, direction="lower")]}, 500)
    assert content["controls"]["better"]["m"]["beaten"] is False


def test_few_stimuli_claim_nothing() -> None:
    content, _ = summarise([given([5.0] * 5)], {"weak": [given([0.0] * 5)]}, n_resamples=100)
    assert content["controls"]["weak"]["m"]["beaten"] is False
    assert "too few" in content["verdicts"]["m"][0]
    content, _ = summarise([given([5.0])], n_resamples=100)
    assert "n = 1: no interval" in content["metrics"]["m"]["flags"]


def test_chance_in_words() -> None:
    values = np.random.default_rng(0).normal(size=50)
    assert "not different from chance" in sentence(given(values - values.mean(), chance=0.0))
    assert "worse than chance" in sentence(given(values - 2, chance=0.0))
    assert "compared with no control" in sentence(given(values))


def test_folds_are_pooled_and_differing_galleries_are_said() -> None:
    first, second = make_evidence(3, fold="f1"), make_evidence(5, fold="f2")
    table = second.table.assign(stimulus_id=[f"other{i}" for i in range(5)])
    content, items = summarise(
        [
            (first, (Scores("m", np.zeros(3), chance=1 / 3, gallery_size=3),)),
            (replace(second, table=table), (Scores("m", np.ones(5), chance=1 / 5, gallery_size=5),)),
        ],
        n_resamples=100,
    )
    entry = content["metrics"]["m"]
    assert (entry["n"], entry["gallery_size"]) == (8, 3)
    assert entry["value"] == pytest.approx(5 / 8)
    assert entry["chance"] == pytest.approx((1 + 1) / 8)
    assert "gallery sizes 3 to 5" in entry["flags"]
    assert set(items["fold"]) == {"f1", "f2"}


def test_errors() -> None:
    with pytest.raises(DataError, match="no metric applies"):
        summarise([(make_evidence(3), ())])
    evidence, (scores,) = given([1.0, 2.0])
    with pytest.raises(DataError, match="two metrics are named 'm'"):
        summarise([(evidence, (scores, scores))])
    with pytest.raises(DataError, match="2 values for 3"):
        item_rows([(make_evidence(3), (scores,))], DECODED)


def test_repeated_scoring_of_an_item_is_averaged() -> None:
    rows = item_rows([given([1.0, 2.0]), given([3.0, np.nan])], "control")
    assert rows["value"].tolist() == [2.0, 2.0]
    assert isinstance(rows, pd.DataFrame)
    assert item_rows([], "control").empty
