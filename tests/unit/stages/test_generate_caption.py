from __future__ import annotations

import numpy as np
import pytest
import torch

from braindec.contracts import Stage
from braindec.frozen.beams import Search, diverse_beam_search
from braindec.frozen.captioners import GitCaptioner
from braindec.stages.generate_caption import GenerateCaption
from braindec.types import DataError, Reconstructions
from tests.unit.stages.generative import context_of, predictions_of
from tests.unit.stages.tiny_captioners import save_git

END = 0


def chain_logits(rows: torch.Tensor, tokens: torch.Tensor, parents: torch.Tensor | None = None) -> torch.Tensor:
    """A fixed random Markov chain over 6 tokens, another one for each item."""
    table = torch.randn(3, 6, 6, generator=torch.Generator().manual_seed(0)) * 2
    return table[rows, tokens[:, -1]]


def test_without_penalty_each_group_is_a_plain_search() -> None:
    plain = diverse_beam_search(lambda: chain_logits, 3, 1, END, Search(6, beams=2))
    grouped = diverse_beam_search(lambda: chain_logits, 3, 1, END, Search(6, beams=6, groups=3, diversity=0.0))
    for own, one in zip(grouped, plain, strict=True):
        assert own == sorted(one * 3, reverse=True)


def test_a_full_beam_finds_the_most_probable_caption() -> None:
    found = diverse_beam_search(lambda: chain_logits, 3, 1, END, Search(4, beams=216, length_penalty=0.0))
    for item, ranked in enumerate(found):
        every = all_captions(item, (1,), 0.0)
        assert ranked[0][0] == pytest.approx(max(every.values()), abs=1e-4)
        assert every[ranked[0][1]] == pytest.approx(ranked[0][0], abs=1e-4)


def all_captions(item: int, prefix: tuple[int, ...], score: float) -> dict[tuple[int, ...], float]:
    """Every caption of up to four tokens with its log-probability, by brute force."""
    found = {}
    log = chain_logits(torch.tensor([item]), torch.tensor([prefix])).log_softmax(dim=-1)[0].tolist()
    for token, value in enumerate(log):
        if token == END:
            found[prefix] = score + value
        elif len(prefix) == 3:
            found[(*prefix, token)] = score + value
        else:
            found |= all_captions(item, (*prefix, token), score + value)
    return found


def test_parents_lead_back_to_the_row_that_each_row_grew_out_of() -> None:
    class Reader:
        seen: torch.Tensor | None = None

        def __call__(self, rows: torch.Tensor, tokens: torch.Tensor, parents: torch.Tensor | None) -> torch.Tensor:
            if self.seen is not None:
                assert parents is not None
                assert torch.equal(self.seen[parents], tokens[:, :-1])
                assert torch.equal(rows[parents], rows)
                moved.append(not torch.equal(parents, torch.arange(len(parents))))
            self.seen = tokens
            return chain_logits(rows, tokens)

    moved: list[bool] = []
    diverse_beam_search(Reader, 3, 1, END, Search(7, beams=6, groups=2))
    assert any(moved)


def test_groups_are_kept_apart() -> None:
    found = diverse_beam_search(
        lambda: chain_logits, 3, 1, END, Search(6, min_length=3, beams=3, groups=3, diversity=50.0)
    )
    assert all(len({tokens[1] for _, tokens in ranked}) == 3 for ranked in found)
    assert all(len(tokens) >= 3 for ranked in found for _, tokens in ranked)


class FirstLetters:
    """A target of texts: counts of letters."""

    def embed(self, stimuli):
        return np.array([[[text.count(c) for c in "aeot"]] for (text,) in stimuli.captions], np.float32)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> GitCaptioner:
    return GitCaptioner(str(save_git(tmp_path_factory.mktemp("weights") / "git")), batch_size=4)


def test_captions_join_earlier_pictures_and_do_not_depend_on_the_batch(network: GitCaptioner) -> None:
    rng = np.random.default_rng(0)
    predictions = predictions_of({"git": 2 * rng.normal(size=(5, 5, 24)), "letters": rng.normal(size=(5, 1, 4))})
    images = np.zeros((5, 2, 2, 3), np.uint8)
    previous = Reconstructions(predictions.table, images=images, chain=("before",))
    context = context_of({}, {"letters": FirstLetters()})
    searches = [Search(8, beams=2), Search(8, beams=4, groups=2)]
    for stage in [*(GenerateCaption(network, "git", s) for s in searches)]:
        assert isinstance(stage, Stage)
        made = stage.run(predictions, previous, context)
        assert made.chain == ("before", "generate_caption(git)")
        assert made.images is images
        alone = stage.run(predictions.select(np.array([3])), None, context)
        assert alone.captions == made.captions[3:4]
    ranked = GenerateCaption(network, "git", searches[1], rank_by="letters").run(predictions, None, context)
    options = network.candidates(predictions.embeddings["git"], searches[1])
    for item, text in enumerate(ranked.captions):
        wanted = predictions.embeddings["letters"][item, 0]
        cosines = {}
        for candidate, _ in options[item]:
            counts = np.array([candidate.count(c) for c in "aeot"], np.float32)
            cosines[candidate] = counts @ wanted / max(float(np.linalg.norm(counts)), 1e-9)
        assert cosines[text] == pytest.approx(max(cosines.values()), abs=1e-5)


def test_what_is_wrong_is_named(network: GitCaptioner) -> None:
    with pytest.raises(DataError, match=r"search.lookup is of language models \(prefix_llm\)"):
        GenerateCaption(network, "git", Search(lookup=4))
    stage = GenerateCaption(network, "git", Search())
    with pytest.raises(DataError, match="needs predictions of target 'git'"):
        stage.run(predictions_of({"other": np.zeros((1, 5, 24))}), None, context_of({}))
    with pytest.raises(DataError, match="expected features"):
        stage.run(predictions_of({"git": np.zeros((1, 5, 7))}), None, context_of({}))
    with pytest.raises(DataError, match="multiple of groups"):
        Search(beams=3, groups=2)
