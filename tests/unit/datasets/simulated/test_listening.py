from __future__ import annotations

import numpy as np
import pytest

from braindec.datasets.simulated import voice
from braindec.datasets.simulated.listening import LATENCY_S, SimulatedListening
from braindec.datasets.simulated.listening_ceiling import ideal_ranks
from braindec.datasets.simulated.reading import SimulatedReading
from braindec.datasets.simulated.sentences import draw_sentences
from braindec.signals.audio import envelope
from braindec.signals.word_vectors import sentence_vector
from braindec.types import DataError


def small(**options) -> SimulatedListening:
    return SimulatedListening(
        **{"sensors": "eeg_19", "n_sentences": 24, "n_stories": 2, "rate_hz": 40, "synthesiser": "builtin", **options}
    )


@pytest.fixture(scope="module")
def listening() -> SimulatedListening:
    return small()


def test_words_are_where_the_transcript_says(listening: SimulatedListening) -> None:
    story = listening.stories[0]
    for sound, contrast in ((story.plain, 5), (story.sound, 2)):
        level = envelope(sound, voice.RATE_HZ, 100)
        inside = np.zeros(len(level), dtype=bool)
        for row in story.words.itertuples():
            inside[round(row.onset_s * 100) : round((row.onset_s + row.duration_s) * 100)] = True
        assert level[inside].mean() > contrast * level[~inside].mean()
    assert len(np.unique(story.words["sentence"])) == 12


def test_the_cortex_follows_words_and_not_voices(listening: SimulatedListening) -> None:
    louder = small()
    for story, plain in zip(louder.stories, listening.stories):
        story.sound[:] *= 0.5
        np.testing.assert_array_equal(story.plain, plain.plain)
    for followed, before in zip(louder.responses, listening.responses):
        for kind in ("mel", "deep", "onset"):
            np.testing.assert_array_equal(followed[kind], before[kind])


def test_sentences_differ_and_carry_their_labels() -> None:
    sentences = draw_sentences(300, 0)
    assert len({s.words for s in sentences}) == 300
    assert draw_sentences(50, 0) == sentences[:50]
    for s in sentences:
        assert (s.sentiment != "") == (s.corpus == "review")
        assert (s.relation != "") == (s.corpus == "biography")
        vectors = [sentence_vector(text.split(), 64) for text in s.paraphrases]
        assert min(np.corrcoef(vectors)[0, 1:]) > 0.3, "paraphrases must mean the same"


@pytest.mark.parametrize("kind", LATENCY_S)
def test_responses_have_their_planted_latency(kind: str) -> None:
    """Cross-correlation of what a dipole follows with its signal peaks at the planted latency."""
    dataset = small(n_sentences=8, n_stories=1, rate_hz=200)
    listener = dataset.listener("sim01")
    feature = dataset.responses[0][kind][:, 0]
    listener.fields[kind] = np.eye(1, listener.fields[kind].shape[1])
    signal = dataset._of_kind(listener, 0, kind)[0]
    impulse = np.linalg.lstsq(
        np.stack([np.roll(feature, lag) for lag in range(120)], axis=1)[150:], signal[150:], rcond=None
    )[0]
    if kind in ("onset", "envelope"):
        assert impulse.argmax() / 200 == pytest.approx(listener.latency_s[kind], abs=0.011)
    assert abs(listener.latency_s[kind] - LATENCY_S[kind]) <= 0.008


def test_signal_to_noise_and_share_are_as_asked() -> None:
    dataset = small(snr=0.7, deep_share=0.5)
    listener = dataset.listener("sim01")
    clean = np.concatenate([dataset._noiseless(listener, run) for run in range(2)], axis=1)
    ratio = clean.std(axis=1) / np.sqrt(np.diag(listener.covariance_SS))
    assert np.sqrt((ratio**2).mean()) == pytest.approx(0.7, rel=0.25)
    noise = dataset._noise(listener, 20_000, np.random.default_rng(0))
    np.testing.assert_allclose(noise.std(axis=1), np.sqrt(np.diag(listener.covariance_SS)), rtol=0.15)


def test_trials_are_the_noiseless_signal_and_noise(listening: SimulatedListening) -> None:
    trials, clean = listening.trials("sim01"), listening.noiseless("sim01")
    assert trials.signal.shape == clean.shape == (len(listening.segments), 19, 120)
    np.testing.assert_array_equal(trials.signal, small().trials("sim01").signal)
    quiet = small(snr=1e4)
    loud = quiet.trials("sim01").signal
    assert np.corrcoef(loud.ravel(), quiet.noiseless("sim01").ravel())[0, 1] > 0.9999


def test_the_ideal_observer_knows_all_without_noise_and_nothing_without_signal() -> None:
    rows = np.arange(0, 100, 2)
    assert (ideal_ranks(small(snr=50.0), "sim01", rows) == 1).all()
    lost = ideal_ranks(small(snr=1e-4), "sim01", rows)
    assert 0.35 < (lost / len(rows)).mean() < 0.65
    middle = (ideal_ranks(small(snr=0.03), "sim01", rows) == 1).mean()
    assert 0.02 < middle < 1


def test_espeak_that_is_absent_is_said(monkeypatch) -> None:
    monkeypatch.setattr(voice.shutil, "which", lambda name: None)
    assert voice.chosen("auto") == "builtin"
    with pytest.raises(DataError, match="espeak-ng is not on the path"):
        voice.chosen("espeak")
    monkeypatch.setattr(voice.shutil, "which", lambda name: "/usr/bin/espeak-ng")
    assert voice.chosen("auto") == "espeak"
    assert small().version() == small().version() != small(synthesiser="auto").version()


def test_bad_numbers() -> None:
    for options in ({"snr": 0}, {"deep_share": 2}, {"n_stories": 99}, {"rate_hz": 5}, {"sensors": "ears"}):
        with pytest.raises(DataError):
            small(**options)
    with pytest.raises(DataError, match="unknown subject"):
        small().trials("nobody")


def test_readers_follow_words_and_stop_where_the_sentence_does() -> None:
    dataset = SimulatedReading("eeg_19", n_sentences=30, rate_hz=64, n_times=320, repetitions=2)
    trials = dataset.trials("sim01")
    assert trials.signal.shape == (60, 19, 320)
    lengths = trials.table["n_valid"].to_numpy()
    assert lengths.std() > 5
    assert (lengths <= 320).all()
    for row, n_valid in enumerate(lengths):
        assert not trials.signal[row, :, n_valid:].any()
        assert trials.signal[row, :, n_valid - 1].any()
    assert trials.table.groupby("stimulus_id")["repetition"].apply(set).map(lambda s: s == {0, 1}).all()
    np.testing.assert_array_equal(trials.signal, dataset.trials("sim01").signal)
    assert not np.array_equal(trials.signal, dataset.trials("sim02").signal)
    with pytest.raises(DataError):
        SimulatedReading(snr=-1)
