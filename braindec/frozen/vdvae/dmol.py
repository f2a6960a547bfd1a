"""Mixture of discretised logistics over RGB pixels: likelihood, sample, mean.

The green and blue means depend linearly on the channels before them, so one component draws a whole pixel.

Legend: N images, M mixture components, H W height and width; axis 3 is red, green, blue. Pixels are in [-1, 1].

Source: Salimans et al. 2017 (PixelCNN++), arXiv:1701.05517, section 2; parameter order of openai/vdvae.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

MIN_LOG_SCALE = -7.0
UNIFORM_MARGIN = 1e-5


@dataclass(frozen=True)
class MixtureParameters:
    """Parameters of every pixel's mixture.

    Attributes
    ----------
    logits : (N, M, H, W) unnormalised log weights.
    means, log_scales : (N, 3, M, H, W).
    coefficients : (N, 3, M, H, W) in (-1, 1): green on red, blue on red, blue on green.
    """

    logits: Tensor
    means: Tensor
    log_scales: Tensor
    coefficients: Tensor

    @classmethod
    def unpack(cls, parameters_NPHW: Tensor) -> MixtureParameters:
        """Split a head's output (N, 10 M, H, W) into its parts, in float32."""
        n, p, h, w = parameters_NPHW.shape
        m = p // 10
        parameters_NPHW = parameters_NPHW.float()
        rest = parameters_NPHW[:, m:].reshape(n, 3, 3, m, h, w)
        return cls(
            logits=parameters_NPHW[:, :m],
            means=rest[:, :, 0],
            log_scales=rest[:, :, 1].clamp(min=MIN_LOG_SCALE),
            coefficients=rest[:, :, 2].tanh(),
        )


def negative_log_likelihood(parameters_NPHW: Tensor, pixels_N3HW: Tensor) -> Tensor:
    """Nats per value (N,) of 8-bit pixels, given as multiples of 2/255 in [-1, 1]."""
    mixture = MixtureParameters.unpack(parameters_NPHW)
    x_N31HW = pixels_N3HW.float().unsqueeze(2)
    red, green = x_N31HW[:, 0], x_N31HW[:, 1]
    green_on_red, blue_on_red, blue_on_green = mixture.coefficients.unbind(1)
    means_N3MHW = torch.stack(
        [
            mixture.means[:, 0],
            mixture.means[:, 1] + green_on_red * red,
            mixture.means[:, 2] + blue_on_red * red + blue_on_green * green,
        ],
        dim=1,
    )
    centred = x_N31HW - means_N3MHW
    precision = (-mixture.log_scales).exp()
    upper, lower = precision * (centred + 1 / 255), precision * (centred - 1 / 255)
    inside = upper.sigmoid() - lower.sigmoid()
    middle = precision * centred
    # Where the bin holds almost no mass its logarithm is lost to rounding; density times width replaces it.
    thin = middle - mixture.log_scales - 2 * functional.softplus(middle) - math.log(127.5)
    log_bin = torch.where(inside > 1e-5, inside.clamp(min=1e-12).log(), thin)
    log_bin = torch.where(x_N31HW < -0.999, functional.logsigmoid(upper), log_bin)
    log_bin = torch.where(x_N31HW > 0.999, functional.logsigmoid(-lower), log_bin)
    log_component_NMHW = log_bin.sum(dim=1) + mixture.logits.log_softmax(dim=1)
    return -log_component_NMHW.logsumexp(dim=1).sum(dim=(1, 2)) / pixels_N3HW[0].numel()


def sample(parameters_NPHW: Tensor, uniform_component_NMHW: Tensor, uniform_pixel_N3HW: Tensor) -> Tensor:
    """Draw pixels (N, 3, H, W) in [-1, 1] by the given uniform noise in [0, 1]."""
    mixture = MixtureParameters.unpack(parameters_NPHW)
    gumbel = -(-_margin(uniform_component_NMHW).log()).log()
    chosen_N11HW = (mixture.logits + gumbel).argmax(dim=1)[:, None, None]

    def pick(values_N3MHW: Tensor) -> Tensor:
        return values_N3MHW.gather(2, chosen_N11HW.expand(-1, 3, -1, -1, -1)).squeeze(2)

    uniform = _margin(uniform_pixel_N3HW)
    logistic = uniform.log() - (1 - uniform).log()
    x_N3HW = pick(mixture.means) + pick(mixture.log_scales).exp() * logistic
    return _chain_channels(x_N3HW, pick(mixture.coefficients))


def mean(parameters_NPHW: Tensor) -> Tensor:
    """Expected pixels (N, 3, H, W), clipped to [-1, 1]; no noise is drawn."""
    mixture = MixtureParameters.unpack(parameters_NPHW)
    weights_N1MHW = mixture.logits.softmax(dim=1).unsqueeze(1)
    n, _, m, h, w = mixture.means.shape
    flat = (0, 2, 1, 3, 4)
    components = _chain_channels(
        mixture.means.permute(flat).reshape(n * m, 3, h, w), mixture.coefficients.permute(flat).reshape(n * m, 3, h, w)
    )
    return (weights_N1MHW * components.reshape(n, m, 3, h, w).permute(flat)).sum(dim=2)


def _chain_channels(x_N3HW: Tensor, coefficients_N3HW: Tensor) -> Tensor:
    green_on_red, blue_on_red, blue_on_green = coefficients_N3HW.unbind(1)
    red = x_N3HW[:, 0].clamp(-1, 1)
    green = (x_N3HW[:, 1] + green_on_red * red).clamp(-1, 1)
    blue = (x_N3HW[:, 2] + blue_on_red * red + blue_on_green * green).clamp(-1, 1)
    return torch.stack([red, green, blue], dim=1)


def _margin(uniform: Tensor) -> Tensor:
    return uniform * (1 - 2 * UNIFORM_MARGIN) + UNIFORM_MARGIN
