"""What keeps a benchmark on a rented GPU from losing figures: parts with a time limit, figures printed at once."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in what takes longer."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"not done after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def guarded(seconds: float, told: Callable[[str], None]) -> Iterator[None]:
    """A part of at most so many seconds; what it raises is told, so that it does not cost the other parts."""
    try:
        with limited(seconds):
            yield
    except Exception:
        told(traceback.format_exc()[-3000:])


class Row(dict[str, Any]):
    """Figures of one case, each printed when it is set; ``kept`` is called then."""

    def __init__(self, name: str, kept: Callable[[], None] = lambda: None) -> None:
        super().__init__(name=name)
        self.kept = kept

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self._told({key: value})

    def __ior__(self, other: Mapping[str, Any]) -> Self:  # type: ignore[override, misc]
        super().update(other)
        self._told(other)
        return self

    def _told(self, figures: Mapping[str, Any]) -> None:
        line = "  ".join(shown(key, value) for key, value in figures.items() if not isinstance(value, dict))
        if line:
            print(f"{self['name']:18s} {line}", flush=True)
        for key, value in figures.items():
            for name, part in value.items() if isinstance(value, dict) else ():
                print(f"    {key} {part:8.3f}  {name}", flush=True)
        self.kept()


def shown(key: str, value: Any) -> str:
    """A figure in four digits."""
    return f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
