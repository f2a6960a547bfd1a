from __future__ import annotations

import numpy as np
import pytest

from braindec.frozen.mel import MelSpectrogram
from braindec.signals.passages import Passage
from braindec.targets.hashed_words import HashedWords
from braindec.targets.passages import PassageTarget
from braindec.targets.sounds import UntrainedSpeech
from braindec.targets.token_ids import TokenIds
from braindec.types import DataError, Stimuli

RATE = 8000.0


def mel(n_bands: int = 20) -> MelSpectrogram:
    return MelSpectrogram(n_bands=n_bands, rate_hz=RATE, window=256, hop=40, output_rate_hz=50.0)


class Running:
    """A network with unlimited context: the running sum of the sound's absolute value, twice."""

    output_rate_hz = 50.0

    def __init__(self) -> None:
        self.heard: list[str] = []

    def encode(self, stimuli: Stimuli) -> np.ndarray:
        assert stimuli.audio is not None
        self.heard += list(stimuli.ids)
        sums = np.abs(stimuli.audio[0]).cumsum()[:: int(RATE / 50)]
        return np.stack([sums, -sums], axis=1).astype(np.float32)[None]

    def describe(self) -> dict:
        return {"network": "running"}

    def to(self, device: str) -> Running:
        return self


def segments(seed: int = 0) -> Stimuli:
    rng = np.random.default_rng(seed)
    sound = (0.1 * rng.standard_normal(20 * int(RATE))).astype(np.float32)
    passages = [Passage("p0", sound[: 10 * int(RATE)], RATE, 0.0), Passage("p1", sound[10 * int(RATE) :], RATE, 10.0)]
    starts = np.array([0.0, 0.5, 5.0, 10.0, 12.0, 17.0])
    own = [passages[int(s >= 10)] for s in starts]
    audio = tuple(sound[int(s * RATE) : int((s + 3) * RATE)] for s in starts)
    return Stimuli(
        tuple(f"s{i}" for i in range(6)),
        audio=audio,
        audio_rate_hz=RATE,
        extras={"passage": tuple(own), "start_s": starts, "length_s": np.full(6, 3.0)},
    )


def test_context_is_the_passage_and_nothing_else() -> None:
    stimuli = segments()
    target = PassageTarget(Running(), standardise=False)
    target.fit(stimuli)
    values = target.embed(stimuli)
    assert values.shape == (6, 150, 2)
    sound = stimuli.extras["passage"][4].sound
    whole = np.abs(sound).cumsum()[:: int(RATE / 50)]
    np.testing.assert_allclose(values[4, :, 0], whole[100:250], rtol=1e-6)  # 2 s into the second passage
    # What is heard in the other passage changes nothing.
    other = segments()
    other.extras["passage"][0].sound[:] = 0.5
    np.testing.assert_array_equal(target.embed(other)[3:], values[3:])


def test_each_passage_is_heard_once_a_fit_and_embedding() -> None:
    network = Running()
    target = PassageTarget(network)
    stimuli = segments()
    target.fit(stimuli)
    target.embed(stimuli)
    assert network.heard == ["p0", "p1"]


def test_standardised_by_training_segments_only() -> None:
    stimuli = segments()
    target = PassageTarget(mel())
    target.fit(stimuli.select(["s0", "s1", "s2"]))
    values = target.embed(stimuli)
    np.testing.assert_allclose(values[:3].mean(axis=(0, 1)), 0, atol=1e-3)
    np.testing.assert_allclose(values[:3].std(axis=(0, 1)), 1, atol=1e-3)
    assert abs(values[3:].mean()) > 1e-4
    again = PassageTarget(mel())
    again.load_state(target.state())
    np.testing.assert_array_equal(again.embed(stimuli), values)
    assert again.fingerprint() == target.fingerprint() != PassageTarget(mel(21)).fingerprint()


def test_a_segment_s_mel_is_that_of_its_own_sound() -> None:
    stimuli = segments()
    target = PassageTarget(mel(), standardise=False)
    target.fit(stimuli)
    assert stimuli.audio is not None
    alone = mel().encode(Stimuli(("x",), audio=(stimuli.audio[4],), audio_rate_hz=RATE))[0]
    cut = target.embed(stimuli)[4]
    # The network stretches its frames to the sound's length, a little more for a shorter sound.
    assert np.corrcoef(cut[2:-2].ravel(), alone[2:-2].ravel())[0, 1] > 0.95
    assert np.corrcoef(cut[7:-2].ravel(), alone[2:-7].ravel())[0, 1] < 0.7


def test_bad_input() -> None:
    stimuli = segments()
    with pytest.raises(DataError, match="not fitted"):
        PassageTarget(mel()).embed(stimuli)
    with pytest.raises(DataError, match="segments of continuous speech"):
        PassageTarget(mel()).fit(Stimuli(("a",), audio=(np.zeros(10),), audio_rate_hz=RATE))
    late = Stimuli(stimuli.ids, extras={**stimuli.extras, "start_s": np.array([0, 8.0, 5, 10, 12, 17])})
    with pytest.raises(DataError, match="'s1' at 8.00 s leaves its passage 'p0'"):
        PassageTarget(mel()).fit(late)
    with pytest.raises(DataError, match="no audio"):
        UntrainedSpeech().encode(Stimuli(("a",)))


def test_hashed_words_average_paraphrases() -> None:
    target = HashedWords(32)
    target.fit(Stimuli(("a",)))
    both = Stimuli(("a", "b", "c"), captions=(("red boat", "a blue boat"), ("the boat is red",), ("tall tree",)))
    values = target.embed(both)
    assert values.shape == (3, 1, 32)
    np.testing.assert_allclose(values[0, 0], (HashedWords(32).embed(Stimuli(("x",), texts=("Red, boat!",)))[0, 0] + HashedWords(32).embed(Stimuli(("x",), texts=("blue boat",)))[0, 0]) / 2, rtol=1e-5)  # fmt: skip  # noqa: E501
    similar = np.corrcoef(values[:, 0])
    assert similar[0, 1] > 0.5 > abs(similar[0, 2])
    with pytest.raises(DataError, match="captions nor texts"):
        target.embed(Stimuli(("a",)))


def test_token_ids_repeat_paraphrases_where_there_are_few() -> None:
    class Words:
        weights = "w"

        def ids(self, texts: list[str], length: int) -> np.ndarray:
            return np.array([[len(t)] * length for t in texts])

    values = TokenIds(Words(), 4, 3).embed(Stimuli(("a", "b"), captions=(("one", "three"), ("seven!!",))))
    assert values.dtype == np.float32
    assert values[:, :, 0].tolist() == [[3, 5, 3], [7, 7, 7]]
    assert TokenIds(Words(), 4).fingerprint() != TokenIds(Words(), 5).fingerprint()
    with pytest.raises(DataError):
        TokenIds(Words()).embed(Stimuli(("a",)))
