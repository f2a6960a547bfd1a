"""The very deep VAE: bottom-up encoder, top-down decoder of latent layers. Parameter names are OpenAI's.

Legend: N images, C channels of the residual stream, Z latent channels, H W height and width.

Source: Child 2021, arXiv:2011.10650; parameter layout of openai/vdvae.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from braindec.frozen.vdvae.config import DecoderBlockSpec, VDVAEConfig


@dataclass(frozen=True)
class Gaussian:
    """A diagonal Gaussian over one latent layer: ``mean`` and ``log_sd``, each (N, Z, H, W)."""

    mean: Tensor
    log_sd: Tensor

    def sample(self, noise_NZHW: Tensor) -> Tensor:
        """Mean plus standard deviation times the given standard-normal noise, in float32."""
        return self.mean.float() + self.log_sd.float().exp() * noise_NZHW

    def kl_from(self, prior: Gaussian) -> Tensor:
        """KL(self || prior) of each value, in nats, float32 (N, Z, H, W)."""
        log_sd, prior_log_sd = self.log_sd.float(), prior.log_sd.float()
        squares = (2 * log_sd).exp() + (self.mean.float() - prior.mean.float()) ** 2
        return prior_log_sd - log_sd - 0.5 + 0.5 * squares * (-2 * prior_log_sd).exp()


ChooseLatent = Callable[[int, "DecoderBlock", Tensor, Gaussian], Tensor]
"""(layer, its block, stream (N, C, H, W), prior) -> latent (N, Z, H, W)."""


class Block(nn.Module):
    """Bottleneck of four convolutions, each after a GELU: 1x1, two 3x3 (1x1 at 1-2 px), 1x1.

    Parameters
    ----------
    last_scale : factor on the last convolution's initial weights; 0 starts the block at zero.
    residual : add the input to the output.
    pool : average-pool the output by this factor.
    """

    def __init__(
        self,
        in_channels: int,
        inner_channels: int,
        out_channels: int,
        resolution: int,
        *,
        residual: bool,
        pool: int = 1,
        last_scale: float = 1.0,
    ) -> None:
        super().__init__()
        kernel = 3 if resolution > 2 else 1
        self.residual = residual
        self.pool = pool
        self.c1 = _conv(in_channels, inner_channels, 1)
        self.c2 = _conv(inner_channels, inner_channels, kernel)
        self.c3 = _conv(inner_channels, inner_channels, kernel)
        self.c4 = _conv(inner_channels, out_channels, 1, scale=last_scale)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Apply the block."""
        h_NCHW = x_NCHW
        for conv in (self.c1, self.c2, self.c3, self.c4):
            h_NCHW = conv(functional.gelu(h_NCHW))
        if self.residual:
            h_NCHW = x_NCHW + h_NCHW
        return functional.avg_pool2d(h_NCHW, self.pool) if self.pool > 1 else h_NCHW


class Encoder(nn.Module):
    """Images -> the last activations at each resolution."""

    def __init__(self, config: VDVAEConfig) -> None:
        super().__init__()
        specs = config.encoder_specs()
        inner = int(config.width * config.bottleneck)
        self.in_conv = _conv(3, config.width, 3)
        self.enc_blocks = nn.ModuleList(
            Block(
                config.width,
                inner,
                config.width,
                spec.resolution,
                residual=True,
                pool=spec.pool,
                last_scale=math.sqrt(1 / len(specs)),
            )
            for spec in specs
        )

    def forward(self, images_N3HW: Tensor) -> dict[int, Tensor]:
        """Activations (N, C, H, W) by resolution H."""
        x_NCHW = self.in_conv(images_N3HW)
        activations = {x_NCHW.shape[-1]: x_NCHW}
        for block in self.enc_blocks:
            x_NCHW = block(x_NCHW)
            activations[x_NCHW.shape[-1]] = x_NCHW
        return activations


class DecoderBlock(nn.Module):
    """One latent layer: its prior, its posterior, and the way its latent enters the stream."""

    def __init__(self, config: VDVAEConfig, spec: DecoderBlockSpec, n_layers: int) -> None:
        super().__init__()
        width, latent = config.width, config.latent_channels
        inner = int(width * config.bottleneck)
        scale = math.sqrt(1 / n_layers)
        self.spec = spec
        self.latent_channels = latent
        self.enc = Block(2 * width, inner, 2 * latent, spec.resolution, residual=False)
        self.prior = Block(width, inner, 2 * latent + width, spec.resolution, residual=False, last_scale=0.0)
        self.z_proj = _conv(latent, width, 1, scale=scale)
        self.resnet = Block(width, inner, width, spec.resolution, residual=True, last_scale=scale)

    def prior_of(self, x_NCHW: Tensor) -> tuple[Gaussian, Tensor]:
        """The prior given the stream, and the residual (N, C, H, W) that it adds to the stream."""
        features = self.prior(x_NCHW)
        mean, log_sd, residual = features.split([self.latent_channels, self.latent_channels, x_NCHW.shape[1]], dim=1)
        return Gaussian(mean, log_sd), residual

    def posterior_of(self, x_NCHW: Tensor, activations_NCHW: Tensor) -> Gaussian:
        """The posterior given the stream and the encoder's activations at this resolution."""
        return Gaussian(*self.enc(torch.cat([x_NCHW, activations_NCHW], dim=1)).chunk(2, dim=1))

    def inject(self, x_NCHW: Tensor, latent_NZHW: Tensor) -> Tensor:
        """The stream after this layer's latent has entered it."""
        return self.resnet(x_NCHW + self.z_proj(latent_NZHW.to(x_NCHW.dtype)))


