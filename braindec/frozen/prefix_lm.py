"""A frozen language model that reads vectors in place of its first words.

Legend: N items, P prefix vectors, D their width, L tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from braindec.frozen.base import Dtype, FrozenNetwork
from braindec.frozen.hub import load_tokenizer, load_transformers
from braindec.frozen.loading import LoadReport

_IGNORED = -100


class PrefixLanguageModel(FrozenNetwork):
    """A decoder-only language model of transformers (GPT-2, OPT, ...), never trained.

    A text is read as prefix vectors, the prompt's tokens, the begin token, the text's tokens, the end token.
    """

    modality = "text"

    def __init__(
        self,
        weights: str = "openai-community/gpt2",
        device: str = "cpu",
        dtype: Dtype = "float32",
        batch_size: int = 32,
    ) -> None:
        super().__init__(weights, device, dtype, batch_size)
        self.tokenizer_: Any = None

    def load(self, path: Path) -> tuple[nn.Module, LoadReport]:
        """Load strictly, with the tokenizer; the head may be tied to the input embeddings."""
        from transformers import AutoModelForCausalLM

        self.tokenizer_ = load_tokenizer(path)
        # Older GPT-2 files hold the causal masks as buffers, and none holds the tied head twice.
        buffers = ("*.attn.bias", "*.attn.masked_bias")
        return load_transformers(AutoModelForCausalLM, path, ("lm_head.weight",), buffers)

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
        """The tokens that begin and end a text."""
        config = self.module.config
        return int(config.bos_token_id), int(config.eos_token_id)

    def loss(self, prefix_NPD: Tensor, texts: Sequence[str], max_length: int) -> Tensor:
        """Mean negative log-probability of the texts' tokens given their prefixes; gradients reach the prefix."""
        start, end = self.start_and_end()
        rows = [[start, *self._ids(text)[: max_length - 2], end] for text in texts]
        length = max(map(len, rows))
        tokens = torch.tensor([row + [end] * (length - len(row)) for row in rows], device=prefix_NPD.device)
        wanted = torch.tensor([row + [_IGNORED] * (length - len(row)) for row in rows], device=prefix_NPD.device)
        inputs = torch.cat([prefix_NPD.to(self.torch_dtype), self._embed(tokens[:, :-1])], dim=1)
        logits = self.module(inputs_embeds=inputs).logits[:, prefix_NPD.shape[1] :]
        return cross_entropy(logits.float().flatten(0, 1), wanted[:, 1:].flatten(), ignore_index=_IGNORED)

    def next_logits(self, prefix_RPD: Tensor, tokens_RL: Tensor, prompt: str = "") -> Tensor:
        """Logits (R, V) of the token after each row of tokens, which begin with the begin token."""
        parts = [prefix_RPD.to(self.torch_dtype)]
        if prompt:
            ids = torch.tensor([self._ids(prompt)], device=tokens_RL.device)
            parts.append(self._embed(ids).expand(len(tokens_RL), -1, -1))
        parts.append(self._embed(tokens_RL))
        return self.module(inputs_embeds=torch.cat(parts, dim=1)).logits[:, -1]

    def text(self, tokens: Sequence[int]) -> str:
        """Words of tokens, without the special ones."""
        return str(self.tokenizer_.decode(list(tokens), skip_special_tokens=True)).strip()

    def _ids(self, text: str) -> list[int]:
        _ = self.module
        return list(self.tokenizer_(text, add_special_tokens=False).input_ids)

    def _embed(self, tokens_NL: Tensor) -> Tensor:
        return self.module.get_input_embeddings()(tokens_NL)
