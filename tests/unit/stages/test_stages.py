from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from braindec.contracts import Stage, StageContext
from braindec.stages import nearest_caption
from braindec.stages.decode_target import DecodeTarget
from braindec.stages.name_concept import NameConcept
from braindec.stages.nearest_caption import NearestCaption, nearest_rows
from braindec.stages.words_caption import WordsCaption
from braindec.targets.concepts import ConceptOneHot
from braindec.targets.pixels import Pixels
from braindec.targets.words import CaptionWords
from braindec.types import DataError, Predictions, Stimuli, TargetEmbeddings

STAGES = {
    "decode": lambda: DecodeTarget("pixels"),
    "nearest": lambda: NearestCaption("pixels"),
    "name": lambda: NameConcept("concepts"),
    "words": lambda: WordsCaption("words", 2),
}


@pytest.fixture
def stimuli():
    return Stimuli(
        tuple(f"train{i}" for i in range(6)),
        images=np.random.default_rng(0).integers(0, 256, size=(6, 8, 8, 3), dtype=np.uint8),
        captions=tuple((f"animal number{'abcdef'[i]}", "an animal") for i in range(6)),
        concepts=("ant", "bee", "cat", "dog", "eel", "fox"),
    )


@pytest.fixture
def context(stimuli):
    targets = {"pixels": Pixels(8), "concepts": ConceptOneHot(), "words": CaptionWords(1)}
    for target in targets.values():
        target.fit(stimuli)
    shuffled = stimuli.select(stimuli.ids[::-1])
    embeddings = {
        name: TargetEmbeddings(name, shuffled.ids, target.embed(shuffled)) for name, target in targets.items()
    }
    return StageContext(targets, stimuli, embeddings, seed=0, device="cpu")


@pytest.fixture
def predictions(context, stimuli):
    """Predictions that resemble training stimuli 4, 0, 2, with a little noise."""
    rng = np.random.default_rng(1)
    rows = [4, 0, 2]
    table = pd.DataFrame(
        {
            "item_id": ["i0", "i1", "i2"],
            "subject": "subj01",
            "fold": "published",
            "stimulus_id": ["x", "y", "z"],
            "n_repetitions": 1,
        }
    )
    clean = {name: target.embed(stimuli)[rows] for name, target in context.targets.items()}
    noisy = {name: values + 0.01 * rng.normal(size=values.shape).astype(np.float32) for name, values in clean.items()}
    return Predictions(table, noisy)


@pytest.mark.parametrize("make", STAGES.values(), ids=STAGES)
def test_fulfils_the_contract(make):
    assert isinstance(make(), Stage)


def test_decode_target_shows_the_predicted_picture(predictions, context, stimuli):
    result = DecodeTarget("pixels").run(predictions, None, context)
    assert result.images.shape == (3, 8, 8, 3)
    assert np.abs(result.images.astype(int) - stimuli.images[[4, 0, 2]]).max() < 20
    assert result.chain == ("decode_target(pixels)",)
    pd.testing.assert_frame_equal(result.table, predictions.table)


def test_decode_target_resizes(predictions, context):
    small = DecodeTarget("pixels").run(predictions, None, context)
    large = DecodeTarget("pixels", size=32).run(predictions, None, context)
    assert large.images.shape == (3, 32, 32, 3)
    assert large.images.dtype == np.uint8
    np.testing.assert_allclose(large.images.mean(axis=(1, 2)), small.images.mean(axis=(1, 2)), atol=4)


@pytest.mark.parametrize("similarity", ["cosine", "correlation"])
@pytest.mark.parametrize("target", ["pixels", "concepts"])
def test_nearest_caption_is_the_first_caption_of_the_stimulus_resembled(predictions, context, similarity, target):
    result = NearestCaption(target, similarity).run(predictions, None, context)
    assert result.captions == ("animal numbere", "animal numbera", "animal numberc")


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(2, 5)),
    chunk=st.integers(1, 10),
    similarity=st.sampled_from(["cosine", "correlation"]),
    seed=st.integers(0, 50),
)
@example(shape=(6, 9, 3), chunk=2, similarity="cosine", seed=0)
def test_nearest_rows_equal_scipy_whatever_the_chunk(shape, chunk, similarity, seed):
    rng = np.random.default_rng(seed)
    predicted, candidates = rng.normal(size=(shape[0], shape[2])) + 1, rng.normal(size=(shape[1], shape[2])) + 1
    distance = cdist(predicted, candidates, similarity)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest_caption, "_CHUNK", chunk)
        found = nearest_rows(predicted, candidates, similarity)
    np.testing.assert_allclose(distance[np.arange(shape[0]), found], distance.min(axis=1), atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 256])
