"""What the readers of heard speech share: recordings, sounds and transcripts become segments.

Legend: N trials, S channels, T time points.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from braindec.contracts import Progress
from braindec.datasets.cache import Block, assemble
from braindec.datasets.cached import CachedReader
from braindec.datasets.continuous import cut, resample
from braindec.datasets.files import BadPositions, check_positions, fingerprint, need_file, number_repetitions, reading
from braindec.datasets.speech.segments import segment_stimuli, segment_trials
from braindec.signals.passages import SegmentPlan, plan_segments
from braindec.types import DataError, Space, Stimuli, Trials, Unit

RATE_SLACK = 0.01
"""Largest relative difference between a clock's stated rate and what two of its time stamps say."""


@dataclass(frozen=True)
class Recording:
    """One continuous run.

    Attributes
    ----------
    path : its file.
    session, run : 1-based numbers.
    words : one row a word that was heard: ``sound``, ``number`` (0-based among the sound's words), ``recorded_s``
        (onset in the recording, from its first sample).
    """

    path: Path
    session: int
    run: int
    words: pd.DataFrame


@dataclass(frozen=True)
class Continuous:
    """A recording's signal float (S, n) in volt or tesla, its rate, channel names, and places in m (S, 3) or None."""

    signal: np.ndarray
    rate_hz: float
    names: tuple[str, ...]
    positions_m: np.ndarray | None


