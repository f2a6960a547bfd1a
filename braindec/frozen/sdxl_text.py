"""The two text encoders of SDXL, as its pipelines join them.

Legend: N texts, K tokens, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from braindec.frozen.hub import load_tokenizer, load_transformers


def encode_sdxl_texts(folder: Path, texts: Sequence[str], device: str = "cpu") -> dict[str, np.ndarray]:
    """``text`` tokens (N, 77, 2048) and the ``pooled`` vector (N, 1, 1280) of texts, float32.

    Tokens are the last but one layer of ``text_encoder`` beside that of ``text_encoder_2``; the vector is the latter's
    text embedding.

    Raises
    ------
    DataError
        If a part of the folder is missing or does not fit.

    Source: Podell et al. 2023 (SDXL); diffusers' pipelines/stable_diffusion_xl.
    """
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    pooled: Tensor | None = None
    tokens = []
    for suffix, kind in (("", CLIPTextModel), ("_2", CLIPTextModelWithProjection)):
        if suffix == "" and not (folder / "text_encoder").is_dir():
            continue  # the refiner has the second encoder alone
        tokenizer = load_tokenizer(folder / f"tokenizer{suffix}")
        module: Any = load_transformers(kind, folder / f"text_encoder{suffix}")[0].to(device)
        length = module.config.max_position_embeddings
        ids = tokenizer(
            list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        ).input_ids
        with torch.inference_mode():
            result = module(input_ids=ids.to(device), output_hidden_states=True)
        tokens.append(result.hidden_states[-2].float())
        pooled = getattr(result, "text_embeds", None)
    assert pooled is not None
    return {"text": torch.cat(tokens, dim=-1).cpu().numpy(), "pooled": pooled.float().unsqueeze(1).cpu().numpy()}
