"""Caption scores of three published systems, against the rows that BrainHub prints for subject 1."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from braindec.metrics.captions import corpus_bleu
from braindec.metrics.meteor_java import Meteor15
from braindec.metrics.ngram_scores import Cider, rouge_l
from braindec.metrics.ptb import ptb_tokens
from braindec.metrics.published_captions import PublishedCaptions
from braindec.types import DataError, Evidence, Stimuli
from tests.unit.metrics.evidence import prediction_table

PUBLISHED = {
    "umbrae-v-1-4": {"bleu1": 59.44, "bleu4": 19.03, "meteor": 19.45, "rouge_l": 43.71, "cider": 61.06},
    "braincap": {"bleu1": 55.96, "bleu4": 14.51, "meteor": 16.68, "rouge_l": 40.69, "cider": 41.30},
    "sdrecon": {"bleu1": 36.21, "bleu4": 3.43, "meteor": 10.03, "rouge_l": 25.13, "cider": 13.83},
}
# METEOR with exact and stem matches only: what this project's own variant gives, far from METEOR 1.5.
EXACT_STEM = {"umbrae-v-1-4": 38.47, "braincap": 33.80, "sdrecon": 18.93}


@pytest.fixture(params=PUBLISHED)
def decoded(request: pytest.FixtureRequest, real_data: Callable[[str], Path]) -> tuple[str, Evidence]:
    references = json.loads(real_data("nsd/brainhub/references_coco.json").read_text())
    captions = json.loads(real_data(f"nsd/brainhub/{request.param}/sub01_decoded_caption.json").read_text())
    ids = sorted(references, key=int)
    gallery = Stimuli(tuple(ids), captions=tuple(tuple(references[i]) for i in ids))
    table = prediction_table(ids)
    return request.param, Evidence(table, gallery, np.arange(len(ids)), captions=tuple(captions[i] for i in ids))


def test_published_rows_are_reproduced_to_two_decimals(decoded: tuple[str, Evidence]) -> None:
    system, evidence = decoded
    found = {scores.name: scores for scores in PublishedCaptions("brainhub").scores(evidence)}
    published = PUBLISHED[system]
    for name in ("rouge_l", "cider"):
        assert round(100 * found[f"brainhub_{name}"].values.mean(), 2) == published[name]
    for n in (1, 4):
        assert round(100 * found[f"brainhub_bleu{n}"].corpus_value, 2) == published[f"bleu{n}"]
        corpus = [flag for flag in found[f"brainhub_bleu{n}"].flags if flag.startswith("corpus")]
        assert corpus == [f"corpus BLEU-{n} of s1 all: {published[f'bleu{n}'] / 100:.4f}"]
    assert round(100 * found["brainhub_meteor_exact_stem"].values.mean(), 2) == EXACT_STEM[system]
    assert any("not METEOR 1.5" in flag for flag in found["brainhub_meteor_exact_stem"].flags)


@pytest.mark.slow
def test_meteor_of_the_published_program(decoded: tuple[str, Evidence]) -> None:
    system, evidence = decoded
    jar = os.environ.get("BRAINDEC_METEOR_JAR")
    if not jar:
        pytest.skip("METEOR 1.5 missing: set BRAINDEC_METEOR_JAR to meteor-1.5.jar, its data folder beside it")
    (scores,) = Meteor15(jar).scores(evidence)
    assert scores.flags[-1] == f"corpus METEOR of s1 all: {PUBLISHED[system]['meteor'] / 100:.4f}"


def test_meteor_of_the_published_program_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho one\necho out of memory >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    pairs = [([["a", "cat"]], ["a", "dog"])] * 2
    with pytest.raises(DataError, match=r"meteor-1.5.jar is missing"):
        Meteor15(str(tmp_path / "meteor-1.5.jar")).run(pairs)
    (tmp_path / "meteor-1.5.jar").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "paraphrase-en.gz").touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(DataError, match=r"expected 2 lines from METEOR 1.5, found 1 \(out of memory\)"):
        Meteor15(str(tmp_path / "meteor-1.5.jar")).run(pairs)
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="no java is on the PATH"):
        Meteor15(str(tmp_path / "meteor-1.5.jar")).run(pairs)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A close-up photo, of two birds.", "a close-up photo of two birds"),
        ("it's the Titans' field; I'm late", "it 's the titans field i 'm late"),
        ("The dogs don't sit (here)", "the dogs do n't sit -lrb- here -rrb-"),
        ("Chicken,broccoli, at 2:20 on 9/11 for 1,200", "chicken broccoli at 2:20 on 9/11 for 1,200"),
        ("\"4-way\" `of skiers' words'modern - - a", "4-way of skiers words modern a"),
        ("The Shrine of St.", "the shrine of st."),
        ("", ""),
    ],
)
def test_words_are_those_of_the_stanford_tokenizer(text: str, words: str) -> None:
    assert ptb_tokens(text) == words.split()


def test_scores_by_hand() -> None:
    cat = ["the", "cat", "sat", "on", "the", "mat"]
    assert rouge_l([cat], cat) == 1
    # LCS "the cat mat" of 3: precision 3/4, recall 3/6.
    p, r, beta = 3 / 4, 1 / 2, 1.2
    assert rouge_l([cat], ["the", "cat", "mat", "now"]) == pytest.approx((1 + beta**2) * p * r / (r + beta**2 * p))
    assert rouge_l([cat], []) == 0
    cider = Cider([[cat], [["a", "dog", "ran", "over", "a", "hill"]]])
    assert cider.score(0, cat) == pytest.approx(10)
    assert cider.score(1, cat) == 0
    assert cider.score(0, []) == 0
    assert corpus_bleu([[cat]], [cat], 4) == pytest.approx(1)


def test_captions_without_references_are_undefined() -> None:
    gallery = Stimuli(("a", "b", "c"), captions=(("a red cat",), (), ("", "a dog runs")))
    evidence = Evidence(prediction_table(["a", "b", "c"]), gallery, np.arange(3), captions=("a red cat", "a cat", ""))
    for scores in PublishedCaptions("brainhub").scores(evidence):
        assert np.isnan(scores.values).tolist() == [False, True, False]
        assert scores.values[2] == 0
    first = {s.name: s.values for s in PublishedCaptions("mindeye2").scores(evidence)}
    assert np.isnan(first["mindeye2_rouge_l"]).tolist() == [False, True, True]
