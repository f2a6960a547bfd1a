"""Scene features -> noiseless voxel responses of one simulated subject.

Legend: n scenes, S voxels, E early voxels, C feature channels, G map rows and columns, D feature dimensions.

The equations are in ``docs/simulated.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from braindec.datasets.simulated.anatomy import EARLY, Anatomy, lay_out, mixing_matrix
from braindec.datasets.simulated.features import (
    CATEGORY_NAMES,
    COLOUR_GRID,
    CYCLES_PER_IMAGE,
    ENERGY_GRID,
    LANGUAGE_DIM,
    ORIENTATIONS,
    SCENE_NAMES,
    SceneFeatures,
)
from braindec.datasets.simulated.vocabulary import CATEGORIES, GROUP_OF

_CHROMA_GAIN = MappingProxyType({"V1": 0.7, "V2": 0.8, "V3": 0.6, "V4": 1.1})
_PREFERRED_OCTAVE = MappingProxyType({"V1": 2.0, "V2": 1.3, "V3": 0.8, "V4": 0.3})


@dataclass(frozen=True)
class Tuning:
    """What each voxel responds to.

    Attributes
    ----------
    colour_EC, energy_EC : weights over the colour and energy channels inside the receptive field.
    linear_share_E : share of response variance from colour and luminance; the rest follows energy.
    category_SD, scene_SD, language_SD : weights of the higher voxels.
    partner_S : for each voxel the neighbour that it interacts with in the nonlinear code.
    """

    colour_EC: np.ndarray
    energy_EC: np.ndarray
    linear_share_E: np.ndarray
    category_SD: np.ndarray
    scene_SD: np.ndarray
    language_SD: np.ndarray
    partner_S: np.ndarray


@dataclass(frozen=True)
class _RawDrives:
    """Drives before any standardisation; ``higher_nS`` is 0 for the early voxels."""

    colour_nE: np.ndarray
    energy_nE: np.ndarray
    higher_nS: np.ndarray


class Cortex:
    """One subject's brain, before noise.

    Parameters
    ----------
    seed, subject : decide receptive fields, tuning and mixing.
    n_voxels : number of voxels S.
    nonlinearity : 0 (responses linear in the features) to 1 (products of neighbouring drives, divisively normalised).
    reference : features of the fixed reference scenes; over them every voxel has mean 0 and SD 1.
    """

    def __init__(self, seed: int, subject: int, n_voxels: int, nonlinearity: float, reference: SceneFeatures) -> None:
        rng = np.random.default_rng((seed, subject, 71))
        self.anatomy = lay_out(n_voxels, rng)
        self.tuning = draw_tuning(self.anatomy, rng)
        self.mixing = mixing_matrix(self.anatomy.space, rng)
        self.nonlinearity = nonlinearity
        self._fields = {grid: self.anatomy.field_weights(grid) for grid in (COLOUR_GRID, ENERGY_GRID)}
        raw = self._raw(reference)
        self._colour_stats, self._energy_stats = _moments(raw.colour_nE), _moments(raw.energy_nE)
        drive = self._drive(raw)
        self._drive_stats = _moments(drive)
        drive = _standardise(drive, self._drive_stats)
        self._interaction_stats = _moments(self._interaction(drive))
        self._response_stats = _moments(self._code(drive) @ self.mixing.T)

    def respond(self, features: SceneFeatures) -> np.ndarray:
        """Noiseless responses float32 (n, S), of mean 0 and SD 1 over the reference scenes."""
        drive = _standardise(self._drive(self._raw(features)), self._drive_stats)
        return _standardise(self._code(drive) @ self.mixing.T, self._response_stats).astype(np.float32)

    def _code(self, drive: np.ndarray) -> np.ndarray:
        if self.nonlinearity == 0:
            return drive
        interaction = _standardise(self._interaction(drive), self._interaction_stats)
        return (1 - self.nonlinearity) * drive + self.nonlinearity * interaction

    def _interaction(self, drive: np.ndarray) -> np.ndarray:
        """Product with the partner's drive under divisive normalisation by the pair's energy: even, within [-1, 1].

        Source: the divisive form follows Carandini & Heeger 2012 (doi:10.1038/nrn3136).
        """
        partner = drive[:, self.tuning.partner_S]
        return drive * partner / (1 + 0.5 * (drive**2 + partner**2))

    def _drive(self, raw: _RawDrives) -> np.ndarray:
        share = self.tuning.linear_share_E
        drive = raw.higher_nS.copy()
        drive[:, np.isin(self.anatomy.areas, EARLY)] = np.sqrt(share) * _standardise(
            raw.colour_nE, self._colour_stats
        ) + np.sqrt(1 - share) * _standardise(raw.energy_nE, self._energy_stats)
        return drive

    def _raw(self, features: SceneFeatures) -> _RawDrives:
        higher = features.category @ self.tuning.category_SD.T
        higher += features.scene @ self.tuning.scene_SD.T
        higher += features.language @ self.tuning.language_SD.T
        return _RawDrives(
            colour_nE=_through_fields(features.colour, self._fields[COLOUR_GRID], self.tuning.colour_EC),
            energy_nE=_through_fields(features.energy, self._fields[ENERGY_GRID], self.tuning.energy_EC),
            higher_nS=higher,
        )


def draw_tuning(anatomy: Anatomy, rng: np.random.Generator) -> Tuning:
    """Random tuning: orientation, scale and colour in V1-V4; category, place or words above."""
    areas = anatomy.areas
    early = areas[np.isin(areas, EARLY)]
    n_early, n_all = len(early), len(areas)
    chroma = np.array([_CHROMA_GAIN[area] for area in early])[:, None]
    # The three channels differ in contrast; dividing by it lets chroma compete with luminance in a voxel.
    colour = rng.standard_normal((n_early, 3)) / np.array([0.43, 0.15, 0.2])
    colour[:, 1:] *= chroma
    octave = np.array([_PREFERRED_OCTAVE[area] for area in early]) + rng.normal(0, 0.4, n_early)
    by_scale = np.exp(-0.5 * ((np.arange(len(CYCLES_PER_IMAGE)) - octave[:, None]) / 0.7) ** 2)
    preferred = rng.uniform(0, np.pi, n_early)[:, None]
    by_orientation = np.exp(1.2 * np.cos(2 * (np.arange(ORIENTATIONS) * np.pi / ORIENTATIONS - preferred)))
    energy = (by_scale[:, :, None] * by_orientation[:, None, :]).reshape(n_early, -1)
    return Tuning(
        colour_EC=colour.astype(np.float32),
        energy_EC=energy.astype(np.float32),
        linear_share_E=rng.beta(2.0, 1.2, n_early).astype(np.float32),
        category_SD=_category_weights(anatomy, rng),
        scene_SD=_rows_of(areas == "scene", rng.standard_normal((n_all, len(SCENE_NAMES)))),
        language_SD=_rows_of(areas == "language", rng.standard_normal((n_all, LANGUAGE_DIM))),
        partner_S=_partners(anatomy, rng),
    )


def _category_weights(anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Ventral voxels prefer their patch's group, some of its members more than others, and weakly other things."""
    weights = 0.25 * rng.standard_normal((len(anatomy.areas), len(CATEGORY_NAMES)))
    for column, name in enumerate(CATEGORY_NAMES):
        group = GROUP_OF[name] if name in CATEGORIES else name.removeprefix("group:")
        own = anatomy.patches == group
        weights[own, column] += 0.8 if name not in CATEGORIES else 0.7 * rng.standard_normal(own.sum())
    return _rows_of(anatomy.areas == "ventral", weights)


def _rows_of(mask: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.where(mask[:, None], weights, 0).astype(np.float32)


def _partners(anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """For each voxel another one of its area, at most a few voxels away."""
    partner = np.empty(len(anatomy.areas), dtype=np.int64)
    for area in np.unique(anatomy.areas):
        members = np.flatnonzero(anatomy.areas == area)
        place = np.arange(len(members))
        step = rng.integers(1, min(4, len(members)), len(members))
        partner[members] = members[(place + step) % len(members)]
    return partner


def _through_fields(maps: np.ndarray, fields: np.ndarray, tuning: np.ndarray) -> np.ndarray:
    """Maps (n, C, G, G), receptive fields (E, G * G), channel weights (E, C) -> drives float32 (n, E)."""
    n, channels = maps.shape[:2]
    drive = np.zeros((n, len(fields)), dtype=np.float32)
    for channel in range(channels):
        drive += (maps[:, channel].reshape(n, -1) @ fields.T) * tuning[:, channel]
    return drive


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return values.mean(axis=0), np.maximum(values.std(axis=0), 1e-6)


def _standardise(values: np.ndarray, moments: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    mean, spread = moments
    return (values - mean) / spread
