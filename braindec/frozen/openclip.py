"""Any open_clip model, by name: image and text embeddings.

Legend: N images or texts, K tokens, D dimensions.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from braindec.frozen.base import Dtype, FrozenNetwork
from braindec.frozen.captions import flatten_captions, mean_by_entry
from braindec.frozen.images import ImagePreprocessing
from braindec.frozen.loading import LoadReport, load_strictly, read_checkpoint
from braindec.types import DataError

OPEN_CLIP_FILES = ("open_clip*.safetensors", "open_clip*.bin", "*.safetensors", "*.pt")
_BUFFERS = ("attn_mask", "*.attn_mask", "*.position_ids")


def load_open_clip(path: Path, architecture: str | None) -> tuple[nn.Module, LoadReport]:
    """An open_clip model from a folder with ``open_clip_config.json``, or from a file and its architecture's name.

    Raises
    ------
    DataError
        If neither says what the architecture is, or the weights do not fit it.
    """
    import open_clip

    if architecture is None:
        if not (path / "open_clip_config.json").is_file():
            raise DataError(
                f"{path}: expected a folder with open_clip_config.json; for a bare file give `architecture`, "
                "e.g. ViT-H-14"
            )
        name = f"local-dir:{path}"
    elif architecture in open_clip.list_models():
        name = architecture
    else:
        raise DataError(f"open_clip has no architecture {architecture!r}; see open_clip.list_models()")
    with _quiet():
        module = open_clip.create_model(name, load_weights=False, pretrained_image=False, pretrained_text=False)
    report = load_strictly(module, read_checkpoint(path, OPEN_CLIP_FILES), _BUFFERS, _BUFFERS)
    return module, report


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep open_clip's warning of random weights off the terminal: they are loaded next, strictly."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def open_clip_preprocessing(module: Any) -> ImagePreprocessing:
    """The evaluation preprocessing of an open_clip model.

    Raises
    ------
    DataError
        If its way of resizing is not one of shortest edge and squash.
    """
    settings = module.visual.preprocess_cfg
    size, mode = settings["size"], settings.get("resize_mode", "shortest")
    height, width = (size, size) if isinstance(size, int) else size
    if mode not in ("shortest", "squash") or (mode == "shortest" and height != width):
        raise DataError(f"open_clip preprocessing: expected a square or resize_mode squash, found {settings}")
    return ImagePreprocessing(
        resize=height if mode == "shortest" else (height, width),
        crop=height if mode == "shortest" else None,
        interpolation=settings.get("interpolation", "bicubic"),
        mean=tuple(settings["mean"]),
        sd=tuple(settings["std"]),
    )


class OpenClipVision(FrozenNetwork):
    """An open_clip image tower.

    Parameters
    ----------
    architecture : open_clip's name of the model, needed when ``weights`` is a bare file.
    output : ``pooled`` (1, D), the image embedding; ``tokens`` (K, width), the patch tokens after the final layer norm
        (256 x 1664 of ViT-bigG-14).

    Source: open_clip; tokens as in Stability-AI/generative-models FrozenOpenCLIPImageEmbedder (``output_tokens``).
    """

    def __init__(
        self,
        weights: str,
        device: str = "cpu",
        dtype: Dtype = "float32",
        batch_size: int = 64,
        architecture: str | None = None,
        output: Literal["pooled", "tokens"] = "pooled",
    ) -> None:
        super().__init__(weights, device, dtype, batch_size)
        self.architecture = architecture
        self.output = output

    def load(self, path: Path) -> tuple[nn.Module, LoadReport]:
        """Build and load strictly."""
        return load_open_clip(path, self.architecture)

    def preprocessing(self) -> dict[str, Any]:
        """The model's own resize, crop and statistics, and the output chosen."""
        return {**open_clip_preprocessing(self.module).describe(), "output": self.output}

    def encode_batch(self, inputs: np.ndarray) -> Tensor:
        """Embeddings (N, K, D) of uint8 images (N, H, W, 3).

        Raises
        ------
        DataError
            If tokens are wanted of a tower that has none.
        """
        module = self.module
        pixels = open_clip_preprocessing(module)(inputs, self.device).to(self.torch_dtype)
        if self.output == "pooled":
            return module.encode_image(pixels).unsqueeze(1)
        if not hasattr(module.visual, "output_tokens"):
            raise DataError(
                f"{self.weights}: {type(module.visual).__name__} has no tokens; use output pooled or a layer"
            )
        module.visual.output_tokens = True
        try:
            _, tokens_NKD = module.visual(pixels)
        finally:
            module.visual.output_tokens = False
        return tokens_NKD


class OpenClipText(FrozenNetwork):
    """An open_clip text tower: the pooled embedding (1, D), the mean over a stimulus's captions."""

    modality = "text"

    def __init__(
        self,
        weights: str,
        device: str = "cpu",
        dtype: Dtype = "float32",
        batch_size: int = 64,
        architecture: str | None = None,
        max_captions: int = 5,
    ) -> None:
        super().__init__(weights, device, dtype, batch_size)
        self.architecture = architecture
        self.max_captions = max_captions

    def load(self, path: Path) -> tuple[nn.Module, LoadReport]:
        """Build and load strictly."""
        return load_open_clip(path, self.architecture)

    def preprocessing(self) -> dict[str, Any]:
        """How captions are taken."""
        return {"output": "pooled", "max_captions": self.max_captions}

    def encode_batch(self, inputs: Sequence[str | Sequence[str]]) -> Tensor:
        """Embeddings (N, 1, D) of N texts, or of N groups of captions."""
        from open_clip.tokenizer import SimpleTokenizer

        module = self.module
        texts, counts = flatten_captions(inputs, self.max_captions)
        tokens = SimpleTokenizer(context_length=module.context_length)(texts)
        return mean_by_entry(module.encode_text(tokens.to(self.device)).unsqueeze(1).float(), counts)
