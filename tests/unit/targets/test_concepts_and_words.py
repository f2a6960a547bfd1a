from __future__ import annotations

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from braindec.contracts import Target
from braindec.targets.concepts import ConceptOneHot
from braindec.targets.words import FUNCTION_WORDS, CaptionWords, words_of
from braindec.types import DataError, Stimuli


def with_concepts(*concepts):
    return Stimuli(tuple(f"s{i}" for i in range(len(concepts))), concepts=concepts)


def with_captions(*captions):
    return Stimuli(tuple(f"s{i}" for i in range(len(captions))), captions=captions)


CAPTIONS = (
    ("A dog on the beach.", "The dog runs; a DOG!"),
    ("A man's dog",),
    ("Two men ride horses on a beach",),
    ("horses",),
)


def test_concepts_are_one_hot_in_training_order_and_named_back():
    target = ConceptOneHot()
    assert isinstance(target, Target)
    target.fit(with_concepts("zebra", "ant", "zebra", "cat"))
    values = target.embed(with_concepts("cat", "ant", "zebra"))
    np.testing.assert_array_equal(values[:, 0], [[0, 1, 0], [1, 0, 0], [0, 0, 1]])
    assert values.dtype == np.float32
    assert target.labels(values) == ("cat", "ant", "zebra")
    assert target.labels(np.array([[[0.2, 0.7, -3.0]], [[0.5, 0.5, 0.0]]])) == ("cat", "ant")
    loaded = ConceptOneHot()
    loaded.load_state(target.state())
    assert loaded.concepts_ == ("ant", "cat", "zebra")
    np.testing.assert_array_equal(loaded.embed(with_concepts("cat")), [[[0, 1, 0]]])


def test_unknown_concepts_are_an_error_or_zero():
    train, test = with_concepts("ant", "cat"), with_concepts("cat", "yak")
    strict, lenient = ConceptOneHot(), ConceptOneHot(unknown="zero")
    strict.fit(train)
    lenient.fit(train)
    with pytest.raises(DataError, match="'yak'"):
        strict.embed(test)
    np.testing.assert_array_equal(lenient.embed(test)[:, 0], [[0, 1], [0, 0]])


@pytest.mark.parametrize("target", [ConceptOneHot(), CaptionWords(1)])
def test_missing_fields_and_missing_fit_are_named(target):
    with pytest.raises(DataError, match=r"needs Stimuli\.c"):
        target.fit(Stimuli(("a",)))
    with pytest.raises(DataError, match="not fitted"):
        target.embed(Stimuli(("a",)))
    with pytest.raises(DataError, match="not fitted"):
        target.state()


def test_bad_arguments_are_refused():
    with pytest.raises(DataError, match="unknown must be"):
        ConceptOneHot(unknown="ignore")
    with pytest.raises(DataError, match="min_count >= 1"):
        CaptionWords(0)
    with pytest.raises(DataError, match="weighting must be"):
        CaptionWords(1, weighting="count")


@pytest.mark.parametrize("min_count", [1, 2])
def test_tfidf_equals_scikit_learn(min_count):
    train, test = with_captions(*CAPTIONS), with_captions(("Dog, dog and horses at sea",), ("unseen",))
    target = CaptionWords(min_count)
    assert isinstance(target, Target)
    target.fit(train)
    reference = TfidfVectorizer(
        min_df=min_count, token_pattern=r"[a-z]+", stop_words=sorted(FUNCTION_WORDS), lowercase=True
    )
    expected_train = reference.fit_transform(" ".join(c) for c in train.captions).toarray()
    assert list(target.words_) == list(reference.get_feature_names_out())
    np.testing.assert_allclose(target.embed(train)[:, 0], expected_train, atol=1e-6)
    expected_test = reference.transform(" ".join(c) for c in test.captions).toarray()
    np.testing.assert_allclose(target.embed(test)[:, 0], expected_test, atol=1e-6)
    assert (target.embed(test)[1] == 0).all()


def test_words_must_occur_in_enough_stimuli_not_enough_captions():
    target = CaptionWords(2, weighting="binary")
    target.fit(with_captions(*CAPTIONS))
    assert target.words_ == ("beach", "dog", "horses")
    np.testing.assert_array_equal(
        target.embed(with_captions(*CAPTIONS))[:, 0], [[1, 1, 0], [0, 1, 0], [1, 0, 1], [0, 0, 1]]
    )
    with pytest.raises(DataError, match="no word occurs in the captions of 5 of the 4"):
        CaptionWords(5).fit(with_captions(*CAPTIONS))


def test_top_words_and_state():
    target = CaptionWords(2)
    target.fit(with_captions(*CAPTIONS))
    loaded = CaptionWords(2)
    loaded.load_state(target.state())
    values = np.array([[[0.1, 0.9, 0.5]], [[0.3, 0.3, 0.3]]])
    assert loaded.top_words(values, 2) == (("dog", "horses"), ("beach", "dog"))
    np.testing.assert_array_equal(loaded.embed(with_captions(*CAPTIONS)), target.embed(with_captions(*CAPTIONS)))


def test_words_of_drops_function_words_and_punctuation():
    assert words_of(("The Cat's, 3 HATS", "on a mat")) == ["cat", "s", "hats", "mat"]
