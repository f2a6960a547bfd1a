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


@dataclass(frozen=True)
class Story:
    """One recording's sound: waveform at `RATE_HZ` and its transcript."""

    name: str
    sound: np.ndarray
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
        pitch = int(rng.integers(N_PITCHES))
        for word in words:
            sound = speak(word, pitch, voice)
            onset = np.ceil(clock * rate_hz) / rate_hz
            placed.append((round(onset * RATE_HZ), sound * float(rng.uniform(0.7, 1.0))))
            rows.append((name, onset, len(sound) / RATE_HZ, word, number))
            clock = onset + len(sound) / RATE_HZ + _GAP_S * float(rng.uniform(0.5, 1.5))
        clock += _PAUSE_S * float(rng.uniform(0.7, 1.3))
    story = np.zeros(round((clock + _LEAD_S) * RATE_HZ), dtype=np.float32)
    for start, sound in placed:
        story[start : start + len(sound)] += sound
    story += 0.001 * rng.standard_normal(len(story), dtype=np.float32)
    return Story(name, story, pd.DataFrame(rows, columns=["sound", "onset_s", "duration_s", "word", "sentence"]))
