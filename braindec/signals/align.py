"""Bringing the sessions of a subject into one space, with maps that are fitted on training trials only.

Legend: N trials, S space, T time points, G groups (sessions), M stimuli that two sessions share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import numpy as np

from braindec.signals.normalise import Per, check_per, group_names
from braindec.signals.shrinkage import shrunk_covariance
from braindec.signals.whiten import matrix_power
from braindec.types import DataError, Trials, Unit

MOST_POSITIONS = 4096
"""A map of more positions than this (134 MB a session) is refused: align components or ROIs instead."""


def regularised_procrustes(source_MS: np.ndarray, target_MS: np.ndarray, shrinkage: float) -> np.ndarray:
    """Orthogonal map (S, S) that brings the rows of ``source_MS`` closest to those of ``target_MS``.

    It is the polar factor of (1 - shrinkage) C / |C| + shrinkage I / |I| with C = source' target: directions that no
    row speaks about (there are many when M < S) stay as they are instead of being turned at random.

    Source: Schonemann 1966, "A generalized solution of the orthogonal Procrustes problem", Psychometrika 31; the use
    for brain data follows Haxby et al. 2011, Neuron 72 (hyperalignment).
    """
    cross_SS = source_MS.T @ target_MS
    n_space = len(cross_SS)
    norm = float(np.linalg.norm(cross_SS))
    identity = np.eye(n_space)
    pulled = shrinkage * identity / np.sqrt(n_space) + ((1 - shrinkage) * cross_SS / norm if norm > 0 else 0.0)
    left, _, right = np.linalg.svd(pulled)
    return np.asarray(left @ right)


class _SessionMaps:
    """What both alignments share: a centre, a linear map and a new centre a group.

    Fitted attributes: ``groups_`` (G,) names, ``center_`` and ``new_center_`` float64 (G, S), ``map_`` and
    ``inverse_map_`` float64 (G, S, S), ``unit_`` of the training trials.
    """

    per: Per = "session"
    whitens = False
    unit_: Unit

    def apply(self, trials: Trials) -> Trials:
        """Aligned trials.

        Raises
        ------
        DataError
            If a trial's session had no training trials, or unit or positions differ from training.
        """
        if trials.unit != self._fitted().unit_:
            raise DataError(f"{type(self).__name__}: fitted on trials in unit {self.unit_!r}, found {trials.unit!r}")
        mapped = self._mapped(trials, self.center_, self.map_, self.new_center_)
        return replace(trials, signal=mapped, unit="z" if self.whitens else trials.unit)

    def inverse(self, trials: Trials) -> Trials:
        """Undo the alignment: every session in its own space and unit again."""
        mapped = self._mapped(trials, self._fitted().new_center_, self.inverse_map_, self.center_)
        return replace(trials, signal=mapped, unit=self.unit_)

    def state(self) -> dict[str, np.ndarray]:
        """Centres and maps by group, and the unit."""
        self._fitted()
        return {
            "groups": self.groups_,
            "center": self.center_,
            "new_center": self.new_center_,
            "map": self.map_,
            "inverse_map": self.inverse_map_,
            "unit": np.array([self.unit_]),
        }

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what `state` gave."""
        self.groups_ = np.asarray(state["groups"])
        self.center_, self.new_center_ = np.asarray(state["center"]), np.asarray(state["new_center"])
        self.map_, self.inverse_map_ = np.asarray(state["map"]), np.asarray(state["inverse_map"])
        self.unit_ = cast(Unit, str(state["unit"][0]))

    def _fitted(self) -> _SessionMaps:
        if not hasattr(self, "groups_"):
            raise DataError(f"{type(self).__name__}: not fitted; call fit with the training trials first")
        return self

    def _groups(self, trials: Trials) -> np.ndarray:
        if trials.space.size > MOST_POSITIONS:
            raise DataError(
                f"{type(self).__name__}: {trials.space.size} positions are more than {MOST_POSITIONS}; choose a ROI or "
                "parcels, or standardise each session instead (transform=[zscore])"
            )
        self.groups_ = np.unique(group_names(trials.table, self.per))
        return group_names(trials.table, self.per)

    def _mapped(
        self, trials: Trials, center_GS: np.ndarray, map_GSS: np.ndarray, new_center_GS: np.ndarray
    ) -> np.ndarray:
        name = type(self).__name__
        if trials.space.size != center_GS.shape[1]:
            raise DataError(f"{name}: fitted on {center_GS.shape[1]} positions, found {trials.space.size}")
        group_of = group_names(trials.table, self.per)
        unseen = sorted(set(group_of) - set(self.groups_))
        if unseen:
            raise DataError(
                f"{name}: subject {trials.subject!r} has no training trials in {', '.join(unseen[:3])} ({len(unseen)} "
                "in all), so there is no map to apply; use a split that trains on them"
            )
        result = np.empty(trials.signal.shape, dtype=np.float32)
        for group, center_S, map_SS, new_S in zip(self.groups_, center_GS, map_GSS, new_center_GS):
            for row in np.flatnonzero(group_of == group):
                result[row] = map_SS @ (trials.signal[row] - center_S[:, None]) + new_S[:, None]
        return result


