"""A fixed, untrained network of speech: the stand-in for a deep speech model in simulations.

Log-mel amplitudes, standardised over the passage, pass two layers of random convolutions over time with a saturating
nonlinearity between them. Its weights are a function of a seed, nothing was trained, and it needs no download. The
simulated listener's cortex follows these features (`braindec.datasets.simulated.listening`), so that decoding them
works better than decoding the mel spectrogram *by construction*.

Legend: n samples, K time points, M mel bands, D features.
"""

from __future__ import annotations

import numpy as np

from braindec.signals.audio import mel_spectrogram

_REACH_S = 0.12
"""Each layer sees so much of the past."""


def speech_features(
    sound: np.ndarray, rate_hz: float, out_rate_hz: float, n_features: int = 64, n_bands: int = 40, seed: int = 0
) -> np.ndarray:
    """Features float32 (K, D) of one passage's sound; K as by `mel_spectrogram`."""
    mel_KM = mel_spectrogram(sound, rate_hz, out_rate_hz, n_bands)
    mel_KM = (mel_KM - mel_KM.mean(axis=0)) / (mel_KM.std(axis=0) + 1e-3)
    n_taps = max(2, round(_REACH_S * out_rate_hz))
    rng = np.random.default_rng((seed, 101))
    # Drawn at a fixed resolution, so that another output rate has the same network up to interpolation.
    hidden_KD = np.tanh(1.5 * _convolved(mel_KM, n_features, n_taps, rng))
    return np.tanh(1.5 * _convolved(hidden_KD, n_features, n_taps, rng)).astype(np.float32)


def _convolved(values_KM: np.ndarray, n_out: int, n_taps: int, rng: np.random.Generator) -> np.ndarray:
    """Causal convolution with random weights that are smooth over time, outputs of about unit variance."""
    n_knots = 4
    knots = rng.standard_normal((n_knots, values_KM.shape[1], n_out)) / np.sqrt(values_KM.shape[1])
    places = np.linspace(0, n_knots - 1, n_taps)
    low = np.minimum(places.astype(int), n_knots - 2)
    share = (places - low)[:, None, None]
    taps = (knots[low] * (1 - share) + knots[low + 1] * share) / np.sqrt(n_taps)
    padded = np.concatenate([np.zeros((n_taps - 1, values_KM.shape[1])), values_KM])
    n_points = len(values_KM)
    total = np.zeros((n_points, n_out))
    for delay in range(n_taps):
        start = n_taps - 1 - delay
        total += padded[start : start + n_points] @ taps[delay]
    return total
