"""Which calls of a network are compiled."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from braindec.models.encoders.mixer import MixerEncoder
from braindec.models.encoders.transformer import TokenTransformer
from braindec.training.compiling import compile_parts


def compiled(encoder: nn.Module, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What `compile_parts` hands to the compiler of a network that is an encoder alone."""
    found: list[Any] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self: found.append(self))
    monkeypatch.setattr(torch, "compile", lambda call: found.append(call) or call)
    none = nn.ModuleDict()
    network = SimpleNamespace(adapters=none, encoder=encoder, heads=none, builders=none, priors=none)
    compile_parts(SimpleNamespace(network=network))  # type: ignore[arg-type]
    return found


def test_what_pre_training_calls_of_a_transformer_is_compiled_too(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = TokenTransformer((4, 3), width=8, depth=1, n_heads=2)
    whole, tokens = compiled(encoder, monkeypatch)
    assert whole is encoder
    assert tokens.__func__ is TokenTransformer.tokens
    assert encoder.tokens(torch.zeros(2, 4, 3)).shape == (2, 4, 8)


def test_another_encoder_s_parts_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = MixerEncoder((16,))
    assert compiled(encoder, monkeypatch) == [encoder]
    assert isinstance(encoder.tokens, nn.ModuleList)
