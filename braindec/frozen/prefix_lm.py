"""A frozen language model that reads vectors in place of its first words.

Legend: N items, P prefix vectors, D their width, L tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

from braindec.frozen.base import Dtype, FrozenNetwork
from braindec.frozen.beams import Search, diverse_beam_search
from braindec.frozen.hub import load_tokenizer, load_transformers
from braindec.frozen.loading import LoadReport
from braindec.frozen.weights import resolve
from braindec.types import DataError

_IGNORED = -100
# CuDNN, torch's first choice on some GPUs, plans attention anew, for some 30 ms, at each length that a text grows to.
_ANY_LENGTH = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
# Older GPT-2 files hold the causal masks as buffers, and none holds the tied head twice.
_TIED = ("lm_head.weight",), ("*.attn.bias", "*.attn.masked_bias")


class PrefixLanguageModel(FrozenNetwork):
    """A decoder-only language model of transformers (GPT-2, OPT, ...), never trained.

    A text is read as prefix vectors, the prompt's tokens, the begin token, the text's tokens, the end token.

    Parameters
    ----------
    assistant : weights of a smaller model with the same vocabulary that drafts tokens for greedy search (speculative
        decoding: the text is the same); None for none.
    """

    modality = "text"

    def __init__(
        self,
        weights: str = "openai-community/gpt2",
        device: str = "cpu",
        dtype: Dtype = "float32",
        batch_size: int = 32,
        assistant: str | None = None,
    ) -> None:
        super().__init__(weights, device, dtype, batch_size)
        self.assistant = assistant
        self.tokenizer_: Any = None
        self._draft: Any = None

    def load(self, path: Path) -> tuple[nn.Module, LoadReport]:
        """Load strictly, with the tokenizer; the head may be tied to the input embeddings."""
        from transformers import AutoModelForCausalLM

        self.tokenizer_ = load_tokenizer(path)
        return load_transformers(AutoModelForCausalLM, path, *_TIED)

    def preprocessing(self) -> dict[str, Any]:
        """Nothing but the tokenizer's own."""
        return {}

    def encode_batch(self, inputs: Sequence[str]) -> Tensor:
        """Input embeddings (N, L, D) of texts of equal length."""
        tokens = torch.tensor([self._ids(text) for text in inputs], device=self.device)
        return self._embed(tokens)

    @property
    def width(self) -> int:
        """Width D of an input vector."""
        return int(self.module.get_input_embeddings().embedding_dim)

    def start_and_end(self) -> tuple[int, int]:
        """The tokens that begin and end a text; where several end one, the first of them."""
        config = self.module.config
        end = config.eos_token_id
        return int(config.bos_token_id), int(end[0] if isinstance(end, list | tuple) else end)

    def check_length(self, prefix: int, prompt: str, max_length: int) -> None:
        """Raise `DataError` when prefix vectors, prompt and text together do not fit into the model's context."""
        limit = getattr(self.module.config, "max_position_embeddings", None)
        own = len(self._ids(prompt))
        if limit is not None and prefix + own + max_length > limit:
            raise DataError(
                f"{self.weights}: reads at most {limit} tokens, but {prefix} prefix vectors, a prompt of {own} tokens "
                f"({prompt[:60]!r}) and texts of up to {max_length} make {prefix + own + max_length}; shorten them"
            )

    def loss(
        self, prefix_NPD: Tensor, texts: Sequence[str], max_length: int, prompts: Sequence[str] | None = None
    ) -> Tensor:
        """Mean negative log-probability of the texts' tokens given prefix and prompt; gradients reach the prefix."""
        start, end = self.start_and_end()
        asked = [[*self._ids(prompt), start] for prompt in prompts or [""] * len(texts)]
        said = [[*self._ids(text)[: max_length - 2], end] for text in texts]
        length = max(len(prompt) + len(text) for prompt, text in zip(asked, said, strict=True))
        tokens, wanted = [], []
        for prompt, text in zip(asked, said, strict=True):
            rest = length - len(prompt) - len(text)
            tokens.append([*prompt, *text, *[end] * rest])
            wanted.append([*[_IGNORED] * len(prompt), *text, *[_IGNORED] * rest])
        tokens_NL, wanted_NL = (torch.tensor(rows, device=prefix_NPD.device) for rows in (tokens, wanted))
        # Rows end in padding, which a causal model's earlier tokens never see.
        inputs = torch.cat([prefix_NPD.to(self.torch_dtype), self._embed(tokens_NL[:, :-1])], dim=1)
        logits = self.module(inputs_embeds=inputs).logits[:, prefix_NPD.shape[1] :]
        return cross_entropy(logits.float().flatten(0, 1), wanted_NL[:, 1:].flatten(), ignore_index=_IGNORED)

    def written(self, prefix_NPD: Tensor, prompts: Sequence[str], search: Search) -> list[list[tuple[str, float]]]:
        """For each prefix and prompt the texts found with their scores, best first (greedy: one, scored 0).

        Greedy and beam search are transformers' own, with its cache; diverse beam search is
        `braindec.frozen.beams.diverse_beam_search`. Drafts, where asked for, are checked by the library, one text at a
        time: the text is that of greedy search.

        Raises
        ------
        DataError
            If prompts are too long for the model's context, or drafts are asked for with beams.
        """
        for prompt in dict.fromkeys(prompts):
            self.check_length(prefix_NPD.shape[1], prompt, search.max_length)
        with sdpa_kernel(_ANY_LENGTH):
            return self._written(prefix_NPD.to(self.torch_dtype), prompts, search)

    def _written(self, prefix_NPD: Tensor, prompts: Sequence[str], search: Search) -> list[list[tuple[str, float]]]:
        if search.groups > 1:
            return self._diverse(prefix_NPD, prompts, search)
        if self.assistant is not None or search.lookup:
            return [self._drafted(prefix, prompt, search) for prefix, prompt in zip(prefix_NPD, prompts, strict=True)]
        inputs, mask = self._inputs(prefix_NPD, prompts)
        made = self.module.generate(
            inputs_embeds=inputs, attention_mask=mask, generation_config=self._generation(search)
        )
        scores = [0.0] * len(made.sequences) if search.beams == 1 else made.sequences_scores.tolist()
        ranked = [(self.text(row), score) for row, score in zip(made.sequences.tolist(), scores, strict=True)]
        return [ranked[place : place + search.beams] for place in range(0, len(ranked), search.beams)]

    def _diverse(self, prefix_NPD: Tensor, prompts: Sequence[str], search: Search) -> list[list[tuple[str, float]]]:
        start, end = self.start_and_end()
        before, mask = self._inputs(prefix_NPD, prompts)
        found = diverse_beam_search(
            lambda: CachedReader(self.module, before, mask), len(prompts), start, end, search, self.device
        )
        return [[(self.text(tokens), score) for score, tokens in ranked] for ranked in found]

    def _drafted(self, prefix_PD: Tensor, prompt: str, search: Search) -> list[tuple[str, float]]:
        """Greedy search over drafts: the prefix lies in the cache, so that the library sees words alone."""
        if search.beams > 1:
            raise DataError(f"Search: drafts (lookup, assistant) are for greedy search; found {search.beams} beams")
        options: dict[str, Any] = {"prompt_lookup_num_tokens": search.lookup} if search.lookup else {}
        if self.assistant is not None:
            options = {"assistant_model": self._assistant()}
        cache = self.module(inputs_embeds=prefix_PD[None], use_cache=True).past_key_values
        ids = torch.tensor([[*self._ids(prompt), self.start_and_end()[0]]], device=self.device)
        seen = torch.ones(1, len(prefix_PD) + ids.shape[1], dtype=torch.long, device=self.device)
        made = self.module.generate(
            input_ids=ids,
            past_key_values=cache,
            attention_mask=seen,
            generation_config=self._generation(search),
            **options,
        )
        return [(self.text(made.sequences[0, ids.shape[1] :].tolist()), 0.0)]

    def _assistant(self) -> Any:
        """The model that drafts; the same vocabulary, loaded strictly on first use."""
        if self._draft is None:
            from transformers import AutoModelForCausalLM

            assert self.assistant is not None
            with torch.inference_mode(mode=False):
                draft, _ = load_transformers(AutoModelForCausalLM, resolve(self.assistant), *_TIED)
            own, other = int(self.module.config.vocab_size), int(draft.config.vocab_size)
            if own != other:
                raise DataError(
                    f"assistant {self.assistant}: expected the {own} tokens of {self.weights}, found {other}"
                )
            self._draft = draft.requires_grad_(False).eval()
        return self._draft.to(self.device, self.torch_dtype)

    def _generation(self, search: Search) -> Any:
        from transformers import GenerationConfig

        config = self.module.config
        end = config.eos_token_id
        return GenerationConfig(
            bos_token_id=config.bos_token_id,
            eos_token_id=end,
            pad_token_id=self.start_and_end()[1],
            max_new_tokens=search.max_length - 1,
            min_new_tokens=max(0, search.min_length - 1),
            num_beams=search.beams,
            num_return_sequences=search.beams,
            length_penalty=search.length_penalty if search.beams > 1 else None,
            do_sample=False,
            return_dict_in_generate=True,
            # transformers returns the scores of beams only together with those of every step.
            output_scores=search.beams > 1,
        )

    def _inputs(self, prefix_NPD: Tensor, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Prefix, prompt and begin token of each row, padded on the left, and the mask (N, L) of what is there."""
        start = self.start_and_end()[0]
        ids = [[*self._ids(prompt), start] for prompt in prompts]
        length = max(map(len, ids))
        rows, masks = [], []
        for prefix_PD, own in zip(prefix_NPD, ids, strict=True):
            rest = length - len(own)
            words = self._embed(torch.tensor(own, device=prefix_PD.device))
            rows.append(torch.cat([words.new_zeros(rest, words.shape[1]), prefix_PD, words]))
            masks.append([0] * rest + [1] * (len(prefix_PD) + len(own)))
        return torch.stack(rows), torch.tensor(masks, device=prefix_NPD.device)

    def text(self, tokens: Sequence[int]) -> str:
        """Words of tokens, without the special ones."""
        return str(self.tokenizer_.decode(list(tokens), skip_special_tokens=True)).strip()

    def _ids(self, text: str) -> list[int]:
        _ = self.module
        return list(self.tokenizer_(text, add_special_tokens=False).input_ids)

    def _embed(self, tokens_NL: Tensor) -> Tensor:
        return self.module.get_input_embeddings()(tokens_NL)


class CachedReader:
    """Logits of the next token of a decoder-only model; keys and values of what was read are kept.

    Parameters
    ----------
    before, mask : input embeddings (N, L, D) that end in the begin token, and where they are not padding (N, L).
    """

    def __init__(self, module: Any, before: Tensor, mask: Tensor) -> None:
        self.module, self.before, self.mask = module, before, mask
        self.cache: Any = None

    def __call__(self, rows: Tensor, tokens_RL: Tensor, parents: Tensor | None) -> Tensor:
        """Logits (R, V), see `braindec.frozen.beams.NextLogits`."""
        if parents is None:
            inputs, seen = self.before[rows], self.mask[rows]
        else:
            self.cache.reorder_cache(parents)
            inputs = self.module.get_input_embeddings()(tokens_RL[:, -1:])
            # What comes before holds the begin token already.
            seen = torch.cat([self.mask[rows], torch.ones_like(tokens_RL[:, 1:])], dim=1)
        places = (seen.cumsum(dim=1) - 1).clamp(min=0)[:, -inputs.shape[1] :]
        read = self.module(
            inputs_embeds=inputs, attention_mask=seen, position_ids=places, past_key_values=self.cache, use_cache=True
        )
        self.cache = read.past_key_values
        return read.logits[:, -1]
