"""Captions steered by predicted words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from braindec.contracts import Stage, StageContext
from braindec.frozen.captioners import GitCaptioner
from braindec.stages.worded_caption import WordedCaption, log_odds, spread, steered
from braindec.targets.words import CaptionWords
from braindec.types import DataError, Predictions
from tests.unit.stages.generative import context_of, predictions_of
from tests.unit.stages.tiny_captioners import save_git

VOCABULARY = ("a", "beach", "cube", "dog", "on", "red", "the", "tree")


def fixture(tmp_path: Path, presence: list[float]) -> tuple[GitCaptioner, Predictions, StageContext]:
    target = CaptionWords(min_count=1, weighting="binary")
    target.load_state({"words": np.array(VOCABULARY), "idf": np.ones(8)})
    features = np.random.default_rng(0).standard_normal((4, 5, 24)).astype(np.float32)
    predictions = predictions_of({"git": features, "words": np.tile(presence, (4, 1))[:, None]})
    training = np.eye(8)[:, None]
    return GitCaptioner(str(save_git(tmp_path))), predictions, context_of({"words": training}, {"words": target})


def words_in(caption: str) -> list[str]:
    return [word for word in caption.split() if word in VOCABULARY]


def test_a_surely_predicted_word_is_said_and_no_weight_leaves_the_captioner_alone(tmp_path: Path) -> None:
    network, predictions, context = fixture(tmp_path, [0, 0, 0, 1, 0, 0, 0, 0])
    stage = WordedCaption(network, "git", weight=40, reach=100, max_length=8)
    assert isinstance(stage, Stage)
    found = stage.run(predictions, None, context).captions
    plain = WordedCaption(network, "git", weight=0, max_length=8).run(predictions, None, context).captions
    assert plain == network.captions(predictions.embeddings["git"], 8)
    assert found is not None
    # When a word comes is the captioner's choice, which one the evidence's.
    assert {words[0] for caption in found if (words := words_in(caption))} == {"dog"}
    assert {words[0] for caption in plain if (words := words_in(caption))} != {"dog"}
    network.batch_size = 2
    assert stage.run(predictions, None, context).captions == found


def test_counts_or_missing_words_are_refused(tmp_path: Path) -> None:
    network, predictions, context = fixture(tmp_path, [0.1] * 8)
    weighted = context_of({"words": np.full((3, 1, 8), 0.4)}, context.targets)
    with pytest.raises(DataError, match="weighting=binary"):
        WordedCaption(network, "git").run(predictions, None, weighted)
    with pytest.raises(DataError, match="needs predictions of target 'words'"):
        WordedCaption(network, "git").run(predictions_of({"git": predictions.embeddings["git"]}), None, context)


def test_evidence_chooses_among_plausible_words_and_changes_nothing_else() -> None:
    # Tokens 0 and 1 are words of evidence, 2 one that is implausible here, 3 and 4 have none.
    scores = torch.tensor([[1.0, 0.0, -20.0, 2.0, 3.0]])
    bias = torch.tensor([[-5.0, 5.0, 90.0, 0.0, 0.0]])
    found = steered(torch.tensor([[4]]), scores, bias, reach=8.0)
    assert found[0, 1] > found[0, 0]
    torch.testing.assert_close(found[0, :2].logsumexp(0), scores[0, :2].logsumexp(0))
    torch.testing.assert_close(found[0, 2:], scores[0, 2:])
    said = steered(torch.tensor([[1]]), scores, bias, reach=8.0)
    torch.testing.assert_close(said, scores)


def test_a_batch_without_open_words_stays_finite() -> None:
    scores = torch.randn(2, 4)
    torch.testing.assert_close(steered(torch.tensor([[0], [1]]), scores, torch.zeros(2, 4), reach=8.0), scores)


def test_evidence_lands_on_the_first_token_of_a_word_the_stronger_first() -> None:
    bias = spread(np.array([[1.0, -3.0, 2.0]], np.float32), [4, 4, 0], 6)
    np.testing.assert_array_equal(bias, [[2, 0, 0, 0, -3, 0]])


def test_log_odds_are_finite_and_antisymmetric() -> None:
    found = log_odds(np.array([-3.0, 0.25, 0.5, 0.75, 7.0]))
    np.testing.assert_allclose(found, -found[::-1], atol=1e-5)
    assert np.isfinite(found).all()
