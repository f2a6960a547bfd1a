"""Sounds in a report: players and spectrograms of what was heard and of what decoding found.

Legend: n samples, K time points, D dimensions, M mel bands.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from braindec.signals.audio import mel_spectrogram, resample_sound

PLAYED_HZ = 8000.0
"""Sounds are embedded at this rate, 16 bits, one channel: 48 kB for 3 s."""

_RAMP = np.array([[250, 249, 246], [206, 214, 222], [120, 150, 178], [44, 84, 122], [16, 30, 52]], dtype=np.float64)
"""Colours of a spectrogram, from silence to loud."""


@dataclass(frozen=True)
class Clip:
    """One sound: float32 (n,) in [-1, 1], its rate, its words, and a note (its place among candidates)."""

    sound: np.ndarray
    rate_hz: float
    words: str
    note: str


@dataclass(frozen=True)
class HeardItem:
    """A test segment with what decoding made of it.

    Attributes
    ----------
    item_id, rule : the item, and the rule by which it was chosen.
    rank, n_candidates : place of the truth among the candidates, 1 is best.
    heard : the truth; found : the nearest candidates, best first.
    target : name of the embedding; true_KD, decoded_KD : its true and predicted values.
    """

    item_id: str
    rule: str
    rank: float
    n_candidates: int
    heard: Clip
    found: tuple[Clip, ...]
    target: str
    true_KD: np.ndarray
    decoded_KD: np.ndarray


def wav_uri(sound: np.ndarray, rate_hz: float) -> str:
    """The sound as a WAV file in a data URI, at `PLAYED_HZ` or its own lower rate."""
    from scipy.io import wavfile

    rate = min(PLAYED_HZ, rate_hz)
    played = np.clip(resample_sound(sound, rate_hz, rate), -1, 1)
    buffer = io.BytesIO()
    wavfile.write(buffer, round(rate), np.round(played * 32767).astype(np.int16))
    return f"data:audio/wav;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def picture_uri(values_KD: np.ndarray, height: int = 64) -> str:
    """Values over time as a PNG in a data URI: time to the right, the first dimension at the bottom.

    Dimensions are thinned to ``height``; colours span the 2nd to the 98th percentile.
    """
    from PIL import Image

    step = max(1, -(-values_KD.shape[1] // height))
    kept = np.asarray(values_KD[:, ::step], dtype=np.float64).T[::-1]
    low, high = np.percentile(kept, (2, 98))
    share = np.clip((kept - low) / max(high - low, 1e-9), 0, 1) * (len(_RAMP) - 1)
    below = np.minimum(share.astype(int), len(_RAMP) - 2)
    part = (share - below)[..., None]
    pixels = (_RAMP[below] * (1 - part) + _RAMP[below + 1] * part).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=9)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def sound_cards(items: Sequence[HeardItem]) -> list[dict[str, Any]]:
    """What the page's template shows of each item."""
    return [
        {
            "id": item.item_id,
            "rule": item.rule,
            "rank": f"{item.rank:g}",
            "n": item.n_candidates,
            "clips": [_clip(item.heard, "heard"), *(_clip(clip, "found") for clip in item.found)],
            "target": item.target,
            "true": picture_uri(item.true_KD),
            "decoded": picture_uri(item.decoded_KD),
        }
        for item in items
    ]


def _clip(clip: Clip, kind: str) -> dict[str, str]:
    spectrogram_KM = mel_spectrogram(clip.sound, clip.rate_hz, 80.0, 48, high_hz=5000.0)
    return {
        "kind": kind,
        "words": clip.words,
        "note": clip.note,
        "audio": wav_uri(clip.sound, clip.rate_hz),
        "picture": picture_uri(spectrogram_KM),
    }
