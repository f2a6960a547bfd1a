from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pandas as pd
from PIL import Image
from scipy.io import wavfile

from braindec.evaluation.sounds import heard_items
from braindec.report.page import write_report
from braindec.report.sounds import Clip, HeardItem, picture_uri, sound_cards, wav_uri
from braindec.types import Evidence, Stimuli


def payload(uri: str) -> io.BytesIO:
    return io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))


def test_a_player_holds_the_sound() -> None:
    tone = (0.5 * np.sin(2 * np.pi * 300 * np.arange(16_000) / 16_000)).astype(np.float32)
    rate, samples = wavfile.read(payload(wav_uri(tone, 16_000.0)))
    assert (rate, samples.dtype, len(samples)) == (8000, np.int16, 8000)
    np.testing.assert_allclose(samples[100:-100] / 32767, tone[::2][100:-100], atol=0.01)
    assert wavfile.read(payload(wav_uri(tone, 6000.0)))[0] == 6000


def test_a_picture_has_time_to_the_right_and_the_first_dimension_below() -> None:
    values = np.zeros((20, 8))
    values[15, 0] = 1
    pixels = np.asarray(Image.open(payload(picture_uri(values))).convert("L"))
    assert pixels.shape == (8, 20)
    assert np.unravel_index(pixels.argmin(), pixels.shape) == (7, 15)
    assert np.asarray(Image.open(payload(picture_uri(np.zeros((20, 200)))))).shape[0] <= 64


def speech() -> Evidence:
    rng = np.random.default_rng(0)
    gallery = Stimuli(
        ("a", "b", "c"),
        audio=tuple(rng.uniform(-0.1, 0.1, 8000).astype(np.float32) for _ in range(3)),
        audio_rate_hz=8000.0,
        texts=("one <b>", "two", "three"),
    )
    values = rng.standard_normal((3, 5, 4)).astype(np.float32)
    table = pd.DataFrame({"item_id": ["i0", "i1", "i2"], "subject": "x", "fold": "f", "stimulus_id": list("abc")})
    predicted = values[[0, 1, 0]]
    return Evidence(
        table.assign(n_repetitions=1),
        gallery,
        np.arange(3),
        embeddings={"mel": predicted},
        gallery_embeddings={"mel": values},
    )


def test_items_are_chosen_by_the_place_of_the_truth() -> None:
    items = heard_items([speech()], count=1)
    assert [item.rule for item in items] == ["best", "median", "worst", "random"]
    best, worst = items[0], items[2]
    assert best.rank == 1
    assert best.found[0].note.endswith("(right)")
    assert worst.item_id == "i2"
    assert worst.rank > 1
    assert worst.found[0].words == "one <b>"
    np.testing.assert_array_equal(worst.heard.sound, speech().gallery.audio[2])
    silent = replace(speech(), gallery=Stimuli(("a", "b", "c")))
    assert heard_items([silent]) == () == heard_items([])


def test_a_page_with_sounds_escapes_words(make_content, tmp_path) -> None:
    clip = Clip(np.linspace(-0.1, 0.1, 4000).astype(np.float32), 8000.0, "one <b>", "Heard")
    item = HeardItem("i0", "best", 1.0, 3, clip, (clip,), "mel", np.ones((5, 4)), np.zeros((5, 4)))
    assert [c["kind"] for c in sound_cards([item])[0]["clips"]] == ["heard", "found"]
    page = write_report(tmp_path / "r.html", replace(make_content(), sounds=(item,))).read_text()
    assert page.count("<audio controls") == 2
    assert "one &lt;b&gt;" in page
    assert 'id="sounds"' in page
