"""A diffusion prior whose network is a transformer over condition, level and noisy tokens.

Legend: B batch, K tokens, D width, H heads, L length of the sequence (2 K + 1), Q of them that ask.
Source: DALL-E 2's prior as used by MindEye2 and STTM (``PriorNetwork`` with learned positions): multi-query attention
on normalised queries and keys with a null key, relative position bias, SwiGLU. Its rotary embedding of queries and
keys, which has no weights, is left out: positions are learned and biased already.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from braindec.models.priors.fused_attention import biased_attention, possible
from braindec.models.priors.prior import DiffusionPrior
from braindec.models.priors.schedule import PredictionKind, ScheduleName

ATTENTION_SCALE = 16.0


class Gain(nn.Module):
    """Layer norm with a gain and no bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Normalised values."""
        return nn.functional.layer_norm(values, values.shape[-1:], self.gain)


class SwiGLU(nn.Module):
    """``first * silu(second)`` of the halves of the last axis."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Half as many values."""
        first, second = values.chunk(2, dim=-1)
        return first * nn.functional.silu(second)


class MultiQueryAttention(nn.Module):
    """Attention whose heads share keys and values: (B, L, D) -> (B, Q, D)."""

    def __init__(self, width: int, n_heads: int, head_width: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm = Gain(width)
        self.query = nn.Linear(width, n_heads * head_width, bias=False)
        self.key_value = nn.Linear(width, 2 * head_width, bias=False)
        self.null = nn.Parameter(torch.randn(2, head_width))
        self.out = nn.Sequential(nn.Linear(n_heads * head_width, width, bias=False), Gain(width))

    def forward(self, tokens_BLD: torch.Tensor, bias_HQM: torch.Tensor) -> torch.Tensor:
        """The last tokens, as many as the bias has rows, after attention to all of them.

        ``bias_HQM`` is added to the scores, its first column for the null key.
        """
        batch, length = len(tokens_BLD), bias_HQM.shape[1]
        normed = self.norm(tokens_BLD)
        query = self.query(normed[:, -length:]).view(batch, length, self.n_heads, -1)
        key, value = self.key_value(normed).chunk(2, dim=-1)
        null = self.null.to(key.dtype).expand(batch, 1, 2, -1)
        key, value = (torch.cat([null[:, :, i], v], dim=1) for i, v in enumerate((key, value)))
        root = math.sqrt(ATTENTION_SCALE)
        query, key = (nn.functional.normalize(v.float(), dim=-1).to(value.dtype) * root for v in (query, key))
        attend = biased_attention if possible(query) else plain_attention
        return self.out(attend(query, key, value, bias_HQM).reshape(batch, length, -1))


def plain_attention(
    query_BLHD: torch.Tensor, key_BMD: torch.Tensor, value_BMD: torch.Tensor, bias_HLM: torch.Tensor
) -> torch.Tensor:
    """As `biased_attention`, of torch's own parts and for any device and type."""
    n_heads, width = query_BLHD.shape[2:]
    key, value = (v[:, None].expand(-1, n_heads, -1, -1) for v in (key_BMD, value_BMD))
    # Fused attention needs a multiple of eight; zeros change neither scores nor the values before them.
    query, key, value = (nn.functional.pad(v, (0, -width % 8)) for v in (query_BLHD.transpose(1, 2), key, value))
    bias = bias_HLM.to(value.dtype)[None]
    attended = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1.0)
    return attended[..., :width].transpose(1, 2)


class RelativeBias(nn.Module):
    """A learned bias by head and bucketed distance. Source: Raffel et al. 2020, section 2.1, one-sided."""

    def __init__(self, n_heads: int, n_buckets: int = 32, largest: int = 128) -> None:
        super().__init__()
        self.bias = nn.Embedding(n_buckets, n_heads)
        self.n_buckets, self.largest = n_buckets, largest

    def forward(self, length: int, device: torch.device) -> torch.Tensor:
        """Bias (H, length, length + 1) over the null key and all tokens."""
        query = torch.arange(length, device=device)[:, None]
        key = torch.arange(length + 1, device=device)[None]
        behind = (query - key).clamp(min=0)
        exact = self.n_buckets // 2
        ratio = torch.log(behind.clamp(min=1).float() / exact) / math.log(self.largest / exact)
        far = (exact + (ratio * (self.n_buckets - exact)).long()).clamp(max=self.n_buckets - 1)
        bucket = torch.where(behind < exact, behind, far)
        # The gradient of looking up is added number by number to few places; that of a product is summed in parallel.
        chosen = nn.functional.one_hot(bucket.flatten(), self.n_buckets).float()
        with torch.autocast(device.type, enabled=False):
            return (self.bias.weight.T.float() @ chosen.T).unflatten(1, bucket.shape)


