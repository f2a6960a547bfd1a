"""How a weight or a temperature changes over training: functions of progress, 0 at its start and 1 at its end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, overload, runtime_checkable

import torch

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


class Dial:
    """Progress of training for a step that is recorded once and replayed: schedules are read as numbers on a device.

    A recorded step cannot take new Python numbers, but it reads memory anew. A schedule must have been read once before
    the recording (a step run in the ordinary way does).
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.progress = 0.0
        self._values: dict[int, tuple[Schedule, torch.Tensor]] = {}

    def turn(self, progress: float) -> None:
        """Set the progress, and every schedule's number that was read so far."""
        self.progress = progress
        for schedule, value in self._values.values():
            value.fill_(schedule(progress))

    def read(self, schedule: Schedule) -> torch.Tensor:
        """A scalar that `turn` keeps at the schedule's value."""
        if id(schedule) not in self._values:
            value = torch.tensor(schedule(self.progress), dtype=torch.float32, device=self.device)
            self._values[id(schedule)] = (schedule, value)
        return self._values[id(schedule)][1]


Progress = float | Dial


def number(progress: Progress) -> float:
    """Progress as a number in [0, 1]."""
    return progress.progress if isinstance(progress, Dial) else progress


@overload
def at(value: float | Schedule, progress: float) -> float: ...
@overload
def at(value: float | Schedule, progress: Progress) -> float | torch.Tensor: ...
def at(value: float | Schedule, progress: Progress) -> float | torch.Tensor:
    """The value itself, or a schedule's at ``progress``: a number, or a scalar tensor where a `Dial` is given."""
    if not callable(value):
        return float(value)
    return progress.read(value) if isinstance(progress, Dial) else value(progress)
