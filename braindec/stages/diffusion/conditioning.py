"""All that a diffusion network sees beside the latents.

Legend: n pictures, K tokens, D dimensions, C channels, h w latent height and width, H W picture height and width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Conditioning:
    """What one pass is conditioned on; every tensor has one row a picture.

    Attributes
    ----------
    tokens_nKD : what attention reads.
    added : further vectors by the names of diffusers' ``added_cond_kwargs`` (``text_embeds``, ``time_ids``,
        ``image_embeds``), for networks of the SDXL kind.
    classes_nD : the vector that networks of the unCLIP kind take in place of a class, or None.
    channels_nChw : channels that are laid beside those of the latents, such as a depth map, or None.
    control_n3HW : picture for a ControlNet, or None.
    """

    tokens_nKD: Tensor
    added: Mapping[str, Tensor] = field(default_factory=dict)
    classes_nD: Tensor | None = None
    channels_nChw: Tensor | None = None
    control_n3HW: Tensor | None = None

    def followed_by(self, other: Conditioning) -> Conditioning:
        """The rows of this one, then those of another."""
        joined: dict[str, Any] = {}
        for entry in fields(self):
            own, more = getattr(self, entry.name), getattr(other, entry.name)
            if isinstance(own, Mapping):
                joined[entry.name] = {name: torch.cat([value, more[name]]) for name, value in own.items()}
            else:
                joined[entry.name] = None if own is None else torch.cat([own, more])
        return Conditioning(**joined)

    def added_for_unet(self) -> dict[str, Tensor | list[Tensor]] | None:
        """``added`` as diffusers wants it: one entry of a list for each IP-Adapter."""
        if not self.added:
            return None
        return {name: [value] if name == "image_embeds" else value for name, value in self.added.items()}
