"""Pictures found by optimisation, so that a frozen network's features of them match predicted features.

Legend: N items, K tokens, D dimensions, C channels, H W picture height and width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from braindec.contracts import StageContext
from braindec.frozen.images import ImagePreprocessing, to_uint8
from braindec.frozen.noise import noise_of
from braindec.frozen.vae import AutoencoderKL
from braindec.stages.batches import in_batches
from braindec.stages.inputs import extended, predicted, target_with
from braindec.stages.seeds import item_seeds
from braindec.types import DataError, Predictions, Reconstructions

Variable = Literal["pixels", "latent", "deep_image_prior"]

_PRIOR_CHANNELS = 32
_PRIOR_DOUBLINGS = 4


class Optimise:
    """Changes a picture by gradient descent until its features are the predicted ones.

    Each item is optimised by itself (its own loss, its own noise), whatever its batch.

    Parameters
    ----------
    features : target of predicted features -> its weight; the targets' networks must read images (e.g. VGG19, CLIP).
    variable : what is changed: ``pixels``, ``latent`` (an autoencoder's), or ``deep_image_prior``, the weights of an
        untrained convolutional network, whose architecture alone keeps the picture natural. The first two start from
        the previous stage's picture, or from grey without one; the last always from noise.
    autoencoder : needed for ``latent``.
    size : side of the picture in pixels.
    steps, learning_rate : of Adam.
    smoothness : weight of the total variation.
    batch_size : items together; halved when memory runs out.

    Source: feature matching with an energy-normalised squared error as in Shen et al. 2019 (PLoS Comput. Biol.
    15:e1006633) and Takagi and Nishimoto's technical report (arXiv:2306.11536); Ulyanov et al. 2018 (deep image
    prior), decoder only as in Heckel and Hand 2019.
    """

    def __init__(
        self,
        features: Mapping[str, float],
        variable: Variable = "pixels",
        autoencoder: AutoencoderKL | None = None,
        size: int = 224,
        steps: int = 200,
        learning_rate: float = 0.05,
        smoothness: float = 0.01,
        batch_size: int = 16,
    ) -> None:
        if not features or min(features.values()) < 0:
            raise DataError(f"stage optimise: expected targets with weights of at least 0, found {dict(features)}")
        if variable == "latent" and autoencoder is None:
            raise DataError("stage optimise: variable latent needs an autoencoder")
        if size % 2**_PRIOR_DOUBLINGS or size < 2 ** (_PRIOR_DOUBLINGS + 1) or steps < 1:
            raise DataError(
                f"stage optimise: expected a size of at least {2 ** (_PRIOR_DOUBLINGS + 1)} that "
                f"{2**_PRIOR_DOUBLINGS} divides and steps >= 1, found size {size} and steps {steps}"
            )
        self.features = dict(features)
        self.variable: Variable = variable
        self.autoencoder = autoencoder
        self.size = size
        self.steps = steps
        self.learning_rate = learning_rate
        self.smoothness = smoothness
        self.batch_size = batch_size

    def run(self, predictions: Predictions, previous: Reconstructions | None, context: StageContext) -> Reconstructions:
        """Make the pictures; captions and labels of earlier stages are kept.

        The columns ``feature_loss_start`` and ``feature_loss`` tell how far features were from the predicted ones.

        Raises
        ------
        DataError
            If features were not predicted or are of another shape, or their network cannot be differentiated.
        """
        stage = f"optimise({', '.join(self.features)})"
        wanted = {name: predicted(predictions, name, stage) for name in self.features}
        networks = {name: _network_of(context, name, stage).to(context.device) for name in self.features}
        seeds = item_seeds(predictions, context.seed)
        starts = None if previous is None else previous.images

        def work(rows: np.ndarray, size: int) -> tuple[np.ndarray, list[float], list[float]]:
            targets = {name: torch.as_tensor(np.asarray(values[rows])) for name, values in wanted.items()}
            begun = None if starts is None else starts[rows]
            own = [seeds[row] for row in rows]
            return self._optimised(begun, targets, networks, own, context.device, stage)

        try:
            parts = in_batches(len(predictions), self.batch_size, work, stage, self._set_batch_size)
        finally:
            for network in networks.values():
                network.to("cpu")
        images = np.concatenate([part[0] for part in parts])
        notes = {
            name: [round(value, 6) for part in parts for value in part[index]]
            for index, name in ((1, "feature_loss_start"), (2, "feature_loss"))
        }
        return extended(previous, predictions, stage, images=images, notes=notes)

    def _set_batch_size(self, size: int) -> None:
        self.batch_size = size

    def _optimised(
        self,
        starts: np.ndarray | None,
        wanted: Mapping[str, Tensor],
        networks: Mapping[str, Any],
        seeds: list[int],
        device: str,
        stage: str,
    ) -> tuple[np.ndarray, list[float], list[float]]:
        wanted = {name: values.to(device) for name, values in wanted.items()}
        with torch.enable_grad():
            drawing = self._drawing(starts, seeds, device)
            optimiser = torch.optim.Adam(drawing.parameters(), self.learning_rate)
            first: Tensor | None = None
            for _ in range(self.steps):
                pixels_N3HW = drawing()
                losses_N = self._losses(pixels_N3HW, wanted, networks, stage)
                first = losses_N.detach() if first is None else first
                optimiser.zero_grad()
                # A sum over items: none of them changes another's gradient.
                (losses_N + self.smoothness * total_variation(pixels_N3HW)).sum().backward()
                optimiser.step()
        assert first is not None
        with torch.no_grad():
            pixels_N3HW = drawing()
            last = self._losses(pixels_N3HW, wanted, networks, stage)
        return to_uint8(pixels_N3HW * 2 - 1), first.tolist(), last.tolist()

    def _drawing(self, starts: np.ndarray | None, seeds: list[int], device: str) -> nn.Module:
        if self.variable == "deep_image_prior":
            return DeepImagePriors(seeds, self.size).to(device)
        if starts is None:
            starts = np.full((len(seeds), self.size, self.size, 3), 128, np.uint8)
        if self.variable == "latent":
            assert self.autoencoder is not None
            network = self.autoencoder.to(device)
            network.image_size = self.size
            with torch.no_grad():
                return _Latents(network, network.encode_batch(starts))
        pixels = torch.as_tensor(starts, device=device).permute(0, 3, 1, 2).float() / 255
        return _Pixels(interpolate(pixels, (self.size, self.size), mode="bicubic", antialias=True))

    def _losses(
        self, pixels_N3HW: Tensor, wanted: Mapping[str, Tensor], networks: Mapping[str, Any], stage: str
    ) -> Tensor:
        """Squared error over the predicted features' energy, weighted over targets, (N,)."""
        total = pixels_N3HW.new_zeros(len(pixels_N3HW))
        for name, weight in self.features.items():
            found_NKD = features_of(networks[name], pixels_N3HW).float()
            if found_NKD.shape != wanted[name].shape:
                raise DataError(
                    f"stage {stage}: pictures have features {tuple(found_NKD.shape[1:])} of target {name!r}, "
                    f"predictions {tuple(wanted[name].shape[1:])}; train again with that target's configuration"
                )
            error = ((found_NKD - wanted[name]) ** 2).sum(dim=(1, 2))
            total = total + weight * error / (wanted[name] ** 2).sum(dim=(1, 2)).clamp_min(1e-12)
        return total


