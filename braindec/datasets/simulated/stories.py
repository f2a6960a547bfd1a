"""Stories: sentences spoken one after the other, with the transcript of where each word is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from braindec.datasets.simulated.voice import N_PITCHES, RATE_HZ, speak

_PAUSE_S = 0.35
_GAP_S = 0.04
_LEAD_S = 1.0
_LEVEL = (0.3, 1.0)
_BACKGROUND = 0.004
_SWELL_S = 1.5


@dataclass(frozen=True)
class Story:
    """One recording's sound.

    Attributes
    ----------
    sound : waveform at `RATE_HZ`: each sentence in a voice and at a level of its own, over a background.
    plain : the same words at the same times, all in the middle voice at one level, without background.
    words : the transcript.
    """

    name: str
    sound: np.ndarray
    plain: np.ndarray
    words: pd.DataFrame


def tell(
    name: str,
    sentences: list[tuple[str, ...]],
    voice: Literal["espeak", "builtin"],
    rate_hz: float,
    rng: np.random.Generator,
) -> Story:
    """Sentences spoken one after the other; words begin on the recording's samples, so that nothing is interpolated."""
    placed, rows, clock = [], [], _LEAD_S
    for number, words in enumerate(sentences):
        pitch, level = int(rng.integers(N_PITCHES)), float(rng.uniform(*_LEVEL))
        for word in words:
            sound = speak(word, pitch, voice)
            onset = np.ceil(clock * rate_hz) / rate_hz
            first = round(onset * RATE_HZ)
            placed.append((first, sound * level * float(rng.uniform(0.7, 1.0)), speak(word, N_PITCHES // 2, voice)))
            rows.append((name, onset, len(sound) / RATE_HZ, word, number))
            clock = onset + len(sound) / RATE_HZ + _GAP_S * float(rng.uniform(0.5, 1.5))
        clock += _PAUSE_S * float(rng.uniform(0.7, 1.3))
    n_samples = round((clock + _LEAD_S) * RATE_HZ)
    story, plain = np.zeros(n_samples, dtype=np.float32), np.zeros(n_samples, dtype=np.float32)
    for first, sound, in_plain in placed:
        story[first : first + len(sound)] += sound
        kept = in_plain[: n_samples - first]
        plain[first : first + len(kept)] += kept
    story += _background(n_samples, rng)
    plain += 0.001 * rng.standard_normal(n_samples, dtype=np.float32)
    table = pd.DataFrame(rows, columns=["sound", "onset_s", "duration_s", "word", "sentence"])
    return Story(name, story, plain, table)


def _background(n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Noise like that of a room, whose level comes and goes within seconds."""
    n_knots = max(2, round(n_samples / RATE_HZ / _SWELL_S))
    knots = np.exp(0.8 * rng.standard_normal(n_knots))
    level = np.interp(np.linspace(0, n_knots - 1, n_samples), np.arange(n_knots), knots)
    noise = rng.standard_normal(n_samples, dtype=np.float32)
    smooth = noise + np.append(0, noise[:-1])
    return np.asarray(_BACKGROUND * level * smooth, dtype=np.float32)
