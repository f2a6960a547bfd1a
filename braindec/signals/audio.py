"""Spectrograms of sound. Legend: n samples, F frequencies, M mel bands, K time points.

Source: O'Shaughnessy 1987 for the mel scale (2595 log10(1 + f/700)); triangular filters of Davis & Mermelstein 1980.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np

from braindec.types import DataError

FLOOR = 1e-5
"""Added to band amplitudes before the logarithm: sounds are within [-1, 1], so this is silence."""


@lru_cache(maxsize=8)
def mel_filters(rate_hz: float, n_window: int, n_bands: int, low_hz: float, high_hz: float) -> np.ndarray:
    """Triangular filters float32 (M, F) over the frequencies of a window, equally spaced in mel, each of sum 1.

    Raises
    ------
    DataError
        If a band holds no frequency of so short a window, or the highest lies above half the rate.
    """
    if not 0 <= low_hz < high_hz <= rate_hz / 2:
        raise DataError(f"mel_filters: expected 0 <= low_hz < high_hz <= {rate_hz / 2:g}, found {low_hz}, {high_hz}")
    edges_mel = np.linspace(2595 * math.log10(1 + low_hz / 700), 2595 * math.log10(1 + high_hz / 700), n_bands + 2)
    edges_hz = 700 * (10 ** (edges_mel / 2595) - 1)
    frequency_F = np.fft.rfftfreq(n_window, 1 / rate_hz)
    rise_MF = (frequency_F - edges_hz[:-2, None]) / (edges_hz[1:-1] - edges_hz[:-2])[:, None]
    fall_MF = (edges_hz[2:, None] - frequency_F) / (edges_hz[2:] - edges_hz[1:-1])[:, None]
    filters_MF = np.clip(np.minimum(rise_MF, fall_MF), 0, None)
    total_M = filters_MF.sum(axis=1, keepdims=True)
    if (total_M == 0).any():
        raise DataError(f"mel_filters: {n_bands} bands are too many for a window of {n_window} samples; use fewer")
    return np.asarray(filters_MF / total_M, dtype=np.float32)


def mel_spectrogram(
    sound: np.ndarray,
    rate_hz: float,
    out_rate_hz: float,
    n_bands: int = 40,
    window_s: float = 0.032,
    low_hz: float = 60.0,
    high_hz: float | None = None,
) -> np.ndarray:
    """Log amplitude in mel bands, float32 (K, M); time point k is centred on k / ``out_rate_hz`` s.

    Parameters
    ----------
    sound : (n,), in [-1, 1].
    rate_hz, out_rate_hz : samples and time points a second; K = round(n / rate_hz * out_rate_hz).
    n_bands, low_hz, high_hz : number and range of the bands; None means half the rate, at most 8 kHz.
    window_s : length of the Hann window.

    Raises
    ------
    DataError
        If the sound is not one channel, or not finite.
    """
    if sound.ndim != 1 or not np.isfinite(sound).all():
        raise DataError(f"mel_spectrogram: expected one channel of finite samples, found shape {sound.shape}")
    n_window = max(16, round(window_s * rate_hz))
    filters_MF = mel_filters(rate_hz, n_window, n_bands, low_hz, min(rate_hz / 2, high_hz or 8000.0))
    n_points = round(len(sound) / rate_hz * out_rate_hz)
    starts_K = np.round(np.arange(n_points) * rate_hz / out_rate_hz).astype(np.int64)
    padded = np.pad(np.asarray(sound, dtype=np.float32), n_window)
    frames_nW = np.lib.stride_tricks.sliding_window_view(padded, n_window)
    hann_W = np.hanning(n_window).astype(np.float32)
    bands_KM = np.empty((n_points, n_bands), dtype=np.float32)
    for start in range(0, n_points, 1024):
        part = slice(start, min(start + 1024, n_points))
        frames_KW = frames_nW[starts_K[part] + n_window - n_window // 2] * hann_W
        amplitude_KF = np.abs(np.fft.rfft(frames_KW, axis=1)).astype(np.float32)
        bands_KM[part] = amplitude_KF @ filters_MF.T
    return np.log(bands_KM / hann_W.sum() + FLOOR)


def envelope(sound: np.ndarray, rate_hz: float, out_rate_hz: float, window_s: float = 0.05) -> np.ndarray:
    """Root mean square of the sound over a window about each time point, float32 (K,)."""
    half = max(1, round(window_s * rate_hz / 2))
    energy = np.concatenate([[0.0], np.cumsum(np.asarray(sound, dtype=np.float64) ** 2)])
    centres = np.round(np.arange(round(len(sound) / rate_hz * out_rate_hz)) * rate_hz / out_rate_hz).astype(np.int64)
    low, high = np.clip(centres - half, 0, len(sound)), np.clip(centres + half, 0, len(sound))
    return np.sqrt((energy[high] - energy[low]) / np.maximum(high - low, 1)).astype(np.float32)


def resample_sound(sound: np.ndarray, rate_hz: float, new_rate_hz: float) -> np.ndarray:
    """The sound at another rate, float32, by polyphase filtering."""
    from scipy.signal import resample_poly

    ratio = Fraction(new_rate_hz / rate_hz).limit_denominator(10_000)
    if ratio == 1:
        return np.asarray(sound, dtype=np.float32)
    return np.asarray(resample_poly(sound, ratio.numerator, ratio.denominator), dtype=np.float32)
