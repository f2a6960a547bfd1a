"""Compiling the repeated blocks of a diffusers network, one shape once.

A U-Net of Stable Diffusion has 60 such blocks of 20 shapes; compiled one by one they are ready in a fraction of the
time that the whole network takes, serve both of its halves, and serve every other network with blocks of these shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from braindec.stages.diffusion.dual_attention import DualAttention

_MAX_SHAPES = 512


def compile_regions(network: nn.Module) -> int:
    """Compile residual blocks, transformers (a pair of them as one) and lone group norms in place; returns how many.

    Call the network under `many_shapes`. Each shape is compiled when it is first met.
    """
    from diffusers.models import Transformer2DModel
    from diffusers.models.attention import BasicTransformerBlock
    from diffusers.models.resnet import ResnetBlock2D

    def is_region(module: Any) -> bool:
        if isinstance(module, DualAttention):
            return is_region(module.image) and is_region(module.text)
        if isinstance(module, Transformer2DModel):
            # Many layers would be unrolled into one large graph; their layers are compiled instead.
            return len(module.transformer_blocks) == 1
        return isinstance(module, ResnetBlock2D | BasicTransformerBlock | nn.GroupNorm)

    def compile_below(module: nn.Module) -> int:
        count = 0
        for child in module.children():
            if is_region(child):
                child.compile(dynamic=False)
                count += 1
            else:
                count += compile_below(child)
        return count

    return compile_below(network)


@contextmanager
def many_shapes(compiled: bool = True) -> Iterator[None]:
    """Let one piece of code be compiled for many shapes; by default the ninth runs uncompiled.

    Not ``compiled``: nothing, so that the compiler is not even imported.
    """
    if not compiled:
        yield
        return
    with torch._dynamo.config.patch(recompile_limit=_MAX_SHAPES, accumulated_recompile_limit=_MAX_SHAPES):
        yield
