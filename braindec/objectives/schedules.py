"""How a weight or a temperature changes over training: functions of progress, 0 at its start and 1 at its end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from braindec.types import DataError


@runtime_checkable
class Schedule(Protocol):
    """Progress in [0, 1] -> value."""

    def __call__(self, progress: float) -> float:
        """The value."""
        ...


@dataclass(frozen=True)
class Phase:
    """``value`` while start <= progress < stop (to the end with stop = 1), 0 otherwise."""

    start: float = 0.0
    stop: float = 1.0
    value: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop <= 1:
            raise DataError(f"Phase: expected 0 <= start < stop <= 1, found {self.start} and {self.stop}")

    def __call__(self, progress: float) -> float:
        """Value at ``progress``."""
        inside = self.start <= progress and (progress < self.stop or self.stop == 1)
        return self.value if inside else 0.0


@dataclass(frozen=True)
class Ramp:
    """From ``first`` at progress ``start`` to ``last`` at ``stop``, linearly or along half a cosine; flat outside."""

    first: float
    last: float
    start: float = 0.0
    stop: float = 1.0
    cosine: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop <= 1:
            raise DataError(f"Ramp: expected 0 <= start < stop <= 1, found {self.start} and {self.stop}")

    def __call__(self, progress: float) -> float:
        """Value at ``progress``."""
        share = min(max((progress - self.start) / (self.stop - self.start), 0.0), 1.0)
        if self.cosine:
            share = (1 - math.cos(math.pi * share)) / 2
        return self.first + (self.last - self.first) * share


def at(value: float | Schedule, progress: float) -> float:
    """The value itself, or a schedule's at ``progress``."""
    return value(progress) if callable(value) else float(value)
