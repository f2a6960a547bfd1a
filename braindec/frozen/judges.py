"""The networks whose features image metrics compare, with the preprocessing of the two published evaluations.

Legend: N images, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from braindec.frozen.base import Dtype, FrozenNetwork
from braindec.frozen.hub import load_transformers
from braindec.frozen.images import CLIP_MEAN, CLIP_SD, IMAGENET_MEAN, IMAGENET_SD, resize, to_channels_first
from braindec.frozen.layers import LayerReached, capture
from braindec.frozen.loading import LoadReport, load_strictly, read_checkpoint

Convention = Literal["brain_diffuser", "mindeye"]
JudgeName = Literal["alexnet2", "alexnet5", "inception", "clip", "efficientnet", "swav"]

_PATTERNS = ("*.safetensors", "*.pth", "*.pth.tar", "*.pt")
_MINDEYE_FIRST_PX = 256


@dataclass(frozen=True)
class _Judge:
    """A network, the layer compared, and by convention the input side in pixels and the published weights."""

    architecture: str
    layer: str | None
    side_px: Mapping[Convention, int]
    weights: Mapping[Convention, str]


def _both(value: str) -> Mapping[Convention, str]:
    return {"brain_diffuser": value, "mindeye": value}


JUDGES: Mapping[JudgeName, _Judge] = {
    "alexnet2": _Judge("alexnet", "features.4", {"brain_diffuser": 224, "mindeye": 256}, _both("torchvision/alexnet")),
    "alexnet5": _Judge("alexnet", "features.11", {"brain_diffuser": 224, "mindeye": 256}, _both("torchvision/alexnet")),
    "inception": _Judge(
        "inception_v3", "avgpool", {"brain_diffuser": 224, "mindeye": 342}, _both("torchvision/inception_v3")
    ),
    "clip": _Judge("clip", None, {"brain_diffuser": 224, "mindeye": 224}, _both("openai/clip-vit-large-patch14")),
    # Brain-Diffuser's `weights=True` means the first ImageNet weights, MindEye's DEFAULT the second.
    "efficientnet": _Judge(
        "efficientnet_b1",
        "avgpool",
        {"brain_diffuser": 224, "mindeye": 255},
        {"brain_diffuser": "torchvision/efficientnet_b1_v1", "mindeye": "torchvision/efficientnet_b1_v2"},
    ),
    "swav": _Judge("resnet50", "avgpool", {"brain_diffuser": 224, "mindeye": 224}, _both("facebookresearch/swav")),
}
_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    # Pretrained Inception standardises its input once more, to the range it was trained on.
    "inception_v3": {"transform_input": True, "init_weights": False},
}
_DECLARED: Mapping[JudgeName, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "swav": (("fc.*",), ("projection_head.*", "prototypes.*")),
}
_CLIP_TEXT = ("text_model.*", "text_projection.*", "logit_scale")


class ImageJudge(FrozenNetwork):
    """Features of one published image metric: AlexNet(2), AlexNet(5), InceptionV3, CLIP, EfficientNet-B1 or SwAV.

    Parameters
    ----------
    judge : which of them.
    convention : ``brain_diffuser`` resizes 8-bit images to 224 px as PIL does (bilinear, antialiased);  ``mindeye``
        resizes float images to 256 px first and then to each network's own side.
    weights : hub id, folder or file; None takes the published ones.
    antialias : in the ``mindeye`` convention, whether shrinking is antialiased; torchvision up to 0.16, with which the
        published figures were made, did not do so for tensors.
    device : ``auto`` takes a GPU where there is one.

    Source: ozcelikfu/brain-diffuser scripts/eval_extract_features.py; MedARC-AI/MindEyeV2
    src/final_evaluations.ipynb.
    """

    def __init__(
        self,
        judge: JudgeName,
        convention: Convention,
        weights: str | None = None,
        antialias: bool = False,
        device: str = "auto",
        dtype: Dtype = "float32",
        batch_size: int = 64,
    ) -> None:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        super().__init__(weights or JUDGES[judge].weights[convention], device, dtype, batch_size)
        self.judge: JudgeName = judge
        self.convention: Convention = convention
        self.antialias = antialias

    def load(self, path: Path) -> tuple[nn.Module, LoadReport]:
        """Build the network and load it strictly."""
        architecture = JUDGES[self.judge].architecture
        if architecture == "clip":
            from transformers import CLIPVisionModelWithProjection

            return load_transformers(CLIPVisionModelWithProjection, path, allow_unexpected=_CLIP_TEXT)
        from torchvision.models import get_model

        module = get_model(architecture, weights=None, **_OPTIONS.get(architecture, {}))
        missing, unexpected = _DECLARED.get(self.judge, ((), ()))
        return module, load_strictly(module, read_checkpoint(path, _PATTERNS), missing, unexpected)

    def preprocessing(self) -> dict[str, Any]:
        """Convention, layer, resizing and statistics."""
        side = JUDGES[self.judge].side_px[self.convention]
        steps = (
            f"8-bit to {side} px (PIL bilinear, antialias)"
            if self.convention == "brain_diffuser"
            else f"float to {_MINDEYE_FIRST_PX} px, then {side} px (bilinear, antialias {self.antialias})"
        )
        return {"convention": self.convention, "layer": JUDGES[self.judge].layer or "image embedding", "resize": steps}

    def features(self, images: Any) -> np.ndarray:
        """Features float32 (N, F) of uint8 images (N, H, W, 3)."""
        values = self.encode(images)
        return values.reshape(len(values), -1)

    def encode_batch(self, inputs: np.ndarray) -> Tensor:
        """Features (N, 1, F) of uint8 images (N, H, W, 3)."""
        module, judge = self.module, JUDGES[self.judge]
        pixels_N3HW = self.prepare(inputs).to(self.torch_dtype)
        if judge.layer is None:
            return module(pixel_values=pixels_N3HW).image_embeds.unsqueeze(1)
        with capture(module.get_submodule(judge.layer)) as captured:
            try:
                module(pixels_N3HW)
            except LayerReached:
                values = captured[0]
        return values.flatten(1).unsqueeze(1)

    def prepare(self, images: np.ndarray) -> Tensor:
        """Uint8 (N, H, W, 3) as the convention resizes and standardises it: float32 (N, 3, side, side)."""
        side = JUDGES[self.judge].side_px[self.convention]
        # Rows of pixels as loaders lay them, not interleaved colours: depthwise convolutions in float32 are slow there.
        pixels_N3HW = to_channels_first(images, self.device).contiguous()
        if self.convention == "brain_diffuser":
            pixels_N3HW = resize(pixels_N3HW, (side, side), "bilinear") / 255
        else:
            pixels_N3HW = _bilinear(pixels_N3HW / 255, _MINDEYE_FIRST_PX, self.antialias)
            pixels_N3HW = _bilinear(pixels_N3HW, side, self.antialias)
        mean, sd = (CLIP_MEAN, CLIP_SD) if self.judge == "clip" else (IMAGENET_MEAN, IMAGENET_SD)
        mean_311, sd_311 = (pixels_N3HW.new_tensor(values).view(3, 1, 1) for values in (mean, sd))
        return (pixels_N3HW - mean_311) / sd_311


def _bilinear(pixels_N3HW: Tensor, side: int, antialias: bool) -> Tensor:
    if tuple(pixels_N3HW.shape[-2:]) == (side, side):
        return pixels_N3HW
    return functional.interpolate(pixels_N3HW, (side, side), mode="bilinear", antialias=antialias)
