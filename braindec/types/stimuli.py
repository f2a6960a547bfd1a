"""What was shown, heard or read, and what is asked about it.

Legend: n stimuli, H W image height and width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from braindec.types.errors import DataError


class ImageArray(Protocol):
    """What ``Stimuli.images`` must offer: a uint8 array (n, H, W, 3), in memory, memory-mapped or lazy."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: Any) -> np.ndarray: ...


@dataclass(frozen=True)
class ImageRows:
    """Some rows of an image array, read when asked for; an `ImageArray` itself."""

    base: ImageArray
    rows: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, H, W, 3)."""
        return (len(self.rows), *self.base.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Any) -> np.ndarray:
        return np.asarray(self.base[self.rows[rows]])


@dataclass(frozen=True)
class QuestionAnswers:
    """A question about a stimulus.

    Attributes
    ----------
    question : as it is asked.
    answers : accepted answers; one that several people gave stands there as often.
    kind : what is asked for (``colour``, ``place``, ...); questions of a kind are scored together. May be empty.
    """

    question: str
    answers: tuple[str, ...]
    kind: str = ""

    def __post_init__(self) -> None:
        if not self.question.strip() or not any(answer.strip() for answer in self.answers):
            raise DataError(
                f"QuestionAnswers: expected a question and answers, found {self.question!r}, {self.answers}"
            )


@dataclass(frozen=True)
class Stimuli:
    """What was shown, heard or read.

    Attributes
    ----------
    ids : unique string ids; every other field follows their order.
    images : uint8 (n, H, W, 3) sRGB, or None.
    captions : per stimulus one or more captions, or None.
    concepts : per stimulus its concept (class), or None.
    audio, audio_rate_hz : per stimulus a float32 waveform in [-1, 1], and its rate.
    texts : per stimulus the text that was read, or None.
    questions : per stimulus the questions about it with their answers, or None.
    extras : further per-stimulus fields by name (``depth`` float (n, H, W), ``boxes``, ...), each of length n.
    """

    ids: tuple[str, ...]
    images: ImageArray | None = None
    captions: tuple[tuple[str, ...], ...] | None = None
    concepts: tuple[str, ...] | None = None
    audio: tuple[np.ndarray, ...] | None = None
    audio_rate_hz: float | None = None
    texts: tuple[str, ...] | None = None
    questions: tuple[tuple[QuestionAnswers, ...], ...] | None = None
    extras: Mapping[str, Sequence[Any] | np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.ids)
        if len(set(self.ids)) != n:
            seen: set[str] = set()
            twice = sorted({i for i in self.ids if i in seen or seen.add(i)})  # type: ignore[func-returns-value]
            raise DataError(f"Stimuli.ids: {len(twice)} ids occur more than once, e.g. {twice[:3]}")
        if self.images is not None:
            shape = tuple(self.images.shape)
            if len(shape) != 4 or shape[0] != n or shape[3] != 3:
                raise DataError(f"Stimuli.images: expected ({n}, H, W, 3), found {shape}")
        fields = {
            "captions": self.captions,
            "concepts": self.concepts,
            "audio": self.audio,
            "texts": self.texts,
            "questions": self.questions,
            **self.extras,
        }
        for name, value in fields.items():
            if value is not None and len(value) != n:
                raise DataError(f"Stimuli.{name}: expected {n} entries (one an id), found {len(value)}")

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """0-based rows of the given ids.

        Raises
        ------
        DataError
            If an id is unknown.
        """
        index = {stimulus_id: row for row, stimulus_id in enumerate(self.ids)}
        unknown = [i for i in ids if i not in index]
        if unknown:
            raise DataError(f"{len(unknown)} stimulus ids are unknown, e.g. {unknown[:3]}; known e.g. {self.ids[:3]}")
        return np.array([index[i] for i in ids], dtype=np.int64)

    def select(self, ids: Sequence[str]) -> Stimuli:
        """The given stimuli, in that order; their images are read into memory."""
        chosen = self.view(ids)
        return replace(chosen, images=None if chosen.images is None else np.asarray(chosen.images[:]))

    def view(self, ids: Sequence[str]) -> Stimuli:
        """The given stimuli, in that order; their images stay where they are and are read when asked for."""
        rows = self.rows(ids)

        def pick(values: Any) -> Any:
            if values is None:
                return None
            return values[rows] if isinstance(values, np.ndarray) else tuple(values[i] for i in rows)

        images = self.images
        if isinstance(images, ImageRows):
            images = ImageRows(images.base, images.rows[rows])
        elif images is not None:
            images = ImageRows(images, rows)
        return replace(
            self,
            ids=tuple(ids),
            images=images,
            captions=pick(self.captions),
            concepts=pick(self.concepts),
            audio=pick(self.audio),
            texts=pick(self.texts),
            questions=pick(self.questions),
            extras={name: pick(values) for name, values in self.extras.items()},
        )
