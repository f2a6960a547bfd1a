"""What a metric keeps of objects it has already looked at, for as long as those objects live."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from braindec.types import Evidence

T = TypeVar("T")


class Memo:
    """Values by the identity of the object that they were computed from; forgotten together with the object.

    The shuffled control credits the same decoded material to other stimuli many times over: similarities are
    reordered then, and no network looks at a picture twice.
    """

    def __init__(self) -> None:
        self._kept: dict[int, tuple[weakref.ref[Any], Any]] = {}

    def of(self, owner: Any, compute: Callable[[], T]) -> T:
        """The value kept for ``owner``, computed on first use."""
        key = id(owner)
        found = self._kept.get(key)
        if found is None or found[0]() is not owner:
            forget = weakref.ref(owner, lambda _: self._kept.pop(key, None))
            found = self._kept[key] = (forget, compute())
        return found[1]

    def rows(self, evidence: Evidence, compute: Callable[[Evidence], np.ndarray | None]) -> np.ndarray | None:
        """One row a prediction, where row i depends on what was decoded for i and on the gallery, not on the truth."""
        original, order = evidence.permuted_from or (evidence, None)
        values = self.of(original, lambda: compute(original))
        return values if values is None or order is None else values[order]