class SpeechRecordings(CachedReader):
    """A `Dataset` of people who listen to speech: 3 s segments about every word.

    Parameters
    ----------
    root : the data set's folder.
    rate_hz : sampling rate to which recordings are brought.
    band_hz : pass band (low, high) of a zero-phase filter over the whole run; None for none.
    window_s, offset_s, passage_s, least_gap_s : see `braindec.signals.passages.SegmentPlan`.
    cache_dir : where signals are kept for memory-mapping; None: they are read into memory each time.
    bad_positions : what to do with channels that are constant, or not finite.
    """

    name = ""
    unit: Unit = "T"
    remedy = ""

    def __init__(
        self,
        root: str,
        rate_hz: float = 120.0,
        band_hz: tuple[float, float] | None = (0.1, 40.0),
        window_s: tuple[float, float] = (-0.5, 2.5),
        offset_s: float = 0.15,
        passage_s: float = 20.0,
        least_gap_s: float = 0.0,
        cache_dir: str | None = None,
        bad_positions: BadPositions = "raise",
    ) -> None:
        self.root = root
        self.rate_hz = rate_hz
        self.band_hz = band_hz
        self.window_s = window_s
        self.offset_s = offset_s
        self.passage_s = passage_s
        self.least_gap_s = least_gap_s
        self.cache_dir = cache_dir
        self.bad_positions = bad_positions

    @abstractmethod
    def subjects(self) -> tuple[str, ...]:
        """Subject names, those on disk."""

    @abstractmethod
    def recordings(self, subject: str) -> tuple[Recording, ...]:
        """A subject's runs in order. Raises `DataError` on an unknown subject, missing or broken files."""

    @abstractmethod
    def transcript(self) -> pd.DataFrame:
        """Words of every sound, columns `braindec.signals.passages.WORD_COLUMNS`, sorted by sound and onset."""

    @abstractmethod
    def sound_file(self, sound: str) -> Path:
        """The file of a sound."""

    @abstractmethod
    def read(self, path: Path) -> Continuous:
        """A run's signal, filtered, at its own rate."""

    @property
    def plan(self) -> SegmentPlan:
        """Where segments lie about a word."""
        return SegmentPlan(self.window_s, self.offset_s, self.passage_s, self.least_gap_s)

    @cached_property
    def words(self) -> pd.DataFrame:
        """The `transcript`, read once."""
        return self.transcript()

    @cached_property
    def sounds(self) -> dict[str, np.ndarray]:
        """Sound -> waveform float32 in [-1, 1], mean of its channels, all at `sound_rate_hz`."""
        names = tuple(dict.fromkeys(self.words["sound"]))
        read = {name: read_wav(self.sound_file(name), self.remedy) for name in names}
        rates = {rate for _, rate in read.values()}
        if len(rates) != 1:
            by_rate = {rate: next(n for n, (_, own) in read.items() if own == rate) for rate in sorted(rates)}
            raise DataError(
                f"{self.root}: sounds of different sampling rates, {by_rate} Hz; bring them to one rate (16 kHz)"
            )
        self.sound_rate_hz = rates.pop()
        return {name: sound for name, (sound, _) in read.items()}

    @cached_property
    def segments(self) -> pd.DataFrame:
        """Every segment of every sound, see `braindec.signals.passages.plan_segments`; ``number`` of its word."""
        words = self.words
        words = words.assign(number=words.groupby("sound").cumcount())
        lengths = {name: len(sound) / self.sound_rate_hz for name, sound in self.sounds.items()}
        return plan_segments(words, lengths, self.plan)

    def stimuli(self) -> Stimuli:
        """Every segment that may have been heard, see `braindec.datasets.speech.segments.segment_stimuli`."""
        sounds = self.sounds
        return segment_stimuli(self.segments, sounds, self.sound_rate_hz, self.plan)

    def version(self) -> str:
        """12 hexadecimal digits from every subject's recordings, the sounds and the reader's numbers."""
        paths = [recording.path for subject in self.subjects() for recording in self.recordings(subject)]
        files = [path for path in paths if path.is_file()]
        files += [self.sound_file(name) for name in dict.fromkeys(self.words["sound"])]
        return fingerprint(files, repr((self.rate_hz, self.band_hz, self.plan)))

    def _folder(self, cache_dir: Path, subject: str) -> Path:
        return cache_dir / f"{self.name}-{subject}"

    def _trials(self, subject: str, cache_dir: Path | None, progress: Progress) -> Trials:
        """In order of time. Raises `DataError` on words outside a recording too."""
        recordings = self.recordings(subject)
        heard = [(recording, *self._heard(recording)) for recording in recordings]
        heard = [(recording, segments, onsets) for recording, segments, onsets in heard if len(segments)]
        if not heard:
            raise DataError(f"{self.root}: subject {subject!r} heard no segment that fits into a passage")
        tables = [segment_trials(segments, r.session, r.run) for r, segments, _ in heard]
        table = pd.concat(tables, ignore_index=True)
        table["repetition"] = number_repetitions(table["stimulus_id"].tolist())
        first = self.read(heard[0][0].path)
        n_times = round(self.plan.length_s * self.rate_hz)
        blocks: list[Block] = []
        start = 0
        for recording, segments, onsets in heard:
            stop = start + len(segments)
            blocks.append((start, stop, partial(self._cut, recording, onsets, first.names)))
            start = stop
        files = [r.path for r in recordings if r.path.is_file()]
        source = {"files": fingerprint(files), "settings": repr((self.rate_hz, self.band_hz, self.plan))}
        folder = None if cache_dir is None else self._folder(cache_dir, subject)
        shape = (len(table), len(first.names), n_times)
        signal, bad = assemble(folder, shape, blocks, source, progress, f"{self.name} {subject}")
        good = check_positions(bad, f"{self.root}, subject {subject!r}", "channels", first.names, self.bad_positions)
        space = Space("channels", len(first.names), names=first.names, positions_m=first.positions_m)
        trials = Trials(
            subject=subject, signal=signal, unit=self.unit, space=space, times_s=self._times_s(), table=table
        )
        return trials if good.all() else trials.select_space(good)

    def _times_s(self) -> np.ndarray:
        start = round((self.window_s[0] + self.offset_s) * self.rate_hz)
        return np.asarray((np.arange(round(self.plan.length_s * self.rate_hz)) + start) / self.rate_hz)

    def _heard(self, recording: Recording) -> tuple[pd.DataFrame, np.ndarray]:
        """Segments of a run in order of time, and their words' onsets in it (s)."""
        words = recording.words[["sound", "number", "recorded_s"]]
        joined = words.merge(self.segments, on=["sound", "number"], how="inner", validate="one_to_one")
        joined = joined.sort_values("recorded_s", kind="stable").reset_index(drop=True)
        return joined, joined["recorded_s"].to_numpy(dtype=np.float64)

    def _cut(self, recording: Recording, onsets_s: np.ndarray, names: Sequence[str]) -> np.ndarray:
        found = self.read(recording.path)
        if found.names != tuple(names):
            raise DataError(f"{recording.path}: its channels differ from those of the subject's first run")
        signal = resample(found.signal, found.rate_hz, self.rate_hz)
        times = self._times_s()
        window = (times[0], times[0] + len(times) / self.rate_hz)
        return cut(signal, self.rate_hz, onsets_s, window, False, str(recording.path))[0]


