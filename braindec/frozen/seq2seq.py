"""A frozen sequence-to-sequence language model that reads embeddings in place of a text's encoder states.

Legend: N texts, K tokens read, L tokens written, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from braindec.contracts import Progress, no_progress
from braindec.frozen.base import Dtype, FrozenNetwork
from braindec.frozen.captions import flatten_captions, mean_by_entry
from braindec.frozen.hub import load_tokenizer, load_transformers
from braindec.frozen.loading import LoadReport
from braindec.frozen.weights import resolve
from braindec.types import DataError

IGNORED = -100
"""Label of a padded place: it has no loss."""


class Seq2Seq(FrozenNetwork):
    """T5 or Flan-T5: encoder states of texts, the loss of a text given states, and texts generated from states.

    Parameters
    ----------
    length : tokens (K) that a text's encoder states are cut or padded to; zero where the text has ended.
    max_captions : how many of a stimulus's texts are averaged.

    Source: Raffel et al. 2020 (T5), Chung et al. 2022 (Flan-T5).
    """

    modality = "text"

    def __init__(
        self,
        weights: str = "google/flan-t5-large",
        device: str = "cpu",
        dtype: Dtype = "float32",
        batch_size: int = 32,
        length: int = 96,
        max_captions: int = 1,
    ) -> None:
        super().__init__(weights, device, dtype, batch_size)
        self.length = length
        self.max_captions = max_captions
        self.tokenizer_: Any = None

    def load(self, path: Path) -> tuple[nn.Module, LoadReport]:
        """Load strictly, with the tokenizer."""
        from transformers import T5ForConditionalGeneration

        self.tokenizer_ = load_tokenizer(path)
        # The output layer is the transposed input embedding where a configuration ties the two.
        tied = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
        return load_transformers(T5ForConditionalGeneration, path, allow_missing=tied)

    def preprocessing(self) -> dict[str, Any]:
        """How texts are cut."""
        return {"length": self.length, "max_captions": self.max_captions}

    def encode_batch(self, inputs: Sequence[str | Sequence[str]]) -> Tensor:
        """Encoder states (N, K, D) of N texts, or of N groups of texts."""
        texts, counts = flatten_captions(inputs, self.max_captions)
        module = self.module
        tokens = self._tokens(texts, self.length)
        states = module.encoder(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state
        return mean_by_entry(states.float() * tokens.attention_mask.unsqueeze(2).float(), counts)

    def ids(self, texts: Sequence[str], length: int) -> np.ndarray:
        """Tokens int64 (N, L) of texts, the end token included, `IGNORED` where a text has ended."""
        tokens = self._tokens(list(texts), length)
        ids = torch.where(tokens.attention_mask.bool(), tokens.input_ids, torch.tensor(IGNORED, device=self.device))
        return np.asarray(ids.cpu().numpy(), dtype=np.int64)

    def loss(self, states_NKD: Tensor, ids_NL: Tensor) -> Tensor:
        """Mean cross entropy of each written token given the true ones before it, differentiable in the states."""
        from transformers.modeling_outputs import BaseModelOutput

        self._check(states_NKD.shape[-1])
        encoded = BaseModelOutput(last_hidden_state=states_NKD.to(self.torch_dtype))
        logits_NLV = self.module(encoder_outputs=encoded, labels=ids_NL).logits.float()
        return nn.functional.cross_entropy(logits_NLV.flatten(0, 1), ids_NL.flatten(), ignore_index=IGNORED)

    def texts(
        self, values: np.ndarray, max_length: int = 48, beams: int = 1, progress: Progress = no_progress
    ) -> tuple[str, ...]:
        """Texts generated from states (N, K, D) alone, token after token, without any true token (greedy or beams).

        Raises
        ------
        DataError
            If the states do not have the network's width.
        """
        from transformers.modeling_outputs import BaseModelOutput

        module = self.module
        self._check(values.shape[-1])
        found: list[str] = []
        for start in progress(range(0, len(values), self.batch_size), f"{type(self).__name__} (texts)"):
            batch = torch.as_tensor(values[start : start + self.batch_size], device=self.device).to(self.torch_dtype)
            with torch.inference_mode():
                tokens = module.generate(
                    encoder_outputs=BaseModelOutput(last_hidden_state=batch),
                    attention_mask=torch.ones(batch.shape[:2], dtype=torch.long, device=self.device),
                    max_new_tokens=max_length,
                    num_beams=beams,
                    do_sample=False,
                )
            found += [text.strip() for text in self.tokenizer_.batch_decode(tokens, skip_special_tokens=True)]
        return tuple(found)

    def _tokens(self, texts: list[str], length: int) -> Any:
        if self.tokenizer_ is None:
            # Counting tokens needs no weights.
            self.tokenizer_ = load_tokenizer(resolve(self.weights))
        return self.tokenizer_(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt").to(
            self.device
        )

    def _check(self, width: int) -> None:
        own = int(self.module.config.d_model)
        if width != own:
            raise DataError(f"{self.weights}: expected states of {own} dimensions, found {width}")
