"""Handing a network's parts to torch's compiler."""

from __future__ import annotations

import inspect

import torch

from braindec.training.module import TrainingModule


def compile_parts(module: TrainingModule) -> None:
    """Compile each part by itself: graphs then do not depend on which subjects a step pairs."""
    network = module.network
    for part in (*network.adapters.values(), network.encoder, *network.heads.values(), *network.builders.values()):
        part.compile()
    for adapter in network.adapters.values():
        if hasattr(adapter, "embed"):
            # A network with builders calls this half of the adapter by itself.
            adapter.embed = torch.compile(adapter.embed)
    if inspect.ismethod(getattr(network.encoder, "tokens", None)):
        # Pre-training calls this in place of the encoder itself.
        network.encoder.tokens = torch.compile(network.encoder.tokens)
    for prior in network.priors.values():
        prior.network.compile()
