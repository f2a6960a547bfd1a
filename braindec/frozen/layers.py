"""Features of any layer of an image network, by relative depth or by name, through a forward hook.

Legend: N images, K tokens, D dimensions, H W height and width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from braindec.frozen.backbones import Library, load_backbone
from braindec.frozen.base import Dtype, FrozenNetwork
from braindec.frozen.images import ImagePreprocessing
from braindec.frozen.loading import LoadReport
from braindec.types import DataError

Pooling = Literal["cls", "mean", "tokens"]

_BLOCK_LISTS = ("transformer.resblocks", "trunk.blocks", "blocks", "encoder.layer", "encoder.layers", "layer", "layers")
_STAGES = ("layer{}", "stages.{}.blocks", "trunk.stages.{}.blocks", "encoder.stages.{}.layers")
_CLASS_TOKENS = ("cls_token", "class_embedding")


class LayerFeatures(FrozenNetwork):
    """Features of one layer of a ViT or a convolutional network; later layers are not computed.

    Parameters
    ----------
    library : whose format the weights are in.
    depth : relative depth in (0, 1]: of n blocks, block round(depth * n), counted from 1.
    layer : in place of depth, a module's name, e.g. ``features.11`` of VGG19 or ``layernorm`` of DINOv2.
    pooling : ``cls`` (1, D); ``mean`` (1, D) over patches or places; ``tokens`` (K, D), every token, or every
        place of a feature map row by row.
    architecture : the library's name of the model, needed for torchvision, and for open_clip and timm when ``weights``
        is a bare file.
    """

    def __init__(
        self,
        weights: str,
        library: Library,
        depth: float | None = None,
        layer: str | None = None,
        pooling: Pooling = "cls",
        architecture: str | None = None,
        device: str = "cpu",
        dtype: Dtype = "float32",
        batch_size: int = 64,
    ) -> None:
        super().__init__(weights, device, dtype, batch_size)
        if (depth is None) == (layer is None):
            raise DataError(f"LayerFeatures of {weights!r}: give either depth or layer")
        if depth is not None and not 0 < depth <= 1:
            raise DataError(f"LayerFeatures of {weights!r}: depth must be in (0, 1], found {depth}")
        self.library = library
        self.depth = depth
        self.layer = layer
        self.pooling = pooling
        self.architecture = architecture
        self.preprocessing_ = ImagePreprocessing(resize=224)

    def load(self, path: Path) -> tuple[nn.Module, LoadReport]:
        """Build the backbone and load it strictly."""
        module, self.preprocessing_, report = load_backbone(self.library, path, self.architecture)
        self.hooked(module)
        return module, report

    def preprocessing(self) -> dict[str, Any]:
        """Published preprocessing, the layer and the pooling."""
        name, _ = self.hooked(self.module)
        return {**self.preprocessing_.describe(), "layer": name, "pooling": self.pooling}

    def hooked(self, module: nn.Module) -> tuple[str, nn.Module]:
        """Name and module of the chosen layer.

        Raises
        ------
        DataError
            If there is no such layer.
        """
        if self.layer is not None:
            named = dict(module.named_modules())
            if self.layer not in named:
                raise DataError(
                    f"{self.weights}: no layer {self.layer!r} in {type(module).__name__}; it has e.g. "
                    f"{', '.join(list(named)[1:6])}"
                )
            return self.layer, named[self.layer]
        assert self.depth is not None
        blocks = blocks_of(module)
        name = list(blocks)[max(1, round(self.depth * len(blocks))) - 1]
        return name, blocks[name]

    def encode_batch(self, inputs: np.ndarray) -> Tensor:
        """Features (N, K, D) of uint8 images (N, H, W, 3)."""
        module = self.module
        pixels = self.preprocessing_(inputs, self.device).to(self.torch_dtype)
        with capture(self.hooked(module)[1]) as captured:
            try:
                module(pixels)
            except LayerReached:
                values = captured[0]
        transformer = getattr(module, "transformer", None)
        if values.ndim == 3 and not getattr(transformer, "batch_first", True):
            values = values.transpose(0, 1)
        return pool(values, self.pooling, n_prefix_tokens(module), self.weights)


class LayerReached(Exception):
    """Ends a forward pass once the layer's output is known."""


@contextmanager
def capture(layer: nn.Module) -> Iterator[list[Tensor]]:
    """A list that receives the layer's output; the forward pass ends there with `LayerReached`."""
    captured: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        captured.append(output if isinstance(output, Tensor) else output[0])
        raise LayerReached

    handle = layer.register_forward_hook(keep)
    try:
        yield captured
    finally:
        handle.remove()


def blocks_of(module: nn.Module) -> Mapping[str, nn.Module]:
    """The residual or transformer blocks of an image network by name, in order of depth.

    Raises
    ------
    DataError
        If the network's blocks are not where open_clip, timm and transformers keep them.
    """
    named = dict(module.named_modules())
    for path in _BLOCK_LISTS:
        if isinstance(named.get(path), nn.ModuleList | nn.Sequential):
            return {f"{path}.{index}": block for index, block in named[path].named_children()}
    for pattern in _STAGES:
        paths = [pattern.format(i) for i in range(8) if pattern.format(i) in named]
        if paths:
            return {f"{path}.{index}": block for path in paths for index, block in named[path].named_children()}
    raise DataError(f"{type(module).__name__}: its blocks are in no known place; give `layer` in place of depth")


def n_prefix_tokens(module: nn.Module) -> int:
    """Tokens before the patches: the class token and registers."""
    trunk: Any = getattr(module, "trunk", module)
    if hasattr(trunk, "num_prefix_tokens"):
        return int(trunk.num_prefix_tokens)
    if not any(name.rsplit(".", 1)[-1] in _CLASS_TOKENS for name, _ in module.named_parameters()):
        return 0
    return 1 + int(getattr(getattr(module, "config", None), "num_register_tokens", 0) or 0)


def pool(values: Tensor, pooling: Pooling, n_prefix: int, name: str) -> Tensor:
    """A layer's output, (N, K, D) or (N, D, H, W) or (N, D), -> (N, 1, D) or (N, K, D).

    Raises
    ------
    DataError
        If a class token is wanted of a layer that has none.
    """
    is_map = values.ndim == 4
    tokens_NKD = values.flatten(2).transpose(1, 2) if is_map else values
    if values.ndim == 2:
        tokens_NKD = values.unsqueeze(1)
    n_prefix = n_prefix if values.ndim == 3 else 0
    if pooling == "tokens":
        return tokens_NKD
    if pooling == "mean":
        return tokens_NKD[:, n_prefix:].mean(dim=1, keepdim=True)
    if n_prefix == 0:
        raise DataError(f"{name}: this layer has no class token; use pooling mean or tokens")
    return tokens_NKD[:, :1]