def read_wav(path: Path, remedy: str) -> tuple[np.ndarray, float]:
    """A WAV file's waveform float32 (n,) in [-1, 1], the mean of its channels, and its rate.

    Raises
    ------
    DataError
        If the file is missing, cut, or silent.
    """
    from scipy.io import wavfile

    need_file(path, "the sound", remedy)
    with reading(path, "WAV"):
        rate, samples = wavfile.read(path)
    sound = samples.astype(np.float32)
    if samples.dtype.kind in "iu":
        limits = np.iinfo(samples.dtype)
        sound = (sound - (limits.max + 1) / 2 if samples.dtype.kind == "u" else sound) / (
            (limits.max + 1) / (2 if samples.dtype.kind == "u" else 1)
        )
    if sound.ndim == 2:
        sound = sound.mean(axis=1)
    if len(sound) == 0 or not np.isfinite(sound).all() or not sound.any():
        raise DataError(f"{path}: expected a sound, found {len(sound)} samples that are silent or not finite")
    return sound, float(rate)


def check_clock(recorded_s: np.ndarray, heard_s: np.ndarray, where: str) -> None:
    """Words must be as far apart in the recording as in the sound.

    Raises
    ------
    DataError
        If the two clocks run at rates that differ by more than `RATE_SLACK`: a stated sampling rate is wrong.
    """
    if len(heard_s) < 3 or np.ptp(heard_s) < 1:
        return
    slope = float(np.polyfit(heard_s, recorded_s, 1)[0])
    if abs(slope - 1) > RATE_SLACK:
        raise DataError(
            f"{where}: 1 s of sound lasts {slope:.3f} s in the recording; the sampling rate of one of them is wrong"
        )


def read_raw(path: Path, kind: str, band_hz: tuple[float, float] | None, remedy: str) -> tuple[Any, Continuous]:
    """An mne raw recording and its channels of one kind (``eeg``, ``mag``), filtered."""
    import mne

    if not path.exists():
        raise DataError(f"{path}: the recording is missing; {remedy}")
    with reading(path, "M/EEG recording"):
        raw = mne.io.read_raw(path, preload=True, verbose="error")
        names = [name for name, of in zip(raw.ch_names, raw.get_channel_types()) if of == kind]
        if not names:
            raise DataError(f"{path}: no channel of type {kind}, found {sorted(set(raw.get_channel_types()))}")
        raw.pick(names)
        rate = float(raw.info["sfreq"])
        if band_hz is not None:
            low, high = band_hz
            raw.filter(low, high if high < rate / 2 else None, verbose="error")
        places = np.array([channel["loc"][:3] for channel in raw.info["chs"]], dtype=np.float64)
        known = np.isfinite(places).all() and bool(places.any())
        return raw, Continuous(raw.get_data(), rate, tuple(names), places if known else None)
