"""Captioners: features of their image tower, and captions from true or predicted features.

Legend: N images, K tokens, D dimensions, H W height and width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from braindec.contracts import Progress, no_progress
from braindec.frozen.base import Dtype, FrozenNetwork
from braindec.frozen.beams import NextLogits, Search, diverse_beam_search
from braindec.frozen.hub import load_tokenizer, load_transformers, read_preprocessing
from braindec.frozen.images import CLIP_MEAN, CLIP_SD, ImagePreprocessing
from braindec.frozen.loading import LoadReport
from braindec.types import DataError


class Captioner(FrozenNetwork):
    """An image tower (N, K, D) and a language decoder that reads its features."""

    preprocessing_: ImagePreprocessing
    tokenizer_: Any = None

    @property
    @abstractmethod
    def model_class(self) -> Any:
        """The transformers class of the whole network."""

    @abstractmethod
    def tower_place(self) -> tuple[Any, str]:
        """The module that holds the image tower, and the tower's name in it."""

    def load(self, path: Path) -> tuple[nn.Module, LoadReport]:
        """Load strictly, with the tokenizer and the published preprocessing."""
        self.tokenizer_ = load_tokenizer(path)
        self.preprocessing_ = read_preprocessing(path, self.preprocessing_)
        return load_transformers(self.model_class, path)

    def preprocessing(self) -> dict[str, Any]:
        """Published resize, crop and statistics."""
        _ = self.module
        return self.preprocessing_.describe()

    def encode_batch(self, inputs: np.ndarray) -> Tensor:
        """Features (N, K, D) of uint8 images (N, H, W, 3), after the tower's last layer norm."""
        owner, name = self.tower_place()
        pixels = self.preprocessing_(inputs, self.device).to(self.torch_dtype)
        return getattr(owner, name)(pixels).last_hidden_state

    def captions(
        self,
        values: np.ndarray,
        max_length: int = 25,
        min_length: int = 0,
        beams: int = 1,
        progress: Progress = no_progress,
        adjust: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> tuple[str, ...]:
        """Captions of features (n, K, D), the most probable by greedy or beam search.

        Parameters
        ----------
        max_length, min_length : tokens of a caption at most and at least, special tokens counted.
        beams : width of the beam search; 1 is greedy.
        adjust : tokens so far (b, L) and scores of the next (b, V) -> scores to use; needs all features in one batch.

        Raises
        ------
        DataError
            If the features do not have the tower's width.
        """
        if adjust is not None and len(values) > self.batch_size:
            raise DataError(f"{type(self).__name__}: adjusted scores need one batch, found {len(values)} features")
        search, found = Search(max_length, min_length, beams), list[str]()
        for start in progress(range(0, len(values), self.batch_size), f"{type(self).__name__} (captions)"):
            ranked = self.candidates(values[start : start + self.batch_size], search, adjust)
            found += [best[0][0] for best in ranked]
        return tuple(found)

    @abstractmethod
    def reader(self, features_NKD: Tensor) -> NextLogits:
        """Gives logits of the token after each row of tokens, and keeps keys and values of what it has read."""

    @abstractmethod
    def start_and_end(self) -> tuple[int, int]:
        """The tokens that begin and end a caption."""

    def candidates(
        self, values: np.ndarray, search: Search, adjust: Callable[[Tensor, Tensor], Tensor] | None = None
    ) -> tuple[tuple[tuple[str, float], ...], ...]:
        """For each of the features (n, K, D) the captions found, with their scores, best first; repeats left out.

        Parameters
        ----------
        adjust : as in `captions`; for greedy search, whose rows are the features'.

        Raises
        ------
        DataError
            If the features do not have the tower's width.
        """
        self._check(values)
        if adjust is not None and search.beams > 1:
            raise DataError(f"{type(self).__name__}: scores are adjusted in greedy search, found {search.beams} beams")
        start, end = self.start_and_end()
        features = torch.as_tensor(values, device=self.device).to(self.torch_dtype)
        with torch.inference_mode(), features_given(*self.tower_place()):
            found = diverse_beam_search(
                lambda: _Adjusted(self.reader(features), adjust), len(values), start, end, search, self.device
            )
        worded = []
        for ranked in found:
            texts = self.tokenizer_.batch_decode([tokens for _, tokens in ranked], skip_special_tokens=True)
            best: dict[str, float] = {}
            for text, (score, _) in zip(texts, ranked, strict=True):
                best.setdefault(text.strip(), score)
            worded.append(tuple(best.items()))
        return tuple(worded)

    def first_tokens(self, words: Sequence[str]) -> list[int]:
        """The token that begins each word."""
        _ = self.module
        return [int(self.tokenizer_(word, add_special_tokens=False).input_ids[0]) for word in words]

    def n_tokens(self) -> int:
        """Size of the language decoder's vocabulary."""
        config = self.module.config
        return int(getattr(config, "text_config", config).vocab_size)

    def _check(self, values: np.ndarray) -> None:
        width = self.module.config.vision_config.hidden_size
        if values.ndim != 3 or values.shape[2] != width:
            raise DataError(f"{self.weights}: expected features (n, token, {width}), found {values.shape}")


class GitCaptioner(Captioner):
    """GIT: features (197, 768) of GIT-base.

    Source: Wang et al. 2022 (GIT); features to captions as in Ferrante et al. 2023 (Brain Captioning).
    """

    def __init__(
        self,
        weights: str = "microsoft/git-base-coco",
        device: str = "cpu",
        dtype: Dtype = "float32",
        batch_size: int = 64,
    ) -> None:
        super().__init__(weights, device, dtype, batch_size)
        self.preprocessing_ = ImagePreprocessing(resize=224, crop=224, mean=CLIP_MEAN, sd=CLIP_SD)

    @property
    def model_class(self) -> Any:
        """GIT with its language head."""
        from transformers import GitForCausalLM

        return GitForCausalLM

    def tower_place(self) -> tuple[Any, str]:
        """The tower lies in ``git.image_encoder``."""
        return self.module.git, "image_encoder"

    def reader(self, features_NKD: Tensor) -> NextLogits:
        """The language head reads features and tokens as one sequence."""
        return _GitReader(self.module, features_NKD)

    def start_and_end(self) -> tuple[int, int]:
        """BERT's ``[CLS]`` and ``[SEP]``."""
        config = self.module.config
        return int(config.bos_token_id), int(config.eos_token_id)


class BlipCaptioner(Captioner):
    """BLIP: features (577, 1024) of BLIP-large at 384 px.

    Source: Li et al. 2022 (BLIP); features to captions as in Takagi and Nishimoto's technical report (2306.11536).
    """

    def __init__(
        self,
        weights: str = "Salesforce/blip-image-captioning-large",
        device: str = "cpu",
        dtype: Dtype = "float32",
        batch_size: int = 32,
    ) -> None:
        super().__init__(weights, device, dtype, batch_size)
        self.preprocessing_ = ImagePreprocessing(resize=(384, 384), mean=CLIP_MEAN, sd=CLIP_SD)

    @property
    def model_class(self) -> Any:
        """BLIP with its text decoder."""
        from transformers import BlipForConditionalGeneration

        return BlipForConditionalGeneration

    def tower_place(self) -> tuple[Any, str]:
        """The tower lies in ``vision_model``."""
        return self.module, "vision_model"

    def reader(self, features_NKD: Tensor) -> NextLogits:
        """The text decoder attends to the features."""
        return _BlipReader(self.module.text_decoder, features_NKD)

    def start_and_end(self) -> tuple[int, int]:
        """As BLIP's own generation has them."""
        config = self.module.config.text_config
        return int(config.bos_token_id), int(config.sep_token_id)


@dataclass(frozen=True)
class _Adjusted:
    """A reader whose logits are adjusted in the light of the tokens so far."""

    read: NextLogits
    adjust: Callable[[Tensor, Tensor], Tensor] | None

    def __call__(self, rows: Tensor, tokens_RL: Tensor, parents: Tensor | None) -> Tensor:
        logits_RV = self.read(rows, tokens_RL, parents)
        return logits_RV if self.adjust is None else self.adjust(tokens_RL, logits_RV)


class _GitReader:
    """Reads features (N, K, D) and the first token, then a token at a time."""

    def __init__(self, module: Any, features_NKD: Tensor) -> None:
        self.module, self.features_NKD = module, features_NKD
        self.cache: Any = None

    def __call__(self, rows: Tensor, tokens_RL: Tensor, parents: Tensor | None) -> Tensor:
        if parents is None:
            given = {"input_ids": tokens_RL, "pixel_values": self.features_NKD[rows].unsqueeze(1)}
        else:
            self.cache.reorder_cache(parents)
            # Left to itself transformers 5 counts the picture's tokens in the cache into the words' positions.
            place = torch.full_like(tokens_RL[:, -1:], tokens_RL.shape[1] - 1)
            given = {"input_ids": tokens_RL[:, -1:], "position_ids": place, "past_key_values": self.cache}
        read = self.module(**given, use_cache=True)
        self.cache = read.past_key_values
        return read.logits[:, -1]


class _BlipReader:
    """Reads a token at a time; keys and values of the features (N, K, D) are made once."""

    def __init__(self, module: Any, features_NKD: Tensor) -> None:
        from transformers import DynamicCache, EncoderDecoderCache

        self.module, self.features_NKD = module, features_NKD
        self.words: Any = DynamicCache()
        self.cache = EncoderDecoderCache(self.words, DynamicCache())

    def __call__(self, rows: Tensor, tokens_RL: Tensor, parents: Tensor | None) -> Tensor:
        if parents is not None:
            # The features' need no new order: a row and its parent belong to the same item.
            self.words.reorder_cache(parents)
        read = self.module(
            input_ids=tokens_RL[:, -1:],
            encoder_hidden_states=self.features_NKD[rows],
            past_key_values=self.cache,
            use_cache=True,
        )
        return read.logits[:, -1]


class _GivenFeatures(nn.Module):
    """Stands in for the image tower where its output is known already."""

    def forward(self, pixel_values: Tensor, **options: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutput

        return BaseModelOutput(last_hidden_state=pixel_values.squeeze(1))


@contextmanager
def features_given(owner: Any, name: str) -> Iterator[None]:
    """While it lasts, the image tower ``owner.name`` takes features (N, 1, K, D) for pictures and returns them."""
    tower = getattr(owner, name)
    setattr(owner, name, _GivenFeatures())
    try:
        yield
    finally:
        setattr(owner, name, tower)