def test_nearest_rows_of_equals_is_the_first_and_zeros_are_nobodys_neighbour(monkeypatch, chunk):
    monkeypatch.setattr(nearest_caption, "_CHUNK", chunk)
    candidates = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    np.testing.assert_array_equal(nearest_rows(np.array([[3.0, 0.1], [0.0, 0.0]]), candidates, "cosine"), [1, 0])


def test_name_concept_and_words_caption(predictions, context):
    assert NameConcept("concepts").run(predictions, None, context).labels == ("eel", "ant", "cat")
    captions = WordsCaption("words", 2).run(predictions, None, context).captions
    assert [set(caption.split()) for caption in captions] == [{"animal", f"number{x}"} for x in "eac"]


def test_a_chain_keeps_what_was_made_before(predictions, context):
    result = None
    for make in (STAGES["decode"], STAGES["name"], STAGES["nearest"]):
        result = make().run(predictions, result, context)
    assert result.chain == ("decode_target(pixels)", "name_concept(concepts)", "nearest_caption(pixels)")
    np.testing.assert_array_equal(result.images, STAGES["decode"]().run(predictions, None, context).images)
    assert result.labels == ("eel", "ant", "cat")
    assert result.captions[0] == "animal numbere"
    replaced = STAGES["words"]().run(predictions, result, context)
    assert replaced.captions != result.captions
    assert replaced.labels == result.labels


@pytest.mark.parametrize("make", STAGES.values(), ids=STAGES)
def test_a_missing_prediction_is_named_with_what_there_is(predictions, context, make):
    stage = make()
    bare = replace(predictions, embeddings={"clip": np.zeros((3, 1, 4), dtype=np.float32)})
    with pytest.raises(DataError, match=rf"stage \w+\({stage.target}\): needs predictions .*'decoded'.*\['clip'\]"):
        stage.run(bare, None, context)


@pytest.mark.parametrize("make", STAGES.values(), ids=STAGES)
def test_nan_predictions_are_named(predictions, context, make):
    stage = make()
    values = predictions.embeddings[stage.target].copy()
    values[1, 0, 0] = np.nan
    with pytest.raises(DataError, match=f"{stage.target!r} for item 'i1' holds NaN"):
        stage.run(replace(predictions, embeddings={stage.target: values}), None, context)


@pytest.mark.parametrize("make", STAGES.values(), ids=STAGES)
def test_other_items_than_before_are_refused(predictions, context, make):
    before = DecodeTarget("pixels").run(predictions.select(np.array([1, 0, 2])), None, context)
    with pytest.raises(DataError, match=r"3 items of the stages before \(decode_target\(pixels\)\)"):
        make().run(predictions, before, context)


@pytest.mark.parametrize(
    ("stage", "method"),
    [(DecodeTarget("concepts"), "decode"), (NameConcept("pixels"), "labels"), (WordsCaption("pixels", 1), "top_words")],
)
def test_a_target_that_cannot_is_named(predictions, context, stage, method):
    with pytest.raises(DataError, match=f"has no method {method}; targets with it"):
        stage.run(predictions, None, context)
    with pytest.raises(DataError, match="but the run has"):
        stage.run(predictions, None, replace(context, targets={}))


def test_nearest_caption_says_what_it_lacks(predictions, context, stimuli):
    stage = NearestCaption("pixels")
    with pytest.raises(DataError, match="needs a caption for every training stimulus"):
        stage.run(predictions, None, replace(context, training_stimuli=replace(stimuli, captions=None)))
    with pytest.raises(DataError, match="needs the training stimuli's embeddings"):
        stage.run(predictions, None, replace(context, training_embeddings={}))
    other = TargetEmbeddings("pixels", stimuli.ids, np.zeros((6, 2, 96), dtype=np.float32))
    with pytest.raises(DataError, match="cannot be compared"):
        stage.run(predictions, None, replace(context, training_embeddings={"pixels": other}))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DecodeTarget("pixels", size=0), "size >= 1"),
        (lambda: NearestCaption("pixels", "euclidean"), "cosine or correlation"),
        (lambda: WordsCaption("words", 0), "n_words >= 1"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(DataError, match=message):
        make()
