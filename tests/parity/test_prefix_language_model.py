"""Texts after prefix vectors beside direct calls of transformers, and drafted texts beside plain greedy search."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from braindec.frozen.beams import Search
from braindec.frozen.prefix_lm import CachedReader, PrefixLanguageModel
from braindec.types import DataError

PROMPTS = ("", "where is it?", "describe the picture.", "which colour is it?")


@pytest.fixture(scope="module")
def network() -> PrefixLanguageModel:
    return PrefixLanguageModel("tiny/tiny_language")


@pytest.fixture(scope="module")
def prefix(network: PrefixLanguageModel) -> Tensor:
    """Noisy embeddings of words, so that items differ and searches have something to choose."""
    words = ("red boat lake left", "brown dog room right", "white house snow centre", "pink bird city left")
    clean = torch.cat([network.encode_batch([text]) for text in words])
    return clean + 0.5 * clean.std() * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))


def direct(network: PrefixLanguageModel, prefix: Tensor, prompt: str, **options) -> tuple[list[str], list[float]]:
    """One item at a time: texts and scores as transformers gives them when it is called as its documentation says."""
    ids = network.tokenizer_(f"{prompt}<s>", add_special_tokens=False, return_tensors="pt").input_ids
    inputs = torch.cat([prefix[None], network.module.get_input_embeddings()(ids)], dim=1)
    made = network.module.generate(
        inputs_embeds=inputs,
        attention_mask=torch.ones(inputs.shape[:2], dtype=torch.long),
        do_sample=False,
        output_scores=True,
        return_dict_in_generate=True,
        **options,
    )
    texts = network.tokenizer_.batch_decode(made.sequences, skip_special_tokens=True)
    return [text.strip() for text in texts], made.sequences_scores.tolist() if "num_beams" in options else []


def test_greedy_texts_of_a_padded_batch_equal_direct_calls(network: PrefixLanguageModel, prefix: Tensor) -> None:
    found = network.written(prefix, PROMPTS, Search(24))
    expected = [direct(network, own, prompt, max_new_tokens=23)[0] for own, prompt in zip(prefix, PROMPTS, strict=True)]
    assert [ranked[0][0] for ranked in found] == [texts[0] for texts in expected]
    assert len({ranked[0][0] for ranked in found}) == 4


@pytest.mark.parametrize("penalty", [1.0, 0.3])
def test_beams_and_their_scores_equal_direct_calls(
    network: PrefixLanguageModel, prefix: Tensor, penalty: float
) -> None:
    found = network.written(prefix, PROMPTS, Search(18, 6, beams=4, length_penalty=penalty))
    for own, prompt, ranked in zip(prefix, PROMPTS, found, strict=True):
        options = {"num_beams": 4, "num_return_sequences": 4, "length_penalty": penalty, "min_new_tokens": 5}
        texts, scores = direct(network, own, prompt, max_new_tokens=17, **options)
        assert [text for text, _ in ranked] == texts
        torch.testing.assert_close([score for _, score in ranked], scores, rtol=1e-4, atol=1e-4)


def test_one_group_of_our_own_search_is_the_library_s(network: PrefixLanguageModel, prefix: Tensor) -> None:
    search = Search(18, beams=3)
    own = network._diverse(prefix, PROMPTS, search)
    for ranked, theirs in zip(own, network.written(prefix, PROMPTS, search), strict=True):
        assert [text for text, _ in ranked] == [text for text, _ in theirs]
        torch.testing.assert_close([s for _, s in ranked], [s for _, s in theirs], rtol=1e-4, atol=1e-4)
    spread = network.written(prefix, PROMPTS, Search(18, beams=3, groups=3, diversity=30.0))
    assert all(len({text for text, _ in ranked}) > 1 for ranked in spread)


@pytest.mark.parametrize("kind", ["GPT2", "Llama", "OPT"])
def test_a_reader_goes_on_from_what_it_has_read(kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 20}
    more = {"GPT2": {}, "Llama": {"intermediate_size": 24}, "OPT": {"ffn_dim": 24, "word_embed_proj_dim": 16}}[kind]
    config = getattr(transformers, f"{kind}Config")(**sizes, **more)
    module = getattr(transformers, "GPT2LMHeadModel" if kind == "GPT2" else f"{kind}ForCausalLM")(config).eval()
    before = torch.randn(2, 5, 16)
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]])
    rows, tokens = torch.tensor([0, 0, 1, 1]), torch.full((4, 1), 1)
    reader = CachedReader(module, before, mask)
    parents = None
    for step in range(4):
        with torch.no_grad():
            found = reader(rows, tokens, parents)
            anew = CachedReader(module, *whole(module, before[rows], mask[rows], tokens))(torch.arange(4), tokens, None)
        torch.testing.assert_close(found, anew, rtol=1e-4, atol=1e-5)
        parents = torch.tensor([1, 0, 3, 3]) if step % 2 else torch.tensor([1, 1, 2, 3])
        tokens = torch.cat([tokens[parents], torch.randint(20, (4, 1))], dim=1)


def whole(module, before: Tensor, mask: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """All that is to be read, as if it came before."""
    more = module.get_input_embeddings()(tokens[:, 1:])
    return torch.cat([before, more], dim=1), torch.cat([mask, torch.ones_like(tokens[:, 1:])], dim=1)


def test_drafted_texts_are_those_of_greedy_search(network: PrefixLanguageModel, prefix: Tensor, tmp_path: Path) -> None:
    plain = [ranked[0][0] for ranked in network.written(prefix, PROMPTS, Search(40))]
    copied = network.written(prefix, PROMPTS, Search(40, lookup=4))
    assert [ranked[0][0] for ranked in copied] == plain
    torch.manual_seed(0)
    config = network.module.config.__class__(**{**network.module.config.to_dict(), "num_hidden_layers": 1})
    type(network.module)(config).save_pretrained(tmp_path)
    network.tokenizer_.save_pretrained(tmp_path)
    for draft in (str(tmp_path), "tiny/tiny_language"):
        assisted = PrefixLanguageModel("tiny/tiny_language", assistant=draft)
        assert [ranked[0][0] for ranked in assisted.written(prefix, PROMPTS, Search(40))] == plain


def test_good_drafts_spare_calls_of_the_large_model(network: PrefixLanguageModel, prefix: Tensor) -> None:
    calls: list[int] = []

    def counted(work, search: Search) -> int:
        calls.clear()
        work.written(prefix[:1], PROMPTS[2:3], search)
        return len(calls)

    for work in (network, PrefixLanguageModel("tiny/tiny_language", assistant="tiny/tiny_language")):
        hook = work.module.register_forward_hook(lambda *_: calls.append(1))
        steps = counted(work, Search(40))
        hook.remove()
        if work is network:
            plain = steps
    assert steps < plain / 2


def test_what_drafts_cannot_do_is_named(network: PrefixLanguageModel, prefix: Tensor, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="drafts .* are for greedy search; found 3 beams"):
        network.written(prefix, PROMPTS, Search(8, beams=3, lookup=2))
    config = network.module.config.__class__(**{**network.module.config.to_dict(), "vocab_size": 50})
    type(network.module)(config).save_pretrained(tmp_path)
    with pytest.raises(DataError, match="expected the 85 tokens of tiny/tiny_language, found 50"):
        PrefixLanguageModel("tiny/tiny_language", assistant=str(tmp_path)).written(prefix, PROMPTS, Search(8))


def test_the_loss_after_prompts_is_the_library_s(network: PrefixLanguageModel, prefix: Tensor) -> None:
    texts = ("a red boat by a lake", "room", "a white house.", "pink")
    losses, weights = [], []
    for own, prompt, text in zip(prefix, PROMPTS, texts, strict=True):
        ids = network.tokenizer_(f"{prompt}<s>{text}</s>", add_special_tokens=False, return_tensors="pt").input_ids
        inputs = torch.cat([own[None], network.module.get_input_embeddings()(ids)], dim=1)
        said = len(network.tokenizer_(text, add_special_tokens=False).input_ids) + 1
        labels = torch.full(inputs.shape[:2], -100)
        labels[0, -said:] = ids[0, -said:]
        losses.append(float(network.module(inputs_embeds=inputs, labels=labels).loss))
        weights.append(said)
    expected = sum(a * b for a, b in zip(losses, weights, strict=True)) / sum(weights)
    assert float(network.loss(prefix, texts, 24, PROMPTS)) == pytest.approx(expected, rel=1e-5)


def test_rotary_frequencies_keep_their_precision() -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    llama = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, vocab_size=20))
    before = llama.model.rotary_emb.inv_freq.clone()
    adopted = PrefixLanguageModel("made here", dtype="bfloat16").adopt(llama)
    for network in (adopted, adopted.to("cpu")):
        assert network.module.lm_head.weight.dtype == torch.bfloat16
        torch.testing.assert_close(network.module.model.rotary_emb.inv_freq, before, rtol=0, atol=0)