class PriorTransformer(nn.Module):
    """Predicts from the tokens of condition, noise level and noisy embedding, at the places of the last."""

    def __init__(self, shape_KD: tuple[int, int], depth: int, n_heads: int, head_width: int) -> None:
        super().__init__()
        n_tokens, width = shape_KD
        self.n_tokens, self.width = n_tokens, width
        self.level = nn.Sequential(
            nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, 2 * width), nn.SiLU(),
            nn.Linear(2 * width, width),
        )  # fmt: skip
        self.position = nn.Parameter(torch.randn(n_tokens, width) / math.sqrt(width))
        self.null_condition = nn.Parameter(torch.randn(n_tokens, width))
        self.bias = RelativeBias(n_heads)
        self.attention = nn.ModuleList(MultiQueryAttention(width, n_heads, head_width) for _ in range(depth))
        self.mlp = nn.ModuleList(
            nn.Sequential(
                Gain(width),
                nn.Linear(width, 8 * width, bias=False),
                SwiGLU(),
                nn.Linear(4 * width, width, bias=False),
            )
            for _ in range(depth)
        )
        self.norm = Gain(width)
        self.out = nn.Linear(width, width, bias=False)

    def forward(
        self, noisy_BKD: torch.Tensor, level_B: torch.Tensor, condition_BKD: torch.Tensor, kept_B: torch.Tensor
    ) -> torch.Tensor:
        """Prediction (B, K, D); where ``kept_B`` is false the condition is a learned constant."""
        condition = torch.where(kept_B[:, None, None], condition_BKD, self.null_condition.to(condition_BKD.dtype))
        level = self.level(level_features(level_B, self.width).to(noisy_BKD.dtype))[:, None]
        tokens = torch.cat([condition, level.to(condition.dtype), noisy_BKD + self.position], dim=1)
        bias = self.bias(tokens.shape[1], tokens.device)
        last = len(self.mlp) - 1
        for number, (attend, mlp) in enumerate(zip(self.attention, self.mlp)):
            # Nothing reads what the last block would make of the tokens before the noisy ones.
            asking = self.n_tokens if number == last else tokens.shape[1]
            tokens = tokens[:, -asking:] + attend(tokens, bias[:, -asking:])
            tokens = tokens + mlp(tokens)
        return self.out(self.norm(tokens))


def level_features(level_B: torch.Tensor, width: int) -> torch.Tensor:
    """Sines and cosines (B, width) of noise levels. Source: Vaswani et al. 2017, section 3.5."""
    half = width // 2
    rate = torch.exp(torch.arange(half, device=level_B.device) * (-math.log(10_000.0) / max(half - 1, 1)))
    phase = level_B[:, None].float() * rate
    features = torch.cat([phase.sin(), phase.cos()], dim=1)
    return nn.functional.pad(features, (0, width - 2 * half))


class TransformerPrior(DiffusionPrior):
    """The prior of MindEye2 and STTM: see `PriorTransformer` and `DiffusionPrior`."""

    def __init__(
        self,
        shape_KD: tuple[int, int],
        depth: int = 6,
        n_heads: int = 12,
        head_width: int = 64,
        n_levels: int = 100,
        schedule: ScheduleName = "cosine",
        predicts: PredictionKind = "x0",
        condition_drop: float = 0.2,
        n_steps: int = 20,
        guidance: float = 1.0,
        scale: float = 1.0,
    ) -> None:
        super().__init__(shape_KD, n_levels, schedule, predicts, condition_drop, n_steps, guidance, scale)
        self.network = PriorTransformer(shape_KD, depth, n_heads, head_width)
