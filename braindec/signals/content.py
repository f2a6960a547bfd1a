"""Hashes of what was recorded and of what was presented, by which copies are found.

Legend: N trials, S space, T time points.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from braindec.types import Stimuli, Trials

_ROWS_AT_ONCE = 256
_IMAGES_AT_ONCE = 64


@dataclass(frozen=True)
class KnownContent:
    """Hashes that were taken before of the same files: ``trials`` by subject, ``stimuli`` by id."""

    trials: Mapping[str, Sequence[bytes]] = field(default_factory=dict)
    stimuli: Mapping[str, str] = field(default_factory=dict)

    def of_trials(self, trials: Trials) -> Sequence[bytes]:
        """One hash a trial: those known of the subject, or taken now."""
        known = self.trials.get(trials.subject, ())
        return known if len(known) == len(trials) else trial_hashes(trials.signal)

    def of_stimuli(self, stimuli: Stimuli, ids: Sequence[str]) -> dict[str, str]:
        """`content_hashes` of ``ids``; only those that are not known are taken now."""
        known = {i: self.stimuli[i] for i in ids if i in self.stimuli}
        return {**known, **content_hashes(stimuli, [i for i in ids if i not in known])}


def trial_hashes(signal_NST: np.ndarray) -> list[bytes]:
    """A 16-byte content hash of every trial; a memory-mapped signal is read in small blocks."""
    hashes = []
    for start in range(0, len(signal_NST), _ROWS_AT_ONCE):
        block = np.ascontiguousarray(signal_NST[start : start + _ROWS_AT_ONCE])
        hashes += [hashlib.blake2b(memoryview(row).cast("B"), digest_size=16).digest() for row in block]
    return hashes


def content_hashes(stimuli: Stimuli, ids: Sequence[str]) -> dict[str, str]:
    """Id -> sha256 of what was presented: pixels with their shape, else the waveform, else the text.

    Texts are compared without regard to case and spacing. Images are read a few at a time.
    """
    hashes = {}
    rows = stimuli.rows(ids)
    if stimuli.images is not None:
        for start in range(0, len(rows), _IMAGES_AT_ONCE):
            part = slice(start, start + _IMAGES_AT_ONCE)
            for stimulus_id, image in zip(ids[part], stimuli.images[rows[part]], strict=True):
                content = str((1, *image.shape)).encode() + np.ascontiguousarray(image).tobytes()
                hashes[stimulus_id] = hashlib.sha256(content).hexdigest()
        return hashes
    for stimulus_id, row in zip(ids, rows, strict=True):
        if stimuli.audio is not None:
            content = np.ascontiguousarray(stimuli.audio[row], dtype=np.float32).tobytes()
        elif stimuli.texts is not None:
            content = " ".join(stimuli.texts[row].lower().split()).encode()
        else:
            continue
        hashes[stimulus_id] = hashlib.sha256(content).hexdigest()
    return hashes
