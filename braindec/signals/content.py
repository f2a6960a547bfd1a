"""Hashes of what was recorded and of what was presented, by which copies are found.

Legend: N trials, S space, T time points.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from braindec.types import Stimuli

_ROWS_AT_ONCE = 256


def trial_hashes(signal_NST: np.ndarray) -> list[bytes]:
    """A 16-byte content hash of every trial; a memory-mapped signal is read in small blocks."""
    hashes = []
    for start in range(0, len(signal_NST), _ROWS_AT_ONCE):
        block = np.ascontiguousarray(signal_NST[start : start + _ROWS_AT_ONCE])
        hashes += [hashlib.blake2b(memoryview(row).cast("B"), digest_size=16).digest() for row in block]
    return hashes


def content_hashes(stimuli: Stimuli, ids: Sequence[str]) -> dict[str, str]:
    """Id -> sha256 of what was presented: pixels with their shape, else the waveform, else the text.

    Texts are compared without regard to case and spacing. Images are read one at a time.
    """
    hashes = {}
    for stimulus_id, row in zip(ids, stimuli.rows(ids), strict=True):
        if stimuli.images is not None:
            image = np.ascontiguousarray(stimuli.images[np.array([row])])
            content = str(image.shape).encode() + image.tobytes()
        elif stimuli.audio is not None:
            content = np.ascontiguousarray(stimuli.audio[row], dtype=np.float32).tobytes()
        elif stimuli.texts is not None:
            content = " ".join(stimuli.texts[row].lower().split()).encode()
        else:
            continue
        hashes[stimulus_id] = hashlib.sha256(content).hexdigest()
    return hashes
