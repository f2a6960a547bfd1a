"""Adapters that keep the axes of space and time. Legend: B batch, S space, T time, C channels, W width."""

from __future__ import annotations

import math

import torch
from torch import nn

from braindec.models.shapes import SignalShape


class IdentityAdapter(nn.Module):
    """The signal as it is: (B, S, T) -> (B, S, T)."""

    def __init__(self, signal: SignalShape) -> None:
        super().__init__()
        self.out_shape = (signal.n_space, signal.n_times)

    def forward(self, signal_BST: torch.Tensor) -> torch.Tensor:
        """The signal."""
        return signal_BST


class JitteredSignal(nn.Module):
    """The signal as it is, in training with noise, shifted in time, and without some channels: (B, S, T) -> (B, S, T).

    Parameters
    ----------
    noise : SD of the noise, in units of the signal's SD over the batch.
    shift : largest shift in samples, either way, drawn for each trial; what leaves one end repeats the last sample.
    channel_dropout : share of channels, drawn for each trial, that are set to 0.
    """

    def __init__(self, signal: SignalShape, noise: float = 0.0, shift: int = 0, channel_dropout: float = 0.0) -> None:
        super().__init__()
        self.noise, self.shift, self.channel_dropout = noise, shift, channel_dropout
        self.out_shape = (signal.n_space, signal.n_times)

    def forward(self, signal_BST: torch.Tensor) -> torch.Tensor:
        """The signal."""
        if not self.training:
            return signal_BST
        batch, n_space, n_times = signal_BST.shape
        device = signal_BST.device
        if self.shift:
            start_B1 = torch.randint(-self.shift, self.shift + 1, (batch, 1), device=device)
            time_BT = (torch.arange(n_times, device=device) + start_B1).clamp(0, n_times - 1)
            signal_BST = signal_BST.gather(2, time_BT[:, None].expand(-1, n_space, -1))
        if self.noise:
            signal_BST = noisy(signal_BST, self.noise)
        if self.channel_dropout:
            signal_BST = signal_BST * (torch.rand(batch, n_space, 1, device=device) >= self.channel_dropout)
        return signal_BST


def noisy(signal_BST: torch.Tensor, sd: float) -> torch.Tensor:
    """The signal with white noise added, of ``sd`` times the signal's SD over the batch.

    Source: Bishop 1995 (training with noise is Tikhonov regularisation).
    """
    return signal_BST + sd * signal_BST.std() * torch.randn_like(signal_BST)


class FlattenAdapter(nn.Module):
    """The signal as a row: (B, S, T) -> (B, S * T)."""

    def __init__(self, signal: SignalShape) -> None:
        super().__init__()
        self.out_shape = (signal.n_values,)

    def forward(self, signal_BST: torch.Tensor) -> torch.Tensor:
        """The row."""
        return signal_BST.flatten(1)


class SubjectLayer(nn.Module):
    """One matrix over channels a subject, the same at every time point: (B, S, T) -> (B, C, T).

    Source: Defossez et al. 2023, equation 4 and its initialisation in Meta's neuraltrain (``SubjectLayers``).
    """

    def __init__(self, signal: SignalShape, n_channels: int) -> None:
        super().__init__()
        scale = 1 / math.sqrt(signal.n_space)
        self.weight = nn.Parameter(torch.randn(n_channels, signal.n_space) * scale)
        self.bias = nn.Parameter(torch.randn(n_channels) * scale)
        self.out_shape = (n_channels, signal.n_times)

    def forward(self, signal_BST: torch.Tensor) -> torch.Tensor:
        """Channels (B, C, T)."""
        return torch.matmul(self.weight, signal_BST) + self.bias[:, None]


class ChannelTokens(nn.Module):
    """Each channel's time course becomes a token, after a token of the subject: (B, S, T) -> (B, 1 + S, W).

    Source: ATM (Li et al. 2024; dongyangli-del/EEG_Image_decode, ``DataEmbedding``) with an input layer a subject.
    """

    def __init__(self, signal: SignalShape, width: int, dropout: float = 0.25) -> None:
        super().__init__()
        self.value = nn.Linear(signal.n_times, width)
        self.register_buffer("position", _sinusoids(signal.n_space, width), persistent=False)
        self.subject = nn.Parameter(torch.randn(1, width))
        self.dropout = nn.Dropout(dropout)
        self.out_shape = (1 + signal.n_space, width)

    def forward(self, signal_BST: torch.Tensor) -> torch.Tensor:
        """Tokens, the subject's first."""
        tokens = self.value(signal_BST) + self.position
        subject = self.subject.expand(len(tokens), 1, -1)
        return self.dropout(torch.cat([subject, tokens], dim=1))


def _sinusoids(n_positions: int, width: int) -> torch.Tensor:
    """Sine and cosine positions (n_positions, width). Source: Vaswani et al. 2017, section 3.5."""
    position = torch.arange(n_positions)[:, None]
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    table = torch.zeros(n_positions, width)
    table[:, 0::2] = torch.sin(position * rate)
    table[:, 1::2] = torch.cos(position * rate)[:, : width // 2]
    return table