class EuclideanAlignment(_SessionMaps):
    """Centre and whiten each session, so that all have mean 0 and the identity as covariance over space.

    It needs no stimulus that sessions share. The covariance is that of all training trials and time points of a session
    about their mean, Ledoit-Wolf shrunk; the map is its symmetric inverse square root. The unit becomes ``z``.

    Source: He & Wu 2020, "Transfer learning for brain-computer interfaces: a Euclidean space data alignment approach",
    IEEE Trans. Biomed. Eng. 67, equations 9-10 (there without centring and shrinkage).

    Parameters
    ----------
    per : which trials are aligned together.
    """

    whitens = True

    def __init__(self, per: Per = "session") -> None:
        check_per(per, "EuclideanAlignment")
        self.per = per

    def fit(self, trials: Trials) -> None:
        """Take each session's centre and covariance; raises `DataError` where a covariance is singular."""
        group_of = self._groups(trials)
        n_groups, n_space = len(self.groups_), trials.space.size
        self.center_ = np.empty((n_groups, n_space))
        self.map_, self.inverse_map_ = np.empty((2, n_groups, n_space, n_space))
        for index, group in enumerate(self.groups_):
            rows_NS = np.moveaxis(trials.signal[group_of == group], 2, 1).reshape(-1, n_space).astype(np.float64)
            self.center_[index] = rows_NS.mean(axis=0)
            covariance_SS = shrunk_covariance(rows_NS - self.center_[index])
            self.map_[index] = matrix_power(covariance_SS, -0.5)
            self.inverse_map_[index] = matrix_power(covariance_SS, 0.5)
        self.new_center_ = np.zeros_like(self.center_)
        self.unit_ = trials.unit


class ProcrustesAlignment(_SessionMaps):
    """Turn each session so that its responses to stimuli match those of a reference session.

    The reference is the session with the most training stimuli in common with the others (the earliest of several).
    Responses are means over a session's training repetitions; see `regularised_procrustes`. The unit stays.

    Parameters
    ----------
    shrinkage : pull towards leaving a session as it is, between 0 (none) and 1 (no turning, only the centre moves).
    """

    def __init__(self, shrinkage: float = 0.1) -> None:
        if not 0 <= shrinkage <= 1:
            raise DataError(f"ProcrustesAlignment: expected a shrinkage within [0, 1], found {shrinkage}")
        self.shrinkage = shrinkage

    def fit(self, trials: Trials) -> None:
        """Find each session's map.

        Raises
        ------
        DataError
            If a session has fewer than two training stimuli in common with the reference.
        """
        group_of = self._groups(trials)
        means = [self._means(trials, group_of == group) for group in self.groups_]
        common = np.array([[len(one.keys() & other.keys()) for other in means] for one in means])
        reference = int(np.argmax(common.sum(axis=1) - np.diag(common)))
        for index, group in enumerate(self.groups_):
            if common[index, reference] < 2:
                raise DataError(
                    f"ProcrustesAlignment: subject {trials.subject!r}, {group} has {common[index, reference]} training "
                    f"stimuli in common with {self.groups_[reference]}, needs two; use euclidean_alignment"
                )
        n_space = trials.space.size
        self.center_ = np.empty((len(means), n_space))
        self.new_center_ = np.empty_like(self.center_)
        self.map_ = np.empty((len(means), n_space, n_space))
        for index, own in enumerate(means):
            shared = sorted(own.keys() & means[reference].keys())
            pair = [
                np.stack([side[i] for i in shared]).transpose(0, 2, 1).reshape(-1, n_space)
                for side in (own, means[reference])
            ]
            self.center_[index], self.new_center_[index] = (side.mean(axis=0) for side in pair)
            source_MS, target_MS = pair[0] - self.center_[index], pair[1] - self.new_center_[index]
            turn_SS = regularised_procrustes(source_MS, target_MS, self.shrinkage)
            self.map_[index] = np.eye(n_space) if index == reference else turn_SS.T
        self.inverse_map_ = np.swapaxes(self.map_, 1, 2).copy()
        self.unit_ = trials.unit

    def _means(self, trials: Trials, chosen: np.ndarray) -> dict[str, np.ndarray]:
        """Mean response float64 (S, T) of each stimulus over the chosen trials."""
        rows = np.flatnonzero(chosen)
        ids = trials.table["stimulus_id"].astype(str).to_numpy()[rows]
        return {i: trials.signal[rows[ids == i]].mean(axis=0, dtype=np.float64) for i in np.unique(ids)}