class OutputHead(nn.Module):
    """Stream -> parameters of the mixture of discretised logistics, (N, 10 * mixtures, H, W)."""

    def __init__(self, config: VDVAEConfig) -> None:
        super().__init__()
        self.out_conv = _conv(config.width, 10 * config.mixtures, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Mixture parameters, in float32."""
        return self.out_conv(x_NCHW).float()


class Decoder(nn.Module):
    """Latent layers from coarse to fine, then the parameters of the pixels' distribution."""

    def __init__(self, config: VDVAEConfig) -> None:
        super().__init__()
        specs = config.decoder_specs()
        self.width = config.width
        self.dec_blocks = nn.ModuleList(DecoderBlock(config, spec, len(specs)) for spec in specs)
        biased = sorted({spec.resolution for spec in specs if spec.resolution <= config.bias_up_to})
        self.bias_index = {resolution: index for index, resolution in enumerate(biased)}
        self.bias_xs = nn.ParameterList(nn.Parameter(torch.zeros(1, config.width, size, size)) for size in biased)
        self.gain = nn.Parameter(torch.ones(1, config.width, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, config.width, 1, 1))
        self.out_net = OutputHead(config)

    def descend(self, n: int, choose: ChooseLatent, stop: int | None = None) -> Tensor:
        """Walk ``n`` streams through the first ``stop`` layers (None: all), latents chosen by ``choose``.

        Returns
        -------
        Tensor
            The stream (n, C, H, W) after the last layer walked.
        """
        x_NCHW: Tensor | None = None
        for layer, block in enumerate(list(self.dec_blocks)[:stop]):
            assert isinstance(block, DecoderBlock)
            x_NCHW = self._entered(x_NCHW, block.spec, n)
            prior, residual_NCHW = block.prior_of(x_NCHW)
            latent_NZHW = choose(layer, block, x_NCHW, prior)
            x_NCHW = block.inject(x_NCHW + residual_NCHW, latent_NZHW)
        assert x_NCHW is not None
        return x_NCHW

    def pixel_parameters(self, x_NCHW: Tensor) -> Tensor:
        """Mixture parameters (N, 10 * mixtures, H, W), float32, from the finished stream."""
        return self.out_net(x_NCHW * self.gain + self.bias)

    def _entered(self, x_NCHW: Tensor | None, spec: DecoderBlockSpec, n: int) -> Tensor:
        if x_NCHW is not None and spec.source is None:
            return x_NCHW
        if spec.resolution in self.bias_index:
            start = self.bias_xs[self.bias_index[spec.resolution]].expand(n, -1, -1, -1)
        else:
            start = self.gain.new_zeros(n, self.width, spec.resolution, spec.resolution)
        if x_NCHW is None:
            return start
        return start + functional.interpolate(x_NCHW, scale_factor=spec.resolution // x_NCHW.shape[-1])


class VDVAENetwork(nn.Module):
    """Encoder and decoder; `braindec.frozen.vdvae.model.VDVAE` is the class to use on images."""

    def __init__(self, config: VDVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def posterior_latents(self, images_N3HW: Tensor, noise: Sequence[Tensor], stop: int | None = None) -> list[Tensor]:
        """Sampled latents of the first ``stop`` layers, float32 (N, Z, H, W) each, by the given noise."""
        activations = self.encoder(images_N3HW)
        latents: list[Tensor] = []

        def choose(layer: int, block: DecoderBlock, x_NCHW: Tensor, prior: Gaussian) -> Tensor:
            posterior = block.posterior_of(x_NCHW, activations[block.spec.resolution])
            latents.append(posterior.sample(noise[layer]))
            return latents[-1]

        self.decoder.descend(len(images_N3HW), choose, stop)
        return latents

    def generate(self, latents: Sequence[Tensor], noise: Sequence[Tensor] | None) -> Tensor:
        """Mixture parameters of images with the given first latents; deeper ones come from the prior.

        Parameters
        ----------
        latents : first layers, coarsest first, (N, Z, H, W) each.
        noise : standard-normal noise for every layer (those given are not read), or None for the prior's mean.
        """

        def choose(layer: int, block: DecoderBlock, x_NCHW: Tensor, prior: Gaussian) -> Tensor:
            if layer < len(latents):
                return latents[layer]
            return prior.mean if noise is None else prior.sample(noise[layer])

        return self.decoder.pixel_parameters(self.decoder.descend(len(latents[0]), choose))

    def forward(self, images_N3HW: Tensor, noise: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Training pass: mixture parameters, and the KL (N,) in nats of each layer, coarsest first."""
        activations = self.encoder(images_N3HW)
        rates: list[Tensor] = []

        def choose(layer: int, block: DecoderBlock, x_NCHW: Tensor, prior: Gaussian) -> Tensor:
            posterior = block.posterior_of(x_NCHW, activations[block.spec.resolution])
            rates.append(posterior.kl_from(prior).sum(dim=(1, 2, 3)))
            return posterior.sample(noise[layer])

        x_NCHW = self.decoder.descend(len(images_N3HW), choose)
        return self.decoder.pixel_parameters(x_NCHW), rates


def _conv(in_channels: int, out_channels: int, kernel: int, scale: float = 1.0) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)
    with torch.no_grad():
        conv.weight.mul_(scale)
        conv.bias.zero_()  # type: ignore[union-attr]
    return conv
