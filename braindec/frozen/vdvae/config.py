"""Shape of a very deep VAE: block strings, widths and the pixel statistics of its training set."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from braindec.types import DataError


@dataclass(frozen=True)
class EncoderBlockSpec:
    """One encoder block at ``resolution``; its output is average-pooled by ``pool`` (1: kept)."""

    resolution: int
    pool: int = 1


@dataclass(frozen=True)
class DecoderBlockSpec:
    """One latent layer at ``resolution``; ``source`` is the coarser resolution that it grows from, or None."""

    resolution: int
    source: int | None = None


@dataclass(frozen=True)
class VDVAEConfig:
    """Architecture and input statistics of a very deep VAE.

    Attributes
    ----------
    encoder_blocks : comma-separated, ``64x11`` = eleven blocks at 64 px, ``64d2`` = one block pooled by 2.
    decoder_blocks : comma-separated, ``4x3`` = three latent layers at 4 px, ``8m4`` = one at 8 px grown from 4 px.
    image_size : height and width of the images, in pixels.
    width : channels of the residual stream.
    latent_channels : channels of each latent layer.
    bottleneck : width of a block's inner convolutions, as a share of ``width``.
    mixtures : logistic components of the output distribution.
    bias_up_to : finest resolution that has a learned starting bias.
    pixel_mean, pixel_sd : input is (pixel - mean) / sd, pixels in 0..255.
    top_layers : how many of the first latent layers `VDVAE.latents` returns.

    Source: openai/vdvae hps.py and data.py; Child 2021, arXiv:2011.10650.
    """

    encoder_blocks: str
    decoder_blocks: str
    image_size: int = 64
    width: int = 512
    latent_channels: int = 16
    bottleneck: float = 0.25
    mixtures: int = 10
    bias_up_to: int = 64
    pixel_mean: float = 115.92961967
    pixel_sd: float = 69.37404
    top_layers: int = 31

    def __post_init__(self) -> None:
        encoder, decoder = self.encoder_specs(), self.decoder_specs()
        if decoder[0].source is not None or decoder[-1].resolution != self.image_size:
            raise DataError(
                f"VDVAEConfig.decoder_blocks: must start without a source and end at {self.image_size} px, "
                f"found {self.decoder_blocks!r}"
            )
        for before, block in itertools.pairwise(decoder):
            if before.resolution != (block.source or block.resolution) or block.resolution % before.resolution:
                raise DataError(
                    f"VDVAEConfig.decoder_blocks: {block} cannot follow resolution {before.resolution}; "
                    "a layer stays at the resolution before it, or names it as its source"
                )
        resolution = self.image_size
        for spec in encoder:
            if spec.resolution != resolution:
                raise DataError(
                    f"VDVAEConfig.encoder_blocks: {spec} follows a stream of resolution {resolution} px; "
                    "each block takes the resolution that the one before it leaves"
                )
            resolution //= spec.pool
        lacking = {block.resolution for block in decoder} - self.encoder_resolutions()
        if lacking:
            raise DataError(
                f"VDVAEConfig.encoder_blocks: no activations at the decoder's resolutions {sorted(lacking)}"
            )
        if not 1 <= self.top_layers <= len(decoder):
            raise DataError(f"VDVAEConfig.top_layers: expected 1 to {len(decoder)}, found {self.top_layers}")

    def encoder_specs(self) -> tuple[EncoderBlockSpec, ...]:
        """Encoder blocks, in order."""
        specs: list[EncoderBlockSpec] = []
        for entry in self.encoder_blocks.split(","):
            if "x" in entry:
                resolution, count = _two_integers(entry, "x")
                specs += [EncoderBlockSpec(resolution)] * count
            elif "d" in entry:
                resolution, pool = _two_integers(entry, "d")
                specs.append(EncoderBlockSpec(resolution, pool))
            else:
                specs.append(EncoderBlockSpec(_integer(entry, entry)))
        return tuple(specs)

    def decoder_specs(self) -> tuple[DecoderBlockSpec, ...]:
        """Latent layers, coarsest first."""
        specs: list[DecoderBlockSpec] = []
        for entry in self.decoder_blocks.split(","):
            if "x" in entry:
                resolution, count = _two_integers(entry, "x")
                specs += [DecoderBlockSpec(resolution)] * count
            elif "m" in entry:
                resolution, source = _two_integers(entry, "m")
                specs.append(DecoderBlockSpec(resolution, source))
            else:
                specs.append(DecoderBlockSpec(_integer(entry, entry)))
        return tuple(specs)

    def encoder_resolutions(self) -> set[int]:
        """Resolutions at which the encoder leaves activations."""
        return {self.image_size} | {spec.resolution // spec.pool for spec in self.encoder_specs()}

    def latent_sizes(self) -> tuple[int, ...]:
        """Values in each latent layer: channels x resolution squared."""
        return tuple(self.latent_channels * spec.resolution**2 for spec in self.decoder_specs())

    @property
    def top_size(self) -> int:
        """Values in the first ``top_layers`` layers together (91,168 for ImageNet-64)."""
        return sum(self.latent_sizes()[: self.top_layers])

    def save(self, path: Path) -> None:
        """Write the configuration as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> VDVAEConfig:
        """Read what `save` wrote.

        Raises
        ------
        DataError
            If the file is not JSON or its keys are not this class's fields.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError) as error:
            raise DataError(f"{path}: expected a VDVAE configuration in JSON, could not read it ({error})") from error
        known = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or not {"encoder_blocks", "decoder_blocks"} <= set(values) <= known:
            found = sorted(values) if isinstance(values, dict) else type(values).__name__
            raise DataError(f"{path}: expected the keys {sorted(known)}, found {found}")
        return cls(**values)


def _integer(text: str, entry: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise DataError(
            f"VDVAE block string: cannot read {entry!r}; expected e.g. '64x11', '64d2', '8m4' or '1'"
        ) from error


def _two_integers(entry: str, letter: str) -> tuple[int, int]:
    first, _, second = entry.partition(letter)
    return _integer(first, entry), _integer(second, entry)


IMAGENET64 = VDVAEConfig(
    encoder_blocks="64x11,64d2,32x20,32d2,16x9,16d2,8x8,8d2,4x7,4d4,1x5",
    decoder_blocks="1x2,4m1,4x3,8m4,8x7,16m8,16x15,32m16,32x31,64m32,64x12",
)
"""OpenAI's ImageNet-64 network, 125 million parameters; the first 31 layers are Brain-Diffuser's 91,168 latents."""

TINY = VDVAEConfig(
    encoder_blocks="64x2,64d2,32x3,32d2,16x3,16d2,8x2,8d2,4x2,4d4,1x1",
    decoder_blocks="1x1,4m1,4x1,8m4,8x2,16m8,16x3,32m16,32x4,64m32,64x2",
    width=128,
    top_layers=10,
)
"""A network of the same family that trains in minutes: 17 latent layers, of which 10 reach up to 16 px."""
