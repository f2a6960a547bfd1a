"""DPT: features of a depth estimator, and depth maps from images or from such features.

Legend: N images, L layers, K tokens, D dimensions, H W height and width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from braindec.contracts import Progress, no_progress
from braindec.frozen.base import Dtype, FrozenNetwork
from braindec.frozen.hub import load_transformers, read_preprocessing
from braindec.frozen.images import ImagePreprocessing
from braindec.frozen.loading import LoadReport
from braindec.types import DataError

_UNUSED = ("neck.fusion_stage.layers.0.residual_layer1.*",)
_HALF = (0.5, 0.5, 0.5)


class DptDepth(FrozenNetwork):
    """The four layers that DPT reads, one after another along the tokens: (4 * 577, 1024) of DPT-large at 384 px.

    Source: Ranftl et al. 2021; features to depth as in Takagi and Nishimoto's technical report (2306.11536).
    """

    def __init__(
        self, weights: str = "Intel/dpt-large", device: str = "cpu", dtype: Dtype = "float32", batch_size: int = 16
    ) -> None:
        super().__init__(weights, device, dtype, batch_size)
        self.preprocessing_ = ImagePreprocessing(resize=(384, 384), mean=_HALF, sd=_HALF)

    def load(self, path: Path) -> tuple[nn.Module, LoadReport]:
        """Load strictly; the first fusion layer's unused half may be absent, as in the published weights.

        Raises
        ------
        DataError
            If the checkpoint is of the hybrid kind, or has another backbone than DPT's own ViT.
        """
        from transformers import DPTForDepthEstimation

        module, report = load_transformers(DPTForDepthEstimation, path, allow_missing=_UNUSED)
        if module.config.is_hybrid or module.config.backbone_config is not None:
            raise DataError(f"{path}: expected a DPT with its own ViT, such as Intel/dpt-large, found another backbone")
        self.preprocessing_ = read_preprocessing(path, self.preprocessing_)
        return module, report

    def preprocessing(self) -> dict[str, Any]:
        """Published resize and statistics."""
        _ = self.module
        return self.preprocessing_.describe()

    def encode_batch(self, inputs: np.ndarray) -> Tensor:
        """Features (N, L * K, D) of uint8 images (N, H, W, 3)."""
        module = self.module
        pixels = self.preprocessing_(inputs, self.device).to(self.torch_dtype)
        states = module.dpt(pixels, output_hidden_states=True).hidden_states
        return torch.cat([states[index + 1] for index in sorted(module.config.backbone_out_indices)], dim=1)

    def depth(self, values: np.ndarray, progress: Progress = no_progress) -> np.ndarray:
        """Relative inverse depth float32 (n, H, W), nearer is larger, of features (n, L * K, D).

        Raises
        ------
        DataError
            If the features are not those of the network's layers.
        """
        module = self.module
        n_layers = len(module.config.backbone_out_indices)
        if values.ndim != 3 or values.shape[1] % n_layers or values.shape[2] != module.config.hidden_size:
            raise DataError(
                f"{self.weights}: expected features (n, {n_layers} * token, {module.config.hidden_size}), "
                f"found {values.shape}"
            )
        parts = []
        for start in progress(range(0, len(values), self.batch_size), "DPT depth"):
            batch = torch.as_tensor(values[start : start + self.batch_size], device=self.device).to(self.torch_dtype)
            with torch.inference_mode():
                fused = module.neck(list(batch.chunk(n_layers, dim=1)), None, None)
                parts.append(module.head(fused).float().cpu().numpy())
        return np.concatenate(parts)
