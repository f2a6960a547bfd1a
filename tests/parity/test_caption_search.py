"""Our search over captioners beside transformers' generation, same random weights and features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from braindec.frozen.beams import Search
from braindec.frozen.captioners import BlipCaptioner, Captioner, GitCaptioner, features_given
from tests.unit.stages.tiny_captioners import save_blip, save_git


@pytest.fixture(scope="module", params=["git", "blip"])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Captioner:
    folder: Path = tmp_path_factory.mktemp("weights") / request.param
    if request.param == "git":
        return GitCaptioner(str(save_git(folder)))
    return BlipCaptioner(str(save_blip(folder)))


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("min_length", [0, 6])
def test_one_group_is_the_library_s_search(network: Captioner, beams: int, min_length: int) -> None:
    features = 2 * np.random.default_rng(0).normal(size=(6, 5, 24)).astype(np.float32)
    limits = {"max_length": 9, "min_length": min_length, "num_beams": beams}
    with features_given(*network.tower_place()):
        # Without a cache: with one, transformers 5 counts the picture's tokens into GIT's word positions.
        pixels = torch.from_numpy(features).unsqueeze(1)
        tokens = network.module.generate(pixel_values=pixels, use_cache=False, **limits)
    expected = [text.strip() for text in network.tokenizer_.batch_decode(tokens, skip_special_tokens=True)]
    found = network.candidates(features, Search(9, min_length, beams))
    assert [ranked[0][0] for ranked in found] == expected
    assert len(set(expected)) > 1


def test_scores_of_the_n_best_equal_the_library_s(network: Captioner) -> None:
    if not isinstance(network, GitCaptioner):
        pytest.skip("BLIP's generation gives no scores of its own")
    pictures = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 3), dtype=np.uint8)
    result = network.module.generate(
        pixel_values=network.preprocessing_(pictures),
        max_length=8,
        num_beams=4,
        num_return_sequences=4,
        output_scores=True,
        return_dict_in_generate=True,
    )
    texts = [t.strip() for t in network.tokenizer_.batch_decode(result.sequences, skip_special_tokens=True)]
    expected: list[dict[str, float]] = [{}, {}, {}]
    for number, (text, score) in enumerate(zip(texts, result.sequences_scores.tolist(), strict=True)):
        expected[number // 4].setdefault(text, score)
    found = network.candidates(network.encode(pictures), Search(8, beams=4))
    for own, theirs in zip(found, expected, strict=True):
        assert [text for text, _ in own] == list(theirs)
        torch.testing.assert_close([s for _, s in own], list(theirs.values()), atol=1e-4, rtol=1e-4)
