"""LPIPS over AlexNet: a learned perceptual distance between pictures.

Legend: N pairs, C channels, H W height and width.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from braindec.frozen.images import resize, to_channels_first
from braindec.frozen.loading import LoadReport, load_strictly, read_checkpoint
from braindec.frozen.weights import resolve

LAYERS = (1, 4, 7, 9, 11)
"""Places of AlexNet's five rectified convolutions in ``features``."""
CHANNELS = (64, 192, 384, 256, 256)
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
"""Of pictures in [-1, 1]: ImageNet's statistics on that scale."""
_PATTERNS = ("*.safetensors", "*.pth", "*.pt")


class LpipsNetwork(nn.Module):
    """AlexNet's convolutions, and one weight a channel of each layer."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import alexnet

        self.features = alexnet(weights=None).features
        self.lin = nn.ParameterList([nn.Parameter(torch.ones(1, c, 1, 1)) for c in CHANNELS])

    def forward(self, first_N3HW: Tensor, second_N3HW: Tensor) -> Tensor:
        """Distance (N,) of pictures in [-1, 1]."""
        shift, scale = (first_N3HW.new_tensor(v).view(1, 3, 1, 1) for v in (SHIFT, SCALE))
        pair = [(first_N3HW - shift) / scale, (second_N3HW - shift) / scale]
        total = first_N3HW.new_zeros(len(first_N3HW))
        for place, layer in enumerate(self.features[: LAYERS[-1] + 1]):
            # The rectifiers work in place: nothing before them is needed again.
            pair = [layer(values) for values in pair]
            if place in LAYERS:
                one, other = (v / (v.pow(2).sum(1, keepdim=True).sqrt() + 1e-10) for v in pair)
                weighted = (one - other).pow(2) * self.lin[LAYERS.index(place)]
                total = total + weighted.sum(1).mean((1, 2))
        return total


class Lpips:
    """LPIPS version 0.1 over AlexNet, of pictures resized to one side.

    Parameters
    ----------
    weights : the linear weights (``alex.pth``): hub id, folder or file.
    backbone : AlexNet's ImageNet weights, likewise.
    side_px : side of the square that both pictures are resized to (8-bit, PIL bilinear).
    device : ``auto`` takes a GPU where there is one.

    Source: Zhang et al. 2018, equation 1; richzhang/PerceptualSimilarity lpips/lpips.py.
    """

    def __init__(
        self,
        weights: str = "richzhang/lpips-alexnet",
        backbone: str = "torchvision/alexnet",
        side_px: int = 256,
        device: str = "auto",
    ) -> None:
        self.weights = weights
        self.backbone = backbone
        self.side_px = side_px
        self.device = device

    @cached_property
    def loaded(self) -> tuple[LpipsNetwork, LoadReport]:
        """The network on its device, from both checkpoints, strictly; of AlexNet the convolutions only."""
        module = LpipsNetwork()
        backbone = read_checkpoint(resolve(self.backbone), _PATTERNS)
        load_strictly(module, backbone, allow_missing=("lin.*",), allow_unexpected=("classifier.*",))
        linear = read_checkpoint(resolve(self.weights), _PATTERNS)
        renamed = linear.renamed(lambda key: key.removeprefix("lin").removesuffix(".model.1.weight"))
        report = load_strictly(module.lin, renamed)
        return module.eval().requires_grad_(False).to(self._chosen_device()), report

    def describe(self) -> dict[str, Any]:
        """What identifies the distances: weights with their hash, preprocessing."""
        return {
            "weights": f"{self.weights} over {self.backbone}",
            "sha256": self.loaded[1].sha256,
            "preprocessing": {"resize": f"both 8-bit to {self.side_px} px (PIL bilinear, antialias)"},
        }

    def distance(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Distance float64 (N,) of uint8 pictures (N, H, W, 3) pair by pair; 0 for identical ones."""
        side, device = (self.side_px, self.side_px), self._chosen_device()
        pair = [resize(to_channels_first(p, device), side, "bilinear") / 127.5 - 1 for p in (first, second)]
        with torch.inference_mode():
            return self.loaded[0](*pair).double().cpu().numpy()

    def _chosen_device(self) -> str:
        if self.device != "auto":
            return self.device
        return "cuda" if torch.cuda.is_available() else "cpu"
