"""Stable Diffusion that also sees a depth map: beside its latents, or through a ControlNet.

Legend: n pictures, L layers, K tokens, D dimensions, H W picture height and width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from braindec.frozen.base import Dtype
from braindec.frozen.dpt import DptDepth
from braindec.frozen.dual_diffusion import Stream
from braindec.frozen.weights import resolve
from braindec.stages.diffusion.conditioning import Conditioning
from braindec.stages.diffusion.families import StableDiffusion
from braindec.stages.diffusion.halves import Halves
from braindec.types import DataError


class _WithDepth(StableDiffusion):
    """Shared by both kinds: ``depth`` features (L * K, D) of a DPT, from which its head makes the map.

    Parameters
    ----------
    depth : the depth estimator whose features were predicted.
    """

    def __init__(
        self,
        weights: str,
        dtype: Dtype = "float32",
        compiled: bool = False,
        channels_last: bool = False,
        image_size: int | None = None,
        depth: DptDepth | None = None,
    ) -> None:
        super().__init__(weights, dtype, compiled, channels_last, image_size)
        self.depth = depth or DptDepth()

    def load_unet(self, path: Path) -> Any:
        """As `StableDiffusion.load_unet`; says at once if the depth estimator is missing."""
        unet = super().load_unet(path)
        config = self.depth.to(self.device).module.config
        tokens = (config.image_size // config.patch_size) ** 2 + 1
        self._depth_shape = len(config.backbone_out_indices) * tokens, int(config.hidden_size)
        return unet

    def streams(self) -> tuple[Stream, ...]:
        """Text tokens, and the depth estimator's features."""
        return (*super().streams(), Stream("depth", *self._depth_shape, 1.0, self.depth.weights, "layers"))

    @property
    def attended(self) -> tuple[str, ...]:
        """Text tokens."""
        return ("text",)

    def absent(self, stream: Stream) -> np.ndarray:
        """Tokens of the empty text; depth is never absent."""
        return super().absent(stream) if stream.name == "text" else np.zeros((0, 0), np.float32)

    def depth_maps(self, conditions: Mapping[str, np.ndarray], n: int) -> Tensor:
        """Relative inverse depth float32 (n, 1, H, W) on the device, nearer is larger."""
        self.checked(conditions, n)
        if "depth" not in conditions:
            raise DataError(f"{self.weights}: needs the conditioning 'depth'; name the target that predicts it")
        maps = self.depth.to(self.device).depth(np.asarray(conditions["depth"], np.float32))
        return torch.as_tensor(maps, device=self.device).unsqueeze(1)


class DepthStableDiffusion(_WithDepth):
    """Stable Diffusion 2 depth: the map lies beside the latents, at their size.

    Source: diffusers' pipelines/stable_diffusion/pipeline_stable_diffusion_depth2img.py; with decoded depth as in
    Takagi and Nishimoto's technical report (arXiv:2306.11536).
    """

    def __init__(
        self,
        weights: str = "stabilityai/stable-diffusion-2-depth",
        dtype: Dtype = "float32",
        compiled: bool = False,
        channels_last: bool = False,
        image_size: int | None = None,
        depth: DptDepth | None = None,
    ) -> None:
        super().__init__(weights, dtype, compiled, channels_last, image_size, depth)

    def conditioning(self, conditions: Mapping[str, np.ndarray], seeds: Sequence[int]) -> Conditioning:
        """Text tokens, and depth in [-1, 1] at the latents' size; the contrast has the same depth."""
        maps = self.depth_maps(conditions, len(seeds))
        size = self.latent_shape()[1:]
        depth = scaled_to_one(interpolate(maps, size, mode="bicubic", align_corners=False)) * 2 - 1
        return Conditioning(self.tokens(conditions, len(seeds)), channels_nChw=self.placed(depth))


class ControlledStableDiffusion(_WithDepth):
    """Stable Diffusion 1.5 with a ControlNet for depth.

    Parameters
    ----------
    control : the ControlNet: hub id or folder.
    control_scale : weight of what it adds.

    Source: Zhang et al. 2023 (ControlNet), as in diffusers' pipelines/controlnet; with decoded depth as in Ferrante et
    al. 2023 (Brain Captioning).
    """

    def __init__(
        self,
        weights: str = "stable-diffusion-v1-5/stable-diffusion-v1-5",
        dtype: Dtype = "float32",
        compiled: bool = False,
        channels_last: bool = False,
        image_size: int | None = None,
        depth: DptDepth | None = None,
        control: str = "lllyasviel/sd-controlnet-depth",
        control_scale: float = 1.0,
    ) -> None:
        super().__init__(weights, dtype, compiled, channels_last, image_size, depth)
        self.control = control
        self.control_scale = control_scale

    def make_halves(self, path: Path) -> Halves:
        """With the ControlNet beside the U-Net."""
        from diffusers import ControlNetModel

        control = self.load_part(ControlNetModel, resolve(self.control)).eval().requires_grad_(False)
        return Halves(self._unet, control, self.control_scale)

    def conditioning(self, conditions: Mapping[str, np.ndarray], seeds: Sequence[int]) -> Conditioning:
        """Text tokens, and depth as a grey picture in [0, 1]; the contrast has the same picture."""
        maps = self.depth_maps(conditions, len(seeds))
        side = self.vae.image_size
        grey = scaled_to_one(interpolate(maps, (side, side), mode="bicubic", align_corners=False))
        return Conditioning(
            self.tokens(conditions, len(seeds)), control_n3HW=self.placed(grey.expand(-1, 3, -1, -1).contiguous())
        )


def scaled_to_one(maps_n1HW: Tensor) -> Tensor:
    """Each map from its least value (0) to its largest (1); a flat map is 0."""
    low, high = maps_n1HW.amin(dim=(1, 2, 3), keepdim=True), maps_n1HW.amax(dim=(1, 2, 3), keepdim=True)
    return (maps_n1HW - low) / (high - low).clamp_min(1e-12)
