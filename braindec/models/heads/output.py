"""What a head returns. Legend: B batch, K tokens, D embedding dimensions."""

from __future__ import annotations

from typing import NamedTuple

import torch


class HeadOutput(NamedTuple):
    """Two predictions of one target (the same tensor where a head has one path).

    Attributes
    ----------
    value_BKD : the embedding itself, for regression, priors and reconstruction.
    contrast_BKD : what is compared with the target by angle, for contrastive objectives and retrieval.
    """

    value_BKD: torch.Tensor
    contrast_BKD: torch.Tensor
