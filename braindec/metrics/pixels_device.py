"""Pixel correlation and structural similarity of many pairs at once, on a GPU.

The same definitions as `braindec.metrics.image`, which compares pair by pair with scipy and is faster on a CPU.

Legend: N pairs, C channels, H W image height and width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from braindec.metrics.image import SSIM_C1, SSIM_C2, SSIM_SIGMA, SSIM_TRUNCATE
from braindec.metrics.pixels import GREY_WEIGHTS


def pixel_correlations(first_NCHW: Tensor, second_NCHW: Tensor) -> Tensor:
    """Pearson correlation over all entries of each pair, float64 (N,); NaN where either is constant."""
    first_NP, second_NP = (values.flatten(1).double() for values in (first_NCHW, second_NCHW))
    constant_N = (first_NP.amin(1) == first_NP.amax(1)) | (second_NP.amin(1) == second_NP.amax(1))
    first_NP = first_NP - first_NP.mean(1, keepdim=True)
    second_NP = second_NP - second_NP.mean(1, keepdim=True)
    squares_N = (first_NP**2).sum(1) * (second_NP**2).sum(1)
    correlation_N = ((first_NP * second_NP).sum(1) / squares_N.sqrt()).clamp(-1, 1)
    return torch.where(constant_N, torch.nan, correlation_N)


def structural_similarities(first_NCHW: Tensor, second_NCHW: Tensor, columns: bool = False) -> Tensor:
    """Mean SSIM of the grey images of each pair, float64 (N,); ``columns`` takes it along the height alone.

    Parameters
    ----------
    first_NCHW, second_NCHW : sRGB in [0, 1], both sides at least 11 pixels.
    """
    weights_C11 = first_NCHW.new_tensor(GREY_WEIGHTS, dtype=torch.float64).view(3, 1, 1)
    first, second = ((v.double() * weights_C11).sum(1, keepdim=True) for v in (first_NCHW, second_NCHW))
    radius = int(SSIM_TRUNCATE * SSIM_SIGMA + 0.5)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64, device=first.device)
    kernel = torch.exp(-0.5 * (offsets / SSIM_SIGMA) ** 2)
    kernel = kernel / kernel.sum()

    def local_mean(values_N1HW: Tensor) -> Tensor:
        # Only the inner part, which no border touches, enters the mean.
        down = conv2d(values_N1HW, kernel.view(1, 1, -1, 1))
        return down if columns else conv2d(down, kernel.view(1, 1, 1, -1))

    mean_1, mean_2 = local_mean(first), local_mean(second)
    product, power = mean_1 * mean_2, mean_1**2 + mean_2**2
    covariance = local_mean(first * second) - product
    variances = local_mean(first**2 + second**2) - power
    similarity = (2 * product + SSIM_C1) * (2 * covariance + SSIM_C2)
    similarity = similarity / ((power + SSIM_C1) * (variances + SSIM_C2))
    return similarity.flatten(1).mean(1)
