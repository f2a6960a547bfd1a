"""What the fakes of speech data sets share: told stories, and recordings that follow their sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from braindec.datasets.simulated.sentences import draw_sentences
from braindec.datasets.simulated.stories import Story, tell
from braindec.datasets.simulated.voice import RATE_HZ
from braindec.signals.audio import envelope, resample_sound


def fake_stories(names: list[str], n_sentences: int, seed: int) -> list[Story]:
    """Stories of ``n_sentences`` different sentences each, in the built-in voice."""
    sentences = draw_sentences(n_sentences * len(names), seed)
    made = []
    for number, name in enumerate(names):
        rng = np.random.default_rng((seed, number))
        words = [s.words for s in sentences[number * n_sentences : (number + 1) * n_sentences]]
        made.append(tell(name, words, "builtin", 100.0, rng))
    return made


def write_wav(path: Path, story: Story, rate_hz: float = RATE_HZ) -> None:
    """The story's sound as 16-bit WAV."""
    from scipy.io import wavfile

    path.parent.mkdir(parents=True, exist_ok=True)
    played = np.clip(resample_sound(story.sound, RATE_HZ, rate_hz), -1, 1)
    wavfile.write(path, round(rate_hz), np.round(played * 32767).astype(np.int16))


def fake_recording(
    stories: list[Story], starts_s: list[float], n_channels: int, rate_hz: float, scale: float, seed: int
) -> np.ndarray:
    """Signal (channels, n): noise, and a copy of each story's envelope 0.1 s after the sound."""
    rng = np.random.default_rng(seed)
    length_s = max(s + len(story.sound) / RATE_HZ for story, s in zip(stories, starts_s, strict=True)) + 3.0
    signal = scale * rng.standard_normal((n_channels, round(length_s * rate_hz)))
    weight = scale * rng.normal(size=(n_channels, 1)) * 20
    for story, start_s in zip(stories, starts_s, strict=True):
        follows = envelope(story.sound, RATE_HZ, rate_hz)
        first = round((start_s + 0.1) * rate_hz)
        signal[:, first : first + len(follows)] += weight * follows
    return np.asarray(signal)


def word_rows(story: Story) -> pd.DataFrame:
    """The story's words with 0-based ``number``."""
    return story.words.assign(number=np.arange(len(story.words)))
