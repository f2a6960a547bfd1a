"""Heads made of dense layers. Legend: B batch, W width, K tokens, D embedding dimensions."""

from __future__ import annotations

import torch
from torch import nn

from braindec.models.blocks import Residual, contrast_projector, initialise_normal
from braindec.models.heads.output import HeadOutput
from braindec.models.shapes import flat_size


class LinearHead(nn.Module):
    """One linear map to all tokens, and optionally a projector of each token for contrast: (B, W) -> (B, K, D).

    ``projector_width`` is the hidden width of the contrast path's projector; None: contrast and value are the same.
    Source: MindBridge's heads; MindEye2's ``backbone_linear`` and ``clip_proj``.
    """

    def __init__(
        self, in_shape: tuple[int, ...], shape_KD: tuple[int, int], projector_width: int | None = None
    ) -> None:
        super().__init__()
        self.shape_KD = shape_KD
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(flat_size(in_shape), shape_KD[0] * shape_KD[1]))
        self.projector = None if projector_width is None else contrast_projector(shape_KD[1], projector_width)

    def forward(self, latent: torch.Tensor) -> HeadOutput:
        """Value and contrast."""
        value_BKD = self.layers(latent).unflatten(1, self.shape_KD)
        return HeadOutput(value_BKD, value_BKD if self.projector is None else self.projector(value_BKD))


class ProjectorHead(nn.Module):
    """Linear, residual GELU-linear-dropout, layer norm: (B, ...) -> (B, K, D).

    Source: NICE and ATM (``Proj_eeg``), UBP (``EEGProjectLayer``).
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        shape_KD: tuple[int, int],
        dropout: float = 0.5,
        init_std: float | None = None,
    ) -> None:
        super().__init__()
        self.shape_KD = shape_KD
        n_out = shape_KD[0] * shape_KD[1]
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(flat_size(in_shape), n_out),
            Residual(nn.Sequential(nn.GELU(), nn.Linear(n_out, n_out), nn.Dropout(dropout))),
            nn.LayerNorm(n_out),
        )
        if init_std is not None:
            initialise_normal(self, init_std)

    def forward(self, latent: torch.Tensor) -> HeadOutput:
        """Value and contrast, the same."""
        value_BKD = self.layers(latent).unflatten(1, self.shape_KD)
        return HeadOutput(value_BKD, value_BKD)


class PerceptronHead(nn.Module):
    """A perceptron of one hidden layer: (B, ...) -> (B, K, D). ``hidden`` None takes the latent's width."""

    def __init__(
        self, in_shape: tuple[int, ...], shape_KD: tuple[int, int], hidden: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.shape_KD = shape_KD
        self.layers = _perceptron(flat_size(in_shape), hidden, shape_KD[0] * shape_KD[1], dropout)

    def forward(self, latent: torch.Tensor) -> HeadOutput:
        """Value and contrast, the same."""
        value_BKD = self.layers(latent).unflatten(1, self.shape_KD)
        return HeadOutput(value_BKD, value_BKD)


class ClassHead(nn.Module):
    """One linear map to classes: (B, ...) -> (B, 1, C); the value is probabilities, the contrast their logits."""

    def __init__(self, in_shape: tuple[int, ...], shape_KD: tuple[int, int]) -> None:
        super().__init__()
        self.shape_KD = shape_KD
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(flat_size(in_shape), shape_KD[0] * shape_KD[1]))

    def forward(self, latent: torch.Tensor) -> HeadOutput:
        """Value and contrast."""
        logits_BKD = self.layers(latent).unflatten(1, self.shape_KD)
        return HeadOutput(logits_BKD.softmax(dim=2), logits_BKD)


class TwoHeads(nn.Module):
    """Separate perceptrons for regression and for contrast: (B, W) -> (B, K, D) twice.

    Source: Benchetrit et al. 2024, section 2.3 (an MSE head and a CLIP head).
    """

    def __init__(
        self, in_shape: tuple[int, ...], shape_KD: tuple[int, int], hidden: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.shape_KD = shape_KD
        self.value = _perceptron(flat_size(in_shape), hidden, shape_KD[0] * shape_KD[1], dropout)
        self.contrast = _perceptron(flat_size(in_shape), hidden, shape_KD[0] * shape_KD[1], dropout)

    def forward(self, latent: torch.Tensor) -> HeadOutput:
        """Value and contrast."""
        return HeadOutput(
            self.value(latent).unflatten(1, self.shape_KD), self.contrast(latent).unflatten(1, self.shape_KD)
        )


def _perceptron(n_in: int, hidden: int | None, n_out: int, dropout: float) -> nn.Sequential:
    width = n_in if hidden is None else hidden
    return nn.Sequential(
        nn.Flatten(),
        nn.LayerNorm(n_in),
        nn.GELU(),
        nn.Linear(n_in, width),
        nn.LayerNorm(width),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(width, n_out),
    )