class _Pixels(nn.Module):
    """Pixels themselves, kept in (0, 1) by a logistic function."""

    def __init__(self, start_N3HW: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.logit(start_N3HW.clamp(0, 1), eps=0.02))

    def forward(self) -> Tensor:
        return torch.sigmoid(self.logits)


class _Latents(nn.Module):
    """An autoencoder's latents; its weights are frozen."""

    def __init__(self, network: AutoencoderKL, start_NCD: Tensor) -> None:
        super().__init__()
        self.decode = network.decode_batch
        self.latents = nn.Parameter(start_NCD.detach().float().clone())

    def forward(self) -> Tensor:
        # Ids play no part in an autoencoder without noise.
        return (self.decode(self.latents, []).float() / 2 + 0.5).clamp(0, 1)


class DeepImagePriors(nn.Module):
    """One untrained decoder an item, from fixed noise to a picture; each item's from its own seed."""

    def __init__(self, seeds: list[int], size: int) -> None:
        super().__init__()
        side = size // 2**_PRIOR_DOUBLINGS
        self.register_buffer("noise", noise_of(seeds, (_PRIOR_CHANNELS, side, side), "cpu"))
        self.decoders = nn.ModuleList(_prior_decoder(seed) for seed in seeds)

    def forward(self) -> Tensor:
        """Pictures (N, 3, H, W) in (0, 1)."""
        noise = self.get_buffer("noise")
        return torch.cat([decoder(noise[i : i + 1]) for i, decoder in enumerate(self.decoders)])


