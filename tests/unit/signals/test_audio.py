from __future__ import annotations

import numpy as np
import pytest

from braindec.signals.audio import envelope, mel_filters, mel_spectrogram, resample_sound
from braindec.signals.speech_network import speech_features
from braindec.types import DataError

RATE = 8000.0


def tone(hz: float, seconds: float = 1.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def test_a_tone_is_loudest_in_the_band_about_its_frequency() -> None:
    n_bands, window = 30, 256
    frequency = np.fft.rfftfreq(window, 1 / RATE)
    centres = [np.average(frequency, weights=row) for row in mel_filters(RATE, window, n_bands, 60, 4000)]
    for hz in (500.0, 1200.0, 2500.0):
        mel = mel_spectrogram(tone(hz), RATE, 50, n_bands, window / RATE)
        assert mel.shape == (50, n_bands)
        assert abs(int(mel[25].argmax()) - int(np.abs(np.array(centres) - hz).argmin())) <= 1


def test_a_time_point_is_centred_on_its_own_time() -> None:
    sound = np.zeros(8000, np.float32)
    sound[4000] = 1.0
    loud = mel_spectrogram(sound, RATE, 100, 20).sum(axis=1)
    around = np.flatnonzero(loud > loud.min() + 1)
    assert abs(around.mean() - 50) < 1
    assert envelope(sound, RATE, 100).argmax() in (48, 49, 50)


def test_level_follows_amplitude_and_silence_has_a_floor() -> None:
    loud, quiet = (mel_spectrogram(scale * tone(1000), RATE, 20, 20) for scale in (1.0, 0.1))
    np.testing.assert_allclose(loud.max(axis=1)[2:-2] - quiet.max(axis=1)[2:-2], np.log(10), atol=0.01)
    assert np.isfinite(mel_spectrogram(np.zeros(4000, np.float32), RATE, 20, 20)).all()


def test_resampling_keeps_a_tone() -> None:
    half = resample_sound(tone(440), RATE, 4000)
    np.testing.assert_allclose(half[200:-200], tone(440)[::2][200:-200], atol=0.01)


def test_the_untrained_network_is_causal_and_repeatable() -> None:
    sound = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.1
    first = speech_features(sound, RATE, 40)
    assert first.shape == (80, 64)
    np.testing.assert_array_equal(first, speech_features(sound, RATE, 40))
    # A change in the last half second cannot be seen before it, but for the passage's own mean and spread.
    changed = sound.copy()
    changed[12_000:] = np.random.default_rng(1).standard_normal(4000).astype(np.float32) * 0.1
    difference = np.abs(speech_features(changed, RATE, 40) - first).mean(axis=1)
    assert difference[:58].max() < 0.1 < 0.2 < difference[64:].min()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mel_spectrogram(np.zeros((2, 100)), RATE, 20), "one channel"),
        (lambda: mel_spectrogram(np.array([np.nan] * 100), RATE, 20), "finite"),
        (lambda: mel_filters(RATE, 32, 40, 0, 4000), "too many"),
        (lambda: mel_filters(RATE, 256, 10, 100, 5000), "high_hz"),
    ],
)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(DataError, match=message):
        call()
