"""Spoken words: espeak-ng where it is installed, else a built-in source-filter synthesiser.

Legend: n samples.

Source of the built-in voice: a glottal pulse train through resonators (Klatt 1980, "Software for a cascade/parallel
formant synthesizer"); formants of vowels rounded from Peterson & Barney 1952. Letters stand for phonemes: it is a sound
with the statistics of speech (syllables, formants, voiced and voiceless parts), not intelligible English.
"""

from __future__ import annotations

import io
import shutil
import subprocess
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

import numpy as np

from braindec.signals.audio import resample_sound
from braindec.types import DataError

Synthesiser = Literal["auto", "espeak", "builtin"]
RATE_HZ = 16_000.0
N_PITCHES = 3
_PITCH_HZ = (105.0, 130.0, 165.0)
_VOWELS = MappingProxyType(
    {
        "a": (730, 1090, 2440),
        "e": (530, 1840, 2480),
        "i": (270, 2290, 3010),
        "o": (570, 840, 2410),
        "u": (300, 870, 2240),
        "y": (390, 1990, 2550),
    }
)
_SONORANTS = MappingProxyType(
    {
        "l": (360, 1300, 2700),
        "m": (280, 900, 2200),
        "n": (280, 1700, 2600),
        "r": (420, 1300, 1600),
        "w": (300, 610, 2200),
        "j": (270, 2200, 3000),
    }
)
_FRICATIVES = MappingProxyType(
    {"s": 5500, "z": 5200, "f": 3800, "v": 3400, "h": 1500, "x": 3000, "c": 4500, "g": 2000, "q": 2600}
)
_BURSTS = MappingProxyType({"p": 800, "b": 700, "t": 4000, "d": 3200, "k": 2000})


def chosen(synthesiser: Synthesiser) -> Literal["espeak", "builtin"]:
    """``auto`` becomes ``espeak`` where espeak-ng is installed. Raises `DataError` when it is asked for and absent."""
    present = shutil.which("espeak-ng") is not None
    if synthesiser == "espeak" and not present:
        raise DataError("synthesiser=espeak: espeak-ng is not on the path; install it, or say synthesiser=builtin")
    return "espeak" if synthesiser == "espeak" or (synthesiser == "auto" and present) else "builtin"


@lru_cache(maxsize=4096)
def speak(word: str, pitch: int, synthesiser: Literal["espeak", "builtin"]) -> np.ndarray:
    """One word float32 (n,) at `RATE_HZ`, peak 0.5; ``pitch`` in 0 ... `N_PITCHES` - 1 is how high the voice is.

    Raises
    ------
    DataError
        If espeak-ng fails.
    """
    made = _espeak(word, pitch) if synthesiser == "espeak" else _builtin(word, _PITCH_HZ[pitch])
    peak = float(np.abs(made).max())
    return np.asarray(0.5 * made / peak if peak > 0 else made, dtype=np.float32)


def _espeak(word: str, pitch: int) -> np.ndarray:
    from scipy.io import wavfile

    command = ["espeak-ng", "--stdout", "-v", "en", "-p", str(35 + 15 * pitch), "-s", "150", word]
    ran = subprocess.run(command, capture_output=True, check=False)
    if ran.returncode or not ran.stdout:
        raise DataError(f"espeak-ng could not say {word!r}: {ran.stderr.decode(errors='replace').strip()[:200]}")
    rate, samples = wavfile.read(io.BytesIO(ran.stdout))
    sound = resample_sound(samples.astype(np.float32) / 32768, float(rate), RATE_HZ)
    loud = np.flatnonzero(np.abs(sound) > 0.01)
    return sound[loud[0] : loud[-1] + 1] if len(loud) else sound


def _builtin(word: str, pitch_hz: float) -> np.ndarray:
    rng = np.random.default_rng([ord(c) for c in word] + [round(pitch_hz)])
    parts = [_phone(letter, pitch_hz, rng) for letter in word.lower() if letter.isalpha()]
    sound = np.concatenate(parts) if parts else np.zeros(800)
    fade = np.minimum(1, np.minimum(np.arange(len(sound)), np.arange(len(sound))[::-1]) / 160)
    return sound * fade


def _phone(letter: str, pitch_hz: float, rng: np.random.Generator) -> np.ndarray:
    if letter in _BURSTS:
        gap = np.zeros(round(0.03 * RATE_HZ))
        return np.concatenate([gap, 0.5 * _noise(round(0.02 * RATE_HZ), _BURSTS[letter], rng)])
    if letter in _FRICATIVES:
        return 0.25 * _noise(round(0.07 * RATE_HZ), _FRICATIVES[letter], rng)
    formants = _VOWELS.get(letter) or _SONORANTS.get(letter, _SONORANTS["n"])
    n_samples = round((0.085 if letter in _VOWELS else 0.055) * RATE_HZ)
    drop = pitch_hz * (1 - 0.1 * np.arange(n_samples) / n_samples)
    phase = np.cumsum(drop) / RATE_HZ
    pulses = np.diff(np.floor(phase), prepend=0.0) + 0.01 * rng.standard_normal(n_samples)
    voiced = pulses
    for formant, width in zip(formants, (80, 110, 170), strict=True):
        voiced = _resonate(voiced, formant, width)
    voiced /= np.abs(voiced).max() + 1e-9
    return voiced * (1.0 if letter in _VOWELS else 0.6)


def _noise(n_samples: int, centre_hz: float, rng: np.random.Generator) -> np.ndarray:
    made = _resonate(rng.standard_normal(n_samples), centre_hz, 0.25 * centre_hz)
    return np.asarray(made / (np.abs(made).max() + 1e-9))


def _resonate(signal: np.ndarray, centre_hz: float, width_hz: float) -> np.ndarray:
    """Two-pole resonator of unit gain at 0 Hz (Klatt 1980, equation 1)."""
    from scipy.signal import lfilter

    radius = np.exp(-np.pi * width_hz / RATE_HZ)
    b, c = 2 * radius * np.cos(2 * np.pi * centre_hz / RATE_HZ), -(radius**2)
    return np.asarray(lfilter([1 - b - c], [1, -b, -c], signal))
