"""OpenAI's CLIP through transformers, and the conditioning of Versatile Diffusion that is made from it.

Legend: N images or texts, K tokens, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from braindec.frozen.base import Dtype, FrozenNetwork
from braindec.frozen.captions import flatten_captions, mean_by_entry
from braindec.frozen.hub import load_tokenizer, load_transformers, read_preprocessing
from braindec.frozen.images import CLIP_MEAN, CLIP_SD, ImagePreprocessing
from braindec.frozen.loading import LoadReport

ClipOutput = Literal["pooled", "tokens", "hidden", "versatile_diffusion"]

_TEXT_ONLY = ("text_model.*", "text_projection.*", "logit_scale")
_VISION_ONLY = ("vision_model.*", "visual_projection.*", "logit_scale")


class ClipVision(FrozenNetwork):
    """CLIP's image tower.

    Parameters
    ----------
    output : of ViT-L/14: ``pooled`` (1, 768), the image embedding; ``tokens`` (257, 768), every token after the final
        layer norm and projection; ``versatile_diffusion`` (257, 768), those divided by the class token's norm;
        ``hidden`` (257, 1024), the last layer as it is.

    Source: Radford et al. 2021; Versatile Diffusion's conditioning as in diffusers'
    pipelines/versatile_diffusion/pipeline_versatile_diffusion_image_variation.py.
    """

    def __init__(
        self,
        weights: str = "openai/clip-vit-large-patch14",
        device: str = "cpu",
        dtype: Dtype = "float32",
        batch_size: int = 64,
        output: ClipOutput = "pooled",
    ) -> None:
        super().__init__(weights, device, dtype, batch_size)
        self.output = output
        self.preprocessing_ = ImagePreprocessing(resize=224, crop=224, mean=CLIP_MEAN, sd=CLIP_SD)

    def load(self, path: Path) -> tuple[nn.Module, LoadReport]:
        """From a CLIP folder, or a Versatile Diffusion folder (its ``image_encoder``)."""
        from transformers import CLIPVisionModelWithProjection

        folder = path / "image_encoder" if (path / "image_encoder").is_dir() else path
        module, report = load_transformers(CLIPVisionModelWithProjection, folder, allow_unexpected=_TEXT_ONLY)
        size = module.config.image_size
        published = path / "image_feature_extractor" if folder != path else folder
        self.preprocessing_ = read_preprocessing(published, replace(self.preprocessing_, resize=size, crop=size))
        return module, report

    def preprocessing(self) -> dict[str, Any]:
        """Published resize, crop and statistics, and the output chosen."""
        _ = self.module
        return {**self.preprocessing_.describe(), "output": self.output}

    def encode_batch(self, inputs: np.ndarray) -> Tensor:
        """Embeddings (N, K, D) of uint8 images (N, H, W, 3)."""
        module = self.module
        pixels = self.preprocessing_(inputs, self.device).to(self.torch_dtype)
        result = module(pixel_values=pixels)
        if self.output == "pooled":
            return result.image_embeds.unsqueeze(1)
        hidden_NKD = result.last_hidden_state
        if self.output == "hidden":
            return hidden_NKD
        tokens_NKD = module.visual_projection(module.vision_model.post_layernorm(hidden_NKD))
        if self.output == "tokens":
            return tokens_NKD
        return tokens_NKD / tokens_NKD[:, :1].norm(dim=-1, keepdim=True)


class ClipText(FrozenNetwork):
    """CLIP's text tower; a stimulus with several captions gets the mean of their embeddings.

    Parameters
    ----------
    output : of ViT-L/14: ``pooled`` (1, 768), the text embedding; ``hidden`` (77, 768), the last layer after its norm,
        which conditions Stable Diffusion; ``tokens`` (77, 768), those projected; ``versatile_diffusion`` (77, 768),
        the projected divided by the norm of the text embedding.
    max_captions : how many of a stimulus's captions are averaged.

    Source: Radford et al. 2021; Versatile Diffusion's conditioning as in diffusers'
    pipelines/versatile_diffusion/pipeline_versatile_diffusion_text_to_image.py; mean of up to five captions as in
    ozcelikfu/brain-diffuser scripts/cliptext_extract_features.py.
    """

    modality = "text"

    def __init__(
        self,
        weights: str = "openai/clip-vit-large-patch14",
        device: str = "cpu",
        dtype: Dtype = "float32",
        batch_size: int = 64,
        output: ClipOutput = "pooled",
        max_captions: int = 5,
    ) -> None:
        super().__init__(weights, device, dtype, batch_size)
        self.output = output
        self.max_captions = max_captions
        self.tokenizer_: Any = None

    def load(self, path: Path) -> tuple[nn.Module, LoadReport]:
        """From a CLIP folder, or a diffusion folder (its ``text_encoder`` and ``tokenizer``)."""
        from transformers import CLIPTextModelWithProjection

        folder = path / "text_encoder" if (path / "text_encoder").is_dir() else path
        self.tokenizer_ = load_tokenizer(path / "tokenizer" if folder != path else path)
        # Stable Diffusion's text encoder has no projection; only the hidden state can be taken from it.
        absent = ("text_projection.weight",) if self.output == "hidden" else ()
        return load_transformers(
            CLIPTextModelWithProjection, folder, allow_unexpected=_VISION_ONLY, allow_missing=absent
        )

    def preprocessing(self) -> dict[str, Any]:
        """How captions are taken, and the output chosen."""
        return {"output": self.output, "max_captions": self.max_captions}

    def encode_batch(self, inputs: Sequence[str | Sequence[str]]) -> Tensor:
        """Embeddings (N, K, D) of N texts, or of N groups of captions."""
        texts, counts = flatten_captions(inputs, self.max_captions)
        return mean_by_entry(self._embed(texts).float(), counts)

    def _embed(self, texts: list[str]) -> Tensor:
        module = self.module
        tokens = self.tokenizer_(
            texts,
            padding="max_length",
            max_length=module.config.max_position_embeddings,
            truncation=True,
            return_tensors="pt",
        )
        result = module(input_ids=tokens.input_ids.to(self.device))
        if self.output == "pooled":
            return result.text_embeds.unsqueeze(1)
        if self.output == "hidden":
            return result.last_hidden_state
        tokens_NKD = module.text_projection(result.last_hidden_state)
        if self.output == "tokens":
            return tokens_NKD
        return tokens_NKD / result.text_embeds.unsqueeze(1).norm(dim=-1, keepdim=True)
