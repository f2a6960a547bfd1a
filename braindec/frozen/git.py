"""GIT: vision features of a captioner, and captions from such features.

Legend: N images, K tokens, D dimensions, H W height and width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from braindec.contracts import Progress, no_progress
from braindec.frozen.base import Dtype, FrozenNetwork
from braindec.frozen.hub import load_tokenizer, load_transformers, read_preprocessing
from braindec.frozen.images import CLIP_MEAN, CLIP_SD, ImagePreprocessing
from braindec.frozen.loading import LoadReport
from braindec.types import DataError


class GitCaptioner(FrozenNetwork):
    """Vision features (197, 768) of GIT-base, and captions decoded from true or predicted features.

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
        self.tokenizer_: Any = None

    def load(self, path: Path) -> tuple[nn.Module, LoadReport]:
        """Load strictly, with the tokenizer and the published preprocessing."""
        from transformers import GitForCausalLM

        self.tokenizer_ = load_tokenizer(path)
        self.preprocessing_ = read_preprocessing(path, self.preprocessing_)
        return load_transformers(GitForCausalLM, path)

    def preprocessing(self) -> dict[str, Any]:
        """Published resize, crop and statistics."""
        _ = self.module
        return self.preprocessing_.describe()

    def encode_batch(self, inputs: np.ndarray) -> Tensor:
        """Vision features (N, K, D) of uint8 images (N, H, W, 3), after the tower's last layer norm."""
        module = self.module
        pixels = self.preprocessing_(inputs, self.device).to(self.torch_dtype)
        return module.git.image_encoder(pixels).last_hidden_state

    def captions(
        self, values: np.ndarray, max_length: int = 25, beams: int = 1, progress: Progress = no_progress
    ) -> tuple[str, ...]:
        """Captions of vision features (n, K, D), the most probable by greedy or beam search.

        Parameters
        ----------
        max_length : tokens of a caption at most.
        beams : width of the beam search; 1 is greedy.

        Raises
        ------
        DataError
            If the features do not have the tower's width.
        """
        module = self.module
        width = module.config.vision_config.hidden_size
        if values.ndim != 3 or values.shape[2] != width:
            raise DataError(f"{self.weights}: expected features (n, token, {width}), found {values.shape}")
        found: list[str] = []
        for start in progress(range(0, len(values), self.batch_size), "GIT captions"):
            batch = torch.as_tensor(values[start : start + self.batch_size], device=self.device).to(self.torch_dtype)
            with torch.inference_mode(), _features_given(module.git):
                # Generation wants pictures with four axes; the stand-in takes the third away again. Without a cache:
                # transformers 5.17 counts the picture's tokens into the words' positions when it uses one.
                tokens = module.generate(
                    pixel_values=batch.unsqueeze(1), max_length=max_length, num_beams=beams, use_cache=False
                )
            found += [text.strip() for text in self.tokenizer_.batch_decode(tokens, skip_special_tokens=True)]
        return tuple(found)


class _GivenFeatures(nn.Module):
    """Stands in for the image tower where its output is known already."""

    def forward(self, pixel_values: Tensor, **options: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutput

        return BaseModelOutput(last_hidden_state=pixel_values.squeeze(1))


@contextmanager
def _features_given(git: Any) -> Iterator[None]:
    tower = git.image_encoder
    git.image_encoder = _GivenFeatures()
    try:
        yield
    finally:
        git.image_encoder = tower
