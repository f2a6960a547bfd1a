"""What is in a scene, decided before anything is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braindec.datasets.simulated.vocabulary import (
    CATEGORIES,
    COLOURS_OF,
    FLYING,
    LIGHTINGS,
    PLACES_OF,
    POSITIONS,
    SIZES,
)

_X_RANGE = {"left": (0.20, 0.32), "centre": (0.45, 0.55), "right": (0.68, 0.80)}
_SCALE_RANGE = {"small": (0.12, 0.155), "medium": (0.19, 0.24), "large": (0.285, 0.35)}
_BASELINE_RANGE = {"small": (0.68, 0.86), "medium": (0.80, 0.92), "large": (0.90, 0.98)}
_SECOND_OBJECT_RATE = 0.35


@dataclass(frozen=True)
class PlannedObject:
    """One object: what it is, where its middle is (image x right, y down, in [0, 1]) and its half height."""

    category: str
    colour: str
    position: str
    size: str
    x: float
    y: float
    scale: float
    mirrored: bool
    tilt: float
    flying: bool


@dataclass(frozen=True)
class ScenePlan:
    """A scene before it is drawn; ``objects`` holds the main object first."""

    index: int
    place: str
    lighting: str
    horizon: float
    objects: tuple[PlannedObject, ...]

    @property
    def concept(self) -> str:
        """Category of the main object."""
        return self.objects[0].category


def scene_rng(seed: int, index: int, purpose: int) -> np.random.Generator:
    """The random numbers of one scene: they depend on nothing but these three numbers."""
    return np.random.default_rng((seed, index, purpose))


def plan_scene(seed: int, index: int) -> ScenePlan:
    """Plan scene ``index``: a category first, each with the same probability, then where and how it is seen.

    Main object, colour, place, lighting, position and size are drawn independently, but for places and colours that
    the category excludes (`vocabulary.PLACES_OF`, `vocabulary.COLOURS_OF`).
    """
    rng = scene_rng(seed, index, 0)
    category = _one_of(rng, CATEGORIES)
    place = _one_of(rng, PLACES_OF[category])
    lighting = _one_of(rng, LIGHTINGS)
    horizon = float(rng.uniform(0.56, 0.70) if place == "room" else rng.uniform(0.36, 0.58))
    position = _one_of(rng, POSITIONS)
    size = _one_of(rng, SIZES)
    objects = [_plan_object(rng, category, place, position, size, horizon)]
    if rng.random() < _SECOND_OBJECT_RATE:
        others = tuple(c for c in CATEGORIES if c != category and place in PLACES_OF[c])
        second = _one_of(rng, others)
        free = "left" if position == "right" else "right" if position == "left" else _one_of(rng, ("left", "right"))
        objects.append(_plan_object(rng, second, place, free, "small", horizon))
    return ScenePlan(index=index, place=place, lighting=lighting, horizon=horizon, objects=tuple(objects))


def _plan_object(
    rng: np.random.Generator, category: str, place: str, position: str, size: str, horizon: float
) -> PlannedObject:
    scale = float(rng.uniform(*_SCALE_RANGE[size]))
    flying = category in FLYING and place != "room"
    if flying:
        highest = max(0.16, 0.8 * scale)
        y = float(rng.uniform(highest, max(highest + 0.02, horizon - 0.1)))
    else:
        baseline = float(rng.uniform(*_BASELINE_RANGE[size]))
        if category == "boat":
            baseline = min(baseline, horizon + (0.1 if size == "small" else 0.2) + 0.1 * float(rng.random()))
        y = baseline - scale
    return PlannedObject(
        category=category,
        colour=_one_of(rng, COLOURS_OF[category]),
        position=position,
        size=size,
        x=float(rng.uniform(*_X_RANGE[position])),
        y=y,
        scale=scale,
        mirrored=bool(rng.random() < 0.5),
        tilt=float(rng.normal(0, 0.12 if flying else 0.035)),
        flying=flying,
    )


def _one_of(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]
