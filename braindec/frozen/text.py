"""Text encoders other than CLIP's: sentence embeddings and T5 tokens.

Legend: N texts, K tokens, D dimensions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from braindec.frozen.base import Dtype, FrozenNetwork
from braindec.frozen.captions import flatten_captions, mean_by_entry
from braindec.frozen.hub import load_tokenizer, load_transformers
from braindec.frozen.loading import LoadReport
from braindec.types import DataError

_T5 = ("t5", "mt5", "umt5")
_DECODER_ONLY = ("decoder.*", "lm_head.*")


class TextEncoder(FrozenNetwork):
    """A transformers text encoder; a stimulus with several texts gets the mean of their embeddings.

    Parameters
    ----------
    output : ``sentence`` (1, D), the mean over a text's tokens divided by its norm, as sentence-transformers does;
        ``tokens`` (length, D), the last layer, zero where the text has ended.
    length : tokens that a text is cut or padded to.
    max_captions : how many of a stimulus's texts are averaged.
    layer : which hidden layer, counted from 1; None takes the last.

    Source: Reimers and Gurevych 2019 (mean pooling); Raffel et al. 2020 (T5).
    """

    modality = "text"

    def __init__(
        self,
        weights: str,
        device: str = "cpu",
        dtype: Dtype = "float32",
        batch_size: int = 64,
        output: Literal["sentence", "tokens"] = "sentence",
        length: int = 128,
        max_captions: int = 5,
        layer: int | None = None,
    ) -> None:
        super().__init__(weights, device, dtype, batch_size)
        self.output = output
        self.length = length
        self.max_captions = max_captions
        self.layer = layer
        self.tokenizer_: Any = None

    def load(self, path: Path) -> tuple[nn.Module, LoadReport]:
        """Load strictly; of an encoder-decoder only the encoder."""
        from transformers import AutoModel, T5EncoderModel

        if not (path / "config.json").is_file():
            raise DataError(f"{path}: expected a transformers folder with config.json, found none")
        kind = json.loads((path / "config.json").read_text(encoding="utf-8")).get("model_type")
        self.tokenizer_ = load_tokenizer(path)
        if kind in _T5:
            return load_transformers(T5EncoderModel, path, allow_unexpected=_DECODER_ONLY)
        return load_transformers(AutoModel, path, allow_unexpected=("cls.*",))

    def preprocessing(self) -> dict[str, Any]:
        """How texts are cut and what of them is kept."""
        described = {"output": self.output, "length": self.length, "max_captions": self.max_captions}
        return described if self.layer is None else {**described, "layer": self.layer}

    def encode_batch(self, inputs: Sequence[str | Sequence[str]]) -> Tensor:
        """Embeddings (N, K, D) of N texts, or of N groups of texts."""
        texts, counts = flatten_captions(inputs, self.max_captions)
        module = self.module
        tokens = self.tokenizer_(
            texts, padding="max_length", max_length=self.length, truncation=True, return_tensors="pt"
        ).to(self.device)
        options = {} if self.layer is None else {"output_hidden_states": True}
        result = module(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, **options)
        last = result.last_hidden_state if self.layer is None else result.hidden_states[self.layer]
        mask_NK1 = tokens.attention_mask.unsqueeze(2).float()
        kept_NKD = last.float() * mask_NK1
        if self.output == "tokens":
            return mean_by_entry(kept_NKD, counts)
        mean_N1D = kept_NKD.sum(dim=1, keepdim=True) / mask_NK1.sum(dim=1, keepdim=True)
        return mean_by_entry(mean_N1D / mean_N1D.norm(dim=-1, keepdim=True), counts)