def _prior_decoder(seed: int) -> nn.Module:
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(_PRIOR_DOUBLINGS):
            layers += [
                nn.Conv2d(_PRIOR_CHANNELS, _PRIOR_CHANNELS, 3, padding=1, padding_mode="reflect"),
                nn.Upsample(scale_factor=2, mode="bilinear"),
                nn.InstanceNorm2d(_PRIOR_CHANNELS, affine=True),
                nn.LeakyReLU(0.2),
            ]
        layers += [nn.Conv2d(_PRIOR_CHANNELS, 3, 1), nn.Sigmoid()]
    return nn.Sequential(*layers)


def total_variation(pixels_N3HW: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels, (N,)."""
    down = (pixels_N3HW[:, :, 1:] - pixels_N3HW[:, :, :-1]).abs().mean(dim=(1, 2, 3))
    across = (pixels_N3HW[..., 1:] - pixels_N3HW[..., :-1]).abs().mean(dim=(1, 2, 3))
    return down + across


def features_of(network: Any, pixels_N3HW: Tensor) -> Tensor:
    """A frozen image network's features (N, K, D) of pixels in [0, 1], with gradients."""
    _ = network.module  # loading it is what tells its preprocessing
    prepared = prepared_smoothly(pixels_N3HW, network.preprocessing_).to(network.torch_dtype)
    with _prepared_already(network):
        return network.encode_batch(prepared)


def prepared_smoothly(pixels_N3HW: Tensor, settings: ImagePreprocessing) -> Tensor:
    """As `ImagePreprocessing` does it to square pictures, without rounding to grey levels, so that gradients pass."""
    side = pixels_N3HW.shape[-1]
    resize = settings.resize
    size = (side, side) if resize is None else (resize, resize) if isinstance(resize, int) else resize
    pixels = interpolate(pixels_N3HW, size, mode=settings.interpolation, antialias=True).clamp(0, 1)
    if settings.crop is not None:
        top, left = (round((length - settings.crop) / 2) for length in size)
        pixels = pixels[..., top : top + settings.crop, left : left + settings.crop]
    mean, sd = (pixels.new_tensor(values).view(1, 3, 1, 1) for values in (settings.mean, settings.sd))
    return (pixels * 255 * settings.scale - mean) / sd


class _Passing:
    """Stands in for the preprocessing of what is prepared already."""

    def __call__(self, images: Tensor, device: str) -> Tensor:
        return images


@contextmanager
def _prepared_already(network: Any) -> Iterator[None]:
    published = network.preprocessing_
    network.preprocessing_ = _Passing()
    try:
        yield
    finally:
        network.preprocessing_ = published


def _network_of(context: StageContext, target: str, stage: str) -> Any:
    network = target_with(context, target, "network", stage).network
    if getattr(network, "modality", None) != "image":
        raise DataError(f"stage {stage}: target {target!r} is not of pictures; name one whose network reads images")
    _ = network.module
    if not isinstance(getattr(network, "preprocessing_", None), ImagePreprocessing):
        raise DataError(f"stage {stage}: gradients cannot pass the preprocessing of target {target!r}")
    return network
