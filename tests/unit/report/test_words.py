from __future__ import annotations

import pytest

from braindec.report.words import (
    banners,
    compare_with_control,
    headline,
    interval,
    label,
    lead_sentence,
    number,
    unbeaten_sentence,
    verdicts,
)


def entry(value: float, half: float = 0.01, **more: object) -> dict:
    return {"value": value, "ci95": [value - half, value + half], "direction": "higher", "n": 10, **more}


@pytest.mark.parametrize(
    ("own", "control", "expected"),
    [
        (entry(0.8), entry(0.5), "above"),
        (entry(0.8, 0.2), entry(0.7, 0.2), "overlap"),
        (entry(0.5), entry(0.8), "below"),
        (entry(0.5), entry(0.5), "below"),
        (entry(0.5, direction="lower"), entry(0.8), "above"),
        (entry(0.8, direction="lower"), entry(0.5), "below"),
        (entry(0.8), {"value": 0.5, "ci95": None}, "overlap"),
        (entry(0.8), {"value": None, "ci95": None}, "unknown"),
        (entry(0.8), None, "unknown"),
        (entry(0.8, 0.2), entry(0.7, 0.2, beaten=True), "above"),
        (entry(0.8), entry(0.5, beaten=False), "overlap"),
    ],
)
def test_a_control_is_beaten_by_its_test_or_by_disjoint_intervals(own: dict, control: dict | None, expected: str):
    assert compare_with_control(own, control) == expected


def scores(controls: dict, **metrics: dict) -> dict:
    return {"schema_version": 1, "metrics": metrics, "controls": controls, "verdicts": {}}


def test_headline_counts_metrics_that_beat_every_control():
    both = scores({"noise": {"a": entry(0.5), "b": entry(0.5)}}, a=entry(0.8), b=entry(0.4))
    assert headline(verdicts(both)) == "Decoding beats every control on 1 of 2 metrics."
    assert unbeaten_sentence(verdicts(both)) == "Not clearly beaten: noise (on 1 of 2)."
    won = scores({"noise": {"a": entry(0.5)}}, a=entry(0.8))
    assert headline(verdicts(won)) == "Decoding beats every control on the one metric."
    assert unbeaten_sentence(verdicts(won)) == ""
    lost = scores({"noise": {"a": entry(0.9), "b": entry(0.9)}}, a=entry(0.8), b=entry(0.4))
    assert headline(verdicts(lost)) == "On no metric does decoding beat every control."
    assert "No control was run" in headline(verdicts(scores({}, a=entry(0.8))))


def test_one_unbeaten_control_decides_the_status_and_is_named():
    found = verdicts(scores({"noise": {"a": entry(0.1)}, "nearest_training": {"a": entry(0.9)}}, a=entry(0.8)))[0]
    assert found.status == "below"
    assert found.unbeaten == ("nearest_training",)
    assert "It beats “noise”." in found.sentences
    assert "It does not beat “nearest training”." in found.sentences


def test_oracles_are_references_that_need_not_be_beaten():
    won = verdicts(scores({"noise": {"a": entry(0.1)}, "oracle_class_mean": {"a": entry(0.9)}}, a=entry(0.8)))[0]
    assert (won.status, won.unbeaten) == ("above", ())
    only = verdicts(scores({"oracle_class_mean": {"a": entry(0.1)}}, a=entry(0.8)))[0]
    assert only.status == "unknown"


def test_many_beaten_controls_are_counted_and_unbeaten_ones_named():
    controls = {f"c{i}": {"a": entry(0.1)} for i in range(5)} | {"strong": {"a": entry(0.9)}}
    found = verdicts(scores(controls, a=entry(0.8)))[0]
    assert found.sentences[1:] == ("It beats 5 of 6 controls.", "It does not beat “strong”.")


def test_the_lead_is_the_first_metric_that_beats_its_controls() -> None:
    both = scores({"noise": {"a": entry(0.8), "b": entry(0.1)}}, a=entry(0.7), b=entry(0.8))
    assert lead_sentence(verdicts(both)).startswith("B is 0.800, 95% interval [")
    assert lead_sentence(verdicts(scores({"noise": {"a": entry(0.8)}}, a=entry(0.7)))).startswith("A is 0.700")


def test_sentences_of_the_evaluation_are_kept():
    given = scores({"noise": {"a": entry(0.1)}}, a=entry(0.8)) | {"verdicts": {"a": ["As written."]}}
    assert verdicts(given)[0].sentences == ("As written.",)


def test_sentences_of_the_evaluation_are_given_readable_names() -> None:
    metrics = {"two_way_pixels": entry(0.8), "two_way": entry(0.7)}
    sentence = "two_way_pixels 0.80 is above every control; the strongest is noise_input at 0.50."
    given = scores({"noise_input": {}}, **metrics) | {"verdicts": {"two_way_pixels": [sentence]}}
    expected = "Two-way pixels 0.80 is above every control; the strongest is noise input at 0.50."
    assert verdicts(given)[0].sentences == (expected,)


def test_banners_word_flags_warnings_and_undefined_items_once():
    given = scores({}, a=entry(0.8, flags=["oracle", "mindeye"], n_undefined=2), b=entry(0.5, flags=["oracle"]))
    found = banners(given, {"flags": ["allow_leak: repetitions by design"]}, ["Look out.", "Look out."])
    assert found[0] == "Look out."
    assert found.count("Look out.") == 1
    assert any("Reason given: repetitions by design" in sentence for sentence in found)
    oracle = [sentence for sentence in found if sentence.startswith("Oracle")]
    assert len(oracle) == 1
    assert "Concerns: a, b." in oracle[0]
    assert "A is undefined for 2 predictions, which its mean leaves out." in found
    assert not any("mindeye" in sentence for sentence in found)


def test_numbers_and_names_read_well():
    assert number(-0.12345) == "−0.123"
    assert number(None) == number(float("nan")) == "–"
    assert number(982) == "982.0"
    assert interval([0.1, None]) == ""
    assert label("two_way_identification") == "two-way identification"
    assert label("ssim") == "SSIM"
