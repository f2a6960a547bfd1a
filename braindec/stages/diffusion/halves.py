"""A diffusers U-Net in two halves, so that the first half's features can serve several steps.

Legend: n pictures, C channels, h w latent height and width, K tokens, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from braindec.types import DataError


@dataclass(frozen=True)
class Features:
    """What the second half needs of the first: the middle's output and the skip connections, finest first."""

    middle_nChw: Tensor
    skips: tuple[Tensor, ...]


@dataclass(frozen=True)
class FeatureReuse:
    """Run the first half at some steps only, and reuse its features at the steps between.

    Parameters
    ----------
    every : after the first steps, the first half runs at one step in so many.
    always_first : so many first steps are always whole; features change most there.
    inject : weight of the initial noise that is added to the latents in the second half of the walk, which gives back
        the fine texture that reuse takes away; 0 adds none.

    Source: Li et al. 2023, Faster Diffusion (arXiv:2312.09608): encoder propagation and prior noise injection.
    """

    every: int = 3
    always_first: int = 4
    inject: float = 0.003

    def __post_init__(self) -> None:
        if self.every < 1 or self.always_first < 1:
            raise DataError(
                f"FeatureReuse: expected every and always_first >= 1, found {self.every} and {self.always_first}"
            )

    def is_key(self, step: int) -> bool:
        """Whether the first half runs at this 0-based step."""
        return step < self.always_first or (step - self.always_first) % self.every == self.every - 1


class Halves:
    """The two halves of a `UNet2DConditionModel`, and the whole; compiled when asked to.

    ``added`` is what SDXL-like networks want beside the context (``text_embeds``, ``time_ids``, ``image_embeds``).

    Source: the order of operations is that of diffusers' models/unets/unet_2d_condition.py.
    """

    def __init__(self, unet: Any, compiled: bool = False) -> None:
        self.unet = unet
        parts: list[Callable[..., Any]] = [self._run_whole, self._run_down, self._run_up]
        self._whole, self._down, self._up = [torch.compile(p, dynamic=False) for p in parts] if compiled else parts

    def whole(self, latents_nChw: Tensor, times_n: Tensor, context_nKD: Tensor, added: Any = None) -> Tensor:
        """Predicted noise (or velocity, or sample) of one step."""
        return self._whole(latents_nChw, times_n, context_nKD, added)

    def down(self, latents_nChw: Tensor, times_n: Tensor, context_nKD: Tensor, added: Any = None) -> Features:
        """First half: features of the latents."""
        middle, skips = self._down(latents_nChw, times_n, context_nKD, added)
        return Features(middle, skips)

    def up(self, features: Features, times_n: Tensor, context_nKD: Tensor, added: Any = None) -> Tensor:
        """Second half: what `whole` returns, of features that may stem from an earlier step."""
        return self._up(features.middle_nChw, features.skips, times_n, context_nKD, added)

    def _run_whole(self, latents_nChw: Tensor, times_n: Tensor, context_nKD: Tensor, added: Any) -> Tensor:
        return self.unet(latents_nChw, times_n, context_nKD, added_cond_kwargs=added, return_dict=False)[0]

    def _embedded(self, like: Tensor, times_n: Tensor, context_nKD: Tensor, added: Any) -> tuple[Tensor, Tensor]:
        unet = self.unet
        embedding = unet.time_embedding(unet.get_time_embed(sample=like, timestep=times_n))
        extra = unet.get_aug_embed(emb=embedding, encoder_hidden_states=context_nKD, added_cond_kwargs=added)
        embedding = embedding if extra is None else embedding + extra
        if unet.time_embed_act is not None:
            embedding = unet.time_embed_act(embedding)
        context = unet.process_encoder_hidden_states(encoder_hidden_states=context_nKD, added_cond_kwargs=added)
        return embedding, context

    def _run_down(
        self, latents_nChw: Tensor, times_n: Tensor, context_nKD: Tensor, added: Any
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        embedding, context = self._embedded(latents_nChw, times_n, context_nKD, added)
        x_nChw = self.unet.conv_in(latents_nChw)
        skips: tuple[Tensor, ...] = (x_nChw,)
        for block in self.unet.down_blocks:
            given = {"encoder_hidden_states": context} if _attends(block) else {}
            x_nChw, more = block(hidden_states=x_nChw, temb=embedding, **given)
            skips += more
        if self.unet.mid_block is not None:
            given = {"encoder_hidden_states": context} if _attends(self.unet.mid_block) else {}
            x_nChw = self.unet.mid_block(x_nChw, embedding, **given)
        return x_nChw, skips

    def _run_up(
        self, middle_nChw: Tensor, skips: tuple[Tensor, ...], times_n: Tensor, context_nKD: Tensor, added: Any
    ) -> Tensor:
        embedding, context = self._embedded(middle_nChw, times_n, context_nKD, added)
        x_nChw = middle_nChw
        for block in self.unet.up_blocks:
            skips, own = skips[: -len(block.resnets)], skips[-len(block.resnets) :]
            given: dict[str, Any] = {"encoder_hidden_states": context} if _attends(block) else {}
            # Sides that are not a power of two: what is upsampled takes the size of the skip connection it meets.
            size = skips[-1].shape[2:] if skips else None
            x_nChw = block(
                hidden_states=x_nChw, temb=embedding, res_hidden_states_tuple=own, upsample_size=size, **given
            )
        if self.unet.conv_norm_out:
            x_nChw = self.unet.conv_act(self.unet.conv_norm_out(x_nChw))
        return self.unet.conv_out(x_nChw)


def _attends(block: Any) -> bool:
    return bool(getattr(block, "has_cross_attention", False))
