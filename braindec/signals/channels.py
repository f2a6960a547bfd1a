"""Transforms across the channels of M/EEG: picks, references, amplitude of a map.

Legend: N trials, S channels, T time points.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from braindec.types import DataError, Space, Trials


def picks_by_name(space: Space, names: Sequence[str]) -> np.ndarray:
    """Positions of the channels that match any of the names, in the recording's order.

    A name may be a pattern of the shell (``O*``, ``P?``, ``[!A]*``); upper and lower case differ.

    Raises
    ------
    DataError
        If the space has no names, or a name or pattern matches nothing.
    """
    if space.names is None:
        raise DataError(f"channel picks: these {space.size} {space.kind} have no names; pick by position")
    chosen = np.zeros(space.size, dtype=bool)
    for pattern in names:
        matches = np.array([fnmatch.fnmatchcase(name, pattern) for name in space.names])
        if not matches.any():
            raise DataError(f"channel picks: no channel is named {pattern!r}; channels are {', '.join(space.names)}")
        chosen |= matches
    return np.flatnonzero(chosen)


def picks_by_position(
    space: Space,
    centre_m: Sequence[float] | None = None,
    radius_m: float | None = None,
    box_m: Sequence[Sequence[float | None]] | None = None,
) -> np.ndarray:
    """Positions within ``radius_m`` of a point, or within a box; float coordinates in metres as in ``positions_m``.

    Parameters
    ----------
    centre_m, radius_m : a ball; both or neither.
    box_m : (low, high) along x, y and z; None leaves a side open. In head coordinates x points to the right ear, y to
        the nose, z up, so that ``[[null, null], [null, 0], [null, null]]`` is the back of the head.

    Raises
    ------
    DataError
        If the space has no positions, neither or half a ball is given, or nothing lies inside.
    """
    if space.positions_m is None:
        raise DataError(f"channel picks: these {space.size} {space.kind} have no positions; pick by name")
    if (centre_m is None) != (radius_m is None) or (centre_m is None and box_m is None):
        raise DataError("channel picks: give a ball (centre_m and radius_m), a box (box_m), or both")
    inside = np.ones(space.size, dtype=bool)
    if centre_m is not None and radius_m is not None:
        inside &= np.linalg.norm(space.positions_m - np.asarray(centre_m, dtype=float), axis=1) <= radius_m
    if box_m is not None:
        if len(box_m) != 3 or any(len(side) != 2 for side in box_m):
            raise DataError(f"channel picks: box_m must hold (low, high) for x, y and z, found {box_m}")
        for axis, (low, high) in enumerate(box_m):
            inside &= space.positions_m[:, axis] >= (-np.inf if low is None else low)
            inside &= space.positions_m[:, axis] <= (np.inf if high is None else high)
    if not inside.any():
        raise DataError(f"channel picks: none of the {space.size} {space.kind} lies inside")
    return np.flatnonzero(inside)


class PickChannels:
    """Keep channels by name, by position, or both; the choice is recorded by position.

    Fitted attribute: ``kept_`` int64, positions of the recording that are kept.

    Parameters
    ----------
    names : names or shell patterns; None takes all names.
    centre_m, radius_m, box_m : as in `picks_by_position`; None takes all positions.
    """

    def __init__(
        self,
        names: list[str] | None = None,
        centre_m: tuple[float, float, float] | None = None,
        radius_m: float | None = None,
        box_m: list[list[float | None]] | None = None,
    ) -> None:
        if names is None and centre_m is None and radius_m is None and box_m is None:
            raise DataError("PickChannels: give names, a ball (centre_m, radius_m) or a box (box_m)")
        self.names = names
        self.centre_m = centre_m
        self.radius_m = radius_m
        self.box_m = box_m

    def fit(self, trials: Trials) -> None:
        """Find the channels; raises as `picks_by_name` and `picks_by_position`, or when no channel is in both."""
        chosen = np.ones(trials.space.size, dtype=bool)
        if self.names is not None:
            chosen &= _mask(picks_by_name(trials.space, self.names), trials.space.size)
        if self.centre_m is not None or self.radius_m is not None or self.box_m is not None:
            inside = picks_by_position(trials.space, self.centre_m, self.radius_m, self.box_m)
            chosen &= _mask(inside, trials.space.size)
        if not chosen.any():
            raise DataError(f"PickChannels: no channel of subject {trials.subject!r} has both the names and the place")
        self.kept_, self.size_ = np.flatnonzero(chosen), trials.space.size

    def apply(self, trials: Trials) -> Trials:
        """Trials with the kept channels only. Raises `DataError` when the recording has another number of channels."""
        _same_size(self, trials)
        return trials.select_space(self.kept_)

    def state(self) -> dict[str, np.ndarray]:
        """Kept positions, and the number of channels of the recording."""
        return {"kept": self.kept_, "size": np.array([self.size_])}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what `state` gave."""
        self.kept_, self.size_ = np.asarray(state["kept"]), int(state["size"][0])


class AverageReference:
    """Subtract from every time point of a trial the mean over channels; nothing is fitted.

    The mean cannot be got back from the result, so that there is no inverse.
    """

    def fit(self, trials: Trials) -> None:
        """Raises `DataError` when there are fewer than two channels."""
        if trials.space.size < 2:
            raise DataError(f"AverageReference: subject {trials.subject!r} has {trials.space.size} channel, needs two")

    def apply(self, trials: Trials) -> Trials:
        """Re-referenced trials, in the same unit."""
        mean = trials.signal.mean(axis=1, keepdims=True, dtype=np.float64)
        return replace(trials, signal=(trials.signal - mean).astype(np.float32))

    def state(self) -> dict[str, np.ndarray]:
        """Empty: nothing is fitted."""
        return {}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Nothing to take over."""


class MapScale:
    """Divide each time point's map by its global field power, the standard deviation over channels.

    What remains is the map's shape: people whose skulls pass more or less current become comparable. Nothing is fitted;
    a flat map stays 0.

    Source: Lehmann & Skrandies 1980, "Reference-free identification of components of checkerboard-evoked multichannel
    potential fields"; scaled maps: Skrandies 1990.
    """

    def fit(self, trials: Trials) -> None:
        """Nothing to learn."""

    def apply(self, trials: Trials) -> Trials:
        """Average-referenced maps of unit global field power, unit ``z``."""
        signal = trials.signal - trials.signal.mean(axis=1, keepdims=True, dtype=np.float64)
        power = np.sqrt((signal**2).mean(axis=1, keepdims=True))
        scaled = np.divide(signal, power, out=np.zeros_like(signal), where=power > 0)
        return replace(trials, signal=scaled.astype(np.float32), unit="z")

    def state(self) -> dict[str, np.ndarray]:
        """Empty: nothing is fitted."""
        return {}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Nothing to take over."""


def _mask(rows: np.ndarray, size: int) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[rows] = True
    return mask


def _same_size(transform: PickChannels, trials: Trials) -> None:
    if not hasattr(transform, "kept_"):
        raise DataError("PickChannels: not fitted; call fit with the training trials first")
    if trials.space.size != transform.size_:
        raise DataError(f"PickChannels: fitted on {transform.size_} channels, found {trials.space.size}")
