"""Attention to image tokens and to text tokens side by side, as Versatile Diffusion mixes them.

Legend: n pictures, C channels, h w height and width, K tokens, D dimensions.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from torch import Tensor, nn

from braindec.frozen.loading import Checkpoint, load_strictly
from braindec.types import DataError


class DualAttention(nn.Module):
    """Stands where a U-Net has one `Transformer2DModel`: runs one over image tokens, another over text tokens.

    What each adds to the stream is weighted: ``image_weight`` for the image's, the rest for the text's. The context
    (n, K, D) holds the image's tokens first, then the text's.

    Source: Xu et al. 2022, Versatile Diffusion (arXiv:2211.08332); the mixing of diffusers' `DualTransformer2DModel`.
    """

    def __init__(self, image: nn.Module, text: nn.Module, image_tokens: int) -> None:
        super().__init__()
        self.image = image
        self.text = text
        self.image_tokens = image_tokens
        self.image_weight = 0.5

    def forward(
        self, hidden_states: Tensor, encoder_hidden_states: Tensor, return_dict: bool = True, **options: Any
    ) -> tuple[Tensor]:
        """The stream (n, C, h, w) after both; other arguments are those of `Transformer2DModel`."""
        options = {name: value for name, value in options.items() if value is not None}
        # Contiguous, so that a compiled block of another network with as many tokens can serve.
        image_nKD = encoder_hidden_states[:, : self.image_tokens].contiguous()
        text_nKD = encoder_hidden_states[:, self.image_tokens :].contiguous()
        by_image = self.image(hidden_states, encoder_hidden_states=image_nKD, return_dict=False, **options)[0]
        by_text = self.text(hidden_states, encoder_hidden_states=text_nKD, return_dict=False, **options)[0]
        # Each result holds the stream itself once, and the weights sum to 1.
        return (self.image_weight * by_image + (1 - self.image_weight) * by_text,)


def make_dual(unet: Any, text_checkpoint: Checkpoint, image_tokens: int) -> None:
    """Give every attention of the image's U-Net its counterpart of the text's U-Net, in place.

    Parameters
    ----------
    text_checkpoint : weights of Versatile Diffusion's text U-Net; only its attentions are used.

    Raises
    ------
    DataError
        If an attention has no counterpart of its shape.
    """
    from diffusers.models import Transformer2DModel

    places = [name for name, module in unet.named_modules() if isinstance(module, Transformer2DModel)]
    if not places:
        raise DataError(f"{text_checkpoint.name}: the image U-Net beside it has no attention to pair with the text's")
    for place in places:
        parent, _, index = place.rpartition(".")
        own = {
            key.removeprefix(f"{place}."): value
            for key, value in text_checkpoint.tensors.items()
            if key.startswith(f"{place}.")
        }
        image = unet.get_submodule(place)
        text = deepcopy(image)
        load_strictly(text, Checkpoint(text_checkpoint.files, own))
        unet.get_submodule(parent)[int(index)] = DualAttention(image, text, image_tokens)


def set_image_weight(unet: Any, weight: float) -> None:
    """Set the image's weight of every `DualAttention`; the text gets the rest."""
    for module in unet.modules():
        if isinstance(module, DualAttention):
            module.image_weight = weight
