"""The training loss of a very deep VAE: distortion plus rate, in nats per pixel value.

Legend: N images, H W height and width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from braindec.frozen.images import to_channels_first
from braindec.frozen.vdvae import dmol
from braindec.frozen.vdvae.model import preprocessing_of
from braindec.frozen.vdvae.network import VDVAENetwork


@dataclass(frozen=True)
class Elbo:
    """The negative evidence lower bound and its parts, scalars in nats per pixel value.

    ``layer_rates`` is each latent layer's share of ``rate``, coarsest first.
    """

    loss: Tensor
    distortion: Tensor
    rate: Tensor
    layer_rates: Tensor


def negative_elbo(network: VDVAENetwork, images: Tensor, generator: torch.Generator) -> Elbo:
    """Loss of uint8 images (N, H, W, 3) at the network's own size; ``generator`` is on the images' device.

    Source: Child 2021, arXiv:2011.10650, equations 1-3 and section 3.
    """
    config = network.config
    pixels_N3HW = to_channels_first(images)
    inputs = preprocessing_of(config)(images, images.device).to(network.decoder.gain.dtype)
    noise = [
        torch.randn(
            len(images),
            config.latent_channels,
            spec.resolution,
            spec.resolution,
            generator=generator,
            device=images.device,
        )
        for spec in config.decoder_specs()
    ]
    parameters, rates = network(inputs, noise)
    distortion = dmol.negative_log_likelihood(parameters, pixels_N3HW / 127.5 - 1).mean()
    layer_rates = torch.stack([rate.mean() for rate in rates]) / pixels_N3HW[0].numel()
    rate = layer_rates.sum()
    return Elbo(distortion + rate, distortion, rate, layer_rates)
