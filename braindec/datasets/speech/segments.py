"""From segments of a transcript to the two things that a data set gives: trial tables and stimuli."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from braindec.signals.passages import Passage, SegmentPlan
from braindec.types import DataError, Stimuli

SEGMENT_COLUMNS = ("sentence", "unit", "passage", "word", "sound", "onset_s")
"""Columns of a trial table beside `braindec.types.TRIAL_COLUMNS`: what a segment is cut from."""


def segment_trials(segments: pd.DataFrame, session: int, run: int, repetition: int = 0) -> pd.DataFrame:
    """Trial table of one run's segments (of `braindec.signals.passages.plan_segments`), all in the part ``train``."""
    return pd.DataFrame(
        {
            "stimulus_id": segments["stimulus_id"],
            "concept": "",
            "session": session,
            "run": run,
            "repetition": repetition,
            "split": "train",
            **{column: segments[column] for column in SEGMENT_COLUMNS},
        }
    ).reset_index(drop=True)


def segment_stimuli(
    segments: pd.DataFrame, sounds: Mapping[str, np.ndarray], rate_hz: float, plan: SegmentPlan
) -> Stimuli:
    """The segments as stimuli: waveforms are views of their sounds, so that overlapping segments cost nothing.

    Parameters
    ----------
    segments : one row a distinct segment, of `braindec.signals.passages.plan_segments`.
    sounds : sound -> waveform in [-1, 1], all at ``rate_hz``.

    Returns
    -------
    Stimuli
        ``audio``; ``texts`` and ``captions``, the words that begin within the segment; ``extras``: ``word``,
        ``sentence``, ``sound``, ``start_s`` (of the segment in its sound), ``passage`` (`Passage`), ``length_s``.

    Raises
    ------
    DataError
        If a segment lies outside its sound.
    """
    length = round(plan.length_s * rate_hz)
    passages: dict[str, Passage] = {}
    audio, own_passages = [], []
    texts_of = (segments[name].astype(str).tolist() for name in ("stimulus_id", "sound", "passage"))
    times_of = (segments[name].astype(float).tolist() for name in ("onset_s", "passage_start_s", "passage_stop_s"))
    for stimulus_id, sound, name, onset_s, start_s, stop_s in zip(*texts_of, *times_of, strict=True):
        wave = sounds[sound]
        begin = round((onset_s + plan.window_s[0]) * rate_hz)
        if begin < 0 or begin + length > len(wave):
            raise DataError(
                f"segment {stimulus_id!r}: {begin / rate_hz:.2f} to {(begin + length) / rate_hz:.2f} s is outside its "
                f"sound of {len(wave) / rate_hz:.2f} s; is the file cut short, or of another sampling rate?"
            )
        audio.append(wave[begin : begin + length])
        if name not in passages:
            stop = min(len(wave), round(stop_s * rate_hz))
            passages[name] = Passage(name, wave[round(start_s * rate_hz) : stop], rate_hz, start_s)
        own_passages.append(passages[name])
    start = segments["onset_s"].to_numpy(dtype=np.float64) + plan.window_s[0]
    texts = tuple(segments["text"].astype(str))
    return Stimuli(
        ids=tuple(segments["stimulus_id"]),
        audio=tuple(audio),
        audio_rate_hz=rate_hz,
        texts=texts,
        captions=tuple((text,) for text in texts),
        extras={
            "word": tuple(segments["word"].astype(str)),
            "sentence": tuple(segments["sentence"].astype(str)),
            "sound": tuple(segments["sound"].astype(str)),
            "start_s": start,
            "passage": tuple(own_passages),
            "length_s": np.full(len(segments), plan.length_s),
        },
    )
