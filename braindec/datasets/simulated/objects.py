"""How each object category is drawn, with random shape and details.

Object coordinates: u is to the right, v up, the base at v = -1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from braindec.datasets.simulated.canvas import Brush

Painter = Callable[[Brush, np.random.Generator, np.ndarray], None]
"""Draws one object of the given body colour sRGB (3,)."""

_DARK = np.array([0.10, 0.10, 0.12])
_GLASS = np.array([0.62, 0.80, 0.92])
_LAMP = np.array([1.0, 0.88, 0.52])
_WHITE = np.array([0.96, 0.96, 0.95])
_WOOD = np.array([0.42, 0.27, 0.15])
_SKINS = np.array([[0.98, 0.82, 0.70], [0.90, 0.70, 0.54], [0.68, 0.46, 0.32], [0.42, 0.27, 0.19]])


def _skin(rng: np.random.Generator) -> np.ndarray:
    return _SKINS[rng.integers(len(_SKINS))] * rng.uniform(0.94, 1.04)


def _shade(colour: np.ndarray, amount: float) -> np.ndarray:
    """Darker for a negative amount, lighter for a positive one."""
    return colour * (1 + amount) if amount < 0 else colour + (1 - colour) * amount


def _house(b: Brush, rng: np.random.Generator, colour: np.ndarray) -> None:
    half, eaves = rng.uniform(0.6, 0.9), rng.uniform(-0.1, 0.25)
    roof = np.array([(0.62, 0.22, 0.15), (0.32, 0.30, 0.34), (0.45, 0.28, 0.18), (0.20, 0.36, 0.40)])[rng.integers(4)]
    middle = (eaves - 1) / 2
    if rng.random() < 0.6:
        b.fill(b.box(half * 0.5, 0.6, 0.1, 0.3), _shade(roof, -0.25))
    b.fill(b.box(0, middle, half, (eaves + 1) / 2), colour)
    ridge = rng.uniform(-0.25, 0.25) if rng.random() < 0.7 else half
    b.fill(b.polygon((-half - 0.12, eaves), (half + 0.12, eaves), (ridge, rng.uniform(0.75, 1.0))), roof)
    door = rng.uniform(-0.15, 0.15)
    b.fill(b.box(door, -0.68, 0.14, 0.32), _shade(colour, -0.6))
    lamp = rng.random() < 0.4
    for u in (door - half * 0.58, door + half * 0.58):
        b.fill(b.box(u, middle + 0.12, 0.17, 0.17), _WHITE)
        b.fill(b.box(u, middle + 0.12, 0.12, 0.12), _LAMP if lamp else _GLASS * 0.7, lit=not lamp)


def _tree(b: Brush, rng: np.random.Generator, colour: np.ndarray) -> None:
    trunk = rng.uniform(0.08, 0.14)
    b.fill(b.box(0, -0.6, trunk, 0.42), _WOOD)
    kind = rng.integers(3)
    if kind == 0:
        for level in range(3):
            base, half = -0.55 + 0.42 * level, 0.72 - 0.16 * level
            peak = (0.0, base + 0.75)
            b.fill(b.polygon((-half, base), (half, base), peak), _shade(colour, -0.25 + 0.12 * level))
    elif kind == 1:
        for _ in range(7):
            u, v = rng.uniform(-0.42, 0.42), rng.uniform(-0.1, 0.55)
            b.fill(b.ellipse(u, v, rng.uniform(0.28, 0.42)), _shade(colour, rng.uniform(-0.3, 0.12)))
    else:
        b.fill(b.ellipse(0, 0.28, rng.uniform(0.4, 0.55), 0.7), _shade(colour, -0.15))
        b.fill(b.ellipse(-0.12, 0.4, 0.26, 0.42), _shade(colour, 0.1))


def _wheels(b: Brush, rng: np.random.Generator, at: tuple[float, ...], v: float, radius: float) -> None:
    hub = rng.uniform(0.6, 0.9)
    for u in at:
        b.fill(b.ellipse(u, v, radius), _DARK)
        b.fill(b.ellipse(u, v, radius * 0.45), np.full(3, hub))


def _car(b: Brush, rng: np.random.Generator, colour: np.ndarray) -> None:
    roof, back, front = rng.uniform(0.12, 0.35), rng.uniform(-0.75, -0.5), rng.uniform(0.3, 0.55)
    b.fill(b.polygon((back - 0.15, -0.3), (front + 0.25, -0.3), (front - 0.08, roof), (back + 0.1, roof)), colour)
    top = roof - 0.09
    b.fill(b.polygon((back + 0.02, -0.26), (-0.12, -0.26), (-0.12, top), (back + 0.15, top)), _GLASS)
    b.fill(b.polygon((-0.04, -0.26), (front + 0.12, -0.26), (front - 0.12, top), (-0.04, top)), _GLASS)
    b.fill(b.box(0, -0.5, 0.98, 0.26, rng.uniform(0.08, 0.2)), colour)
    b.fill(b.box(0, -0.6, 0.96, 0.05), _shade(colour, -0.35))
    b.fill(b.ellipse(0.9, -0.42, 0.09), _LAMP, lit=False)
    b.fill(b.box(-0.93, -0.42, 0.05, 0.08), np.array([0.8, 0.1, 0.1]))
    _wheels(b, rng, (-0.56, 0.56), -0.76, rng.uniform(0.2, 0.25))


def _bus(b: Brush, rng: np.random.Generator, colour: np.ndarray) -> None:
    roof = rng.uniform(0.2, 0.45)
    b.fill(b.box(0, (roof - 0.8) / 2, 0.98, (roof + 0.8) / 2, 0.1), colour)
    b.fill(b.box(0, -0.42, 0.97, 0.06), _WHITE if rng.random() < 0.5 else _shade(colour, -0.4))
    panes = int(rng.integers(3, 6))
    for k in range(panes):
        b.fill(b.box(-0.8 + 1.6 * k / (panes - 1), roof - 0.3, 0.62 / panes, 0.16, 0.03), _GLASS)
    b.fill(b.box(0.62, -0.45, 0.1, 0.3), _shade(colour, -0.5))
    _wheels(b, rng, (-0.55, 0.38), -0.8, 0.2)


def _boat(b: Brush, rng: np.random.Generator, colour: np.ndarray) -> None:
    deck = rng.uniform(-0.6, -0.48)
    sail = _WHITE if rng.random() < 0.6 else _shade(colour, 0.4)
    if rng.random() < 0.65:
        mast = rng.uniform(-0.1, 0.1)
        b.fill(b.box(mast, 0.15, 0.035, 0.8), _WOOD)
        b.fill(b.polygon((mast + 0.07, -0.38), (rng.uniform(0.6, 0.85), -0.38), (mast + 0.07, 0.92)), sail)
        b.fill(
            b.polygon((rng.uniform(-0.7, -0.5), -0.36), (mast - 0.07, -0.36), (mast - 0.07, 0.7)), _shade(sail, -0.12)
        )
    else:
        b.fill(b.box(-0.1, deck + 0.22, 0.42, 0.24, 0.04), _WHITE)
        for u in (-0.32, -0.1, 0.12):
            b.fill(b.ellipse(u, deck + 0.26, 0.08), _GLASS * 0.6)
        b.fill(b.box(-0.25, deck + 0.62, 0.11, 0.2), _shade(colour, -0.2))
    b.fill(b.polygon((-0.68, -1.0), (0.6, -1.0), (0.98, deck), (-0.9, deck)), colour)
    b.fill(b.polygon((-0.87, deck - 0.08), (0.94, deck - 0.08), (0.98, deck), (-0.9, deck)), _WHITE)


def _airplane(b: Brush, rng: np.random.Generator, colour: np.ndarray) -> None:
    thick = rng.uniform(0.15, 0.21)
    b.fill(b.polygon((-0.1, 0.05), (0.2, 0.05), (-0.25, 0.62), (-0.42, 0.62)), _shade(colour, -0.3))
    b.fill(b.stroke((-0.75, 0.02), (0.74, 0.0), thick), colour)
    b.fill(b.polygon((-0.95, 0.08), (-0.5, 0.08), (-0.8, rng.uniform(0.45, 0.6)), (-1.0, 0.52)), _shade(colour, -0.35))
    b.fill(b.polygon((0.22, -0.05), (-0.18, -0.05), (-0.6, -0.68), (-0.38, -0.68)), _shade(colour, -0.18))
    for k in range(5):
        b.fill(b.ellipse(-0.5 + 0.22 * k, 0.07, 0.05), _GLASS * 0.55)
    b.fill(b.polygon((0.66, 0.05), (0.84, 0.05), (0.76, 0.13), (0.68, 0.14)), _DARK)


def _person(b: Brush, rng: np.random.Generator, colour: np.ndarray) -> None:
    skin, hair = _skin(rng), np.array([(0.1, 0.08, 0.07), (0.36, 0.22, 0.12), (0.85, 0.68, 0.35)])[rng.integers(3)]
    stance, lift = rng.uniform(0.06, 0.2), rng.uniform(-0.45, 0.35)
    trousers = np.array([(0.15, 0.18, 0.35), (0.2, 0.2, 0.2), (0.45, 0.36, 0.25)])[rng.integers(3)]
    if rng.random() < 0.35:
        b.fill(b.box(-0.09, -0.75, 0.05, 0.25), skin)
        b.fill(b.box(0.09, -0.75, 0.05, 0.25), skin)
        b.fill(b.polygon((-0.38, -0.6), (0.38, -0.6), (0.14, 0.2), (-0.14, 0.2)), colour)
    else:
        b.fill(b.stroke((-0.09, -0.1), (-stance, -0.92), 0.09), trousers)
        b.fill(b.stroke((0.09, -0.1), (stance, -0.92), 0.09), trousers)
    b.fill(b.stroke((-0.2, 0.34), (-0.42, lift if rng.random() < 0.4 else -0.15), 0.065), skin)
    b.fill(b.stroke((0.2, 0.34), (0.42, -0.18), 0.065), skin)
    b.fill(b.box(0, 0.15, 0.24, 0.31, 0.1), colour)
    b.fill(b.box(0, 0.5, 0.06, 0.1), skin)
    b.fill(b.ellipse(0, 0.78, 0.22), hair)
    b.fill(b.ellipse(0.03, 0.72, 0.17), skin)


def _face(b: Brush, rng: np.random.Generator, colour: np.ndarray) -> None:
    skin, wide = _skin(rng), rng.uniform(0.5, 0.62)
    long_hair = rng.random() < 0.45
    shirt = rng.uniform(0.15, 0.9, 3)
    if long_hair:
        b.fill(b.box(0, -0.05, wide + 0.14, 0.78, 0.3), _shade(colour, -0.15))
    b.fill(b.ellipse(0, -1.0, 0.8, 0.36), shirt)
    b.fill(b.box(0, -0.66, 0.2, 0.24), _shade(skin, -0.15))
    b.fill(b.ellipse(0, 0.3, wide + 0.08, 0.68), colour)
    b.fill(b.ellipse(0, 0.02, wide, 0.68), skin)
    b.fill(b.ellipse(rng.uniform(-0.2, 0.2), 0.66, wide * 0.98, rng.uniform(0.2, 0.32)), colour)
    iris = np.array([(0.2, 0.35, 0.6), (0.3, 0.2, 0.1), (0.2, 0.4, 0.25)])[rng.integers(3)]
    gaze = rng.uniform(-0.05, 0.05)
    for side in (-1, 1):
        b.fill(b.ellipse(side * 0.24, 0.12, 0.14, 0.09), _WHITE)
        b.fill(b.ellipse(side * 0.24 + gaze, 0.12, 0.075), iris * 0.6)
        b.fill(b.box(side * 0.24, 0.27, 0.14, 0.03), _shade(colour, -0.4))
    b.fill(b.stroke((0.0, 0.05), (0.05, -0.16), 0.045), _shade(skin, -0.22))
    smile = rng.uniform(0.02, 0.17)
    for side in (-1, 1):
        b.fill(b.stroke((0, -0.36), (side * 0.2, -0.36 + smile), 0.05), np.array([0.72, 0.22, 0.22]))
    if rng.random() < 0.25:
        for side in (-1, 1):
            b.fill(np.abs(b.ellipse(side * 0.25, 0.12, 0.2)) - 0.03, _DARK)


def _dog(b: Brush, rng: np.random.Generator, colour: np.ndarray) -> None:
    dark, leg = _shade(colour, -0.3), rng.uniform(0.07, 0.1)
    tail = rng.uniform(0.1, 0.6)
    b.fill(b.stroke((-0.66, -0.1), (-0.92, tail), 0.07), dark)
    for u, paint in ((-0.5, dark), (0.36, dark), (-0.62, colour), (0.24, colour)):
        b.fill(b.stroke((u, -0.3), (u, -0.92), leg), paint)
    b.fill(b.stroke((-0.48, -0.18), (0.28, -0.12), rng.uniform(0.24, 0.3)), colour)
    b.fill(b.stroke((0.3, 0.0), (0.5, 0.38), 0.19), colour)
    b.fill(b.ellipse(0.55, 0.42, 0.28, 0.26), colour)
    b.fill(b.stroke((0.65, 0.34), (0.88, 0.3), 0.12), _shade(colour, 0.18))
    b.fill(b.ellipse(0.98, 0.36, 0.07), _DARK)
    b.fill(b.stroke((0.4, 0.52), (0.3, rng.uniform(0.02, 0.25)), 0.11), dark)
    b.fill(b.ellipse(0.66, 0.5, 0.055), _DARK)
    if rng.random() < 0.5:
        b.fill(b.stroke((0.22, 0.12), (0.5, 0.1), 0.05), np.array([0.85, 0.15, 0.15]))


def _cat(b: Brush, rng: np.random.Generator, colour: np.ndarray) -> None:
    dark, light = _shade(colour, -0.3), _shade(colour, 0.35)
    curl = rng.uniform(-0.4, 0.3)
    b.fill(b.stroke((-0.4, -0.85), (-0.82, -0.6), 0.08), dark)
    b.fill(b.stroke((-0.82, -0.6), (-0.8, curl), 0.08), dark)
    b.fill(b.ellipse(0, -0.5, rng.uniform(0.4, 0.5), 0.52), colour)
    b.fill(b.ellipse(0.02, -0.45, 0.2, 0.35), light)
    for u in (-0.17, 0.2):
        b.fill(b.ellipse(u, -0.93, 0.14, 0.09), light)
    for side in (-1, 1):
        b.fill(b.polygon((side * 0.24 - 0.2, 0.45), (side * 0.24 + 0.2, 0.45), (side * 0.4, 0.96)), colour)
        b.fill(
            b.polygon((side * 0.26 - 0.1, 0.5), (side * 0.26 + 0.1, 0.5), (side * 0.37, 0.8)), np.array([0.9, 0.6, 0.6])
        )
    b.fill(b.ellipse(0, 0.3, 0.45, 0.38), colour)
    iris = np.array([(0.55, 0.75, 0.2), (0.95, 0.75, 0.15), (0.3, 0.6, 0.85)])[rng.integers(3)]
    for side in (-1, 1):
        b.fill(b.ellipse(side * 0.18, 0.34, 0.11, 0.1), iris)
        b.fill(b.ellipse(side * 0.18, 0.34, 0.04, 0.1), _DARK)
        b.fill(b.stroke((side * 0.12, 0.14), (side * 0.5, rng.uniform(0.08, 0.2)), 0.018), _WHITE)
    b.fill(b.polygon((0.0, 0.12), (0.08, 0.2), (-0.08, 0.2)), np.array([0.9, 0.45, 0.5]))


def _bird(b: Brush, rng: np.random.Generator, colour: np.ndarray) -> None:
    dark, beak = _shade(colour, -0.3), np.array([0.97, 0.65, 0.1])
    b.fill(b.polygon((-0.95, -0.1), (-0.45, -0.3), (-0.4, 0.0), (-0.98, 0.18)), dark)
    b.fill(b.ellipse(-0.05, -0.1, 0.55, 0.32), colour)
    b.fill(b.ellipse(0.08, -0.2, 0.36, 0.2), _shade(colour, 0.5))
    b.fill(b.ellipse(0.48, 0.2, 0.25), colour)
    b.fill(b.polygon((0.68, 0.1), (1.0, 0.16), (0.68, 0.3)), beak)
    b.fill(b.ellipse(0.56, 0.27, 0.06), _DARK)
    lift = rng.uniform(0.35, 0.8) * rng.choice((-1, 1))
    b.fill(b.polygon((0.2, 0.05), (-0.3, 0.05), (-0.6, lift), (-0.35, lift * 1.1)), dark)
    for u in (-0.1, 0.1):
        b.fill(b.stroke((u, -0.4), (u, rng.uniform(-0.75, -0.6)), 0.035), beak)


def _flower(b: Brush, rng: np.random.Generator, colour: np.ndarray) -> None:
    stem, bend = np.array([0.2, 0.5, 0.18]), rng.uniform(-0.15, 0.15)
    b.fill(b.stroke((0, 0.3), (bend, -1.0), 0.055), stem)
    for side in (-1, 1):
        v = rng.uniform(-0.75, -0.4)
        b.fill(b.stroke((bend * 0.6, v - 0.1), (side * 0.38, v + 0.15), 0.1), _shade(stem, 0.12))
    petals, reach = int(rng.integers(5, 9)), rng.uniform(0.34, 0.42)
    start = rng.uniform(0, 2 * np.pi)
    for k in range(petals):
        angle = start + 2 * np.pi * k / petals
        tip = (reach * float(np.cos(angle)), 0.4 + reach * float(np.sin(angle)))
        b.fill(b.stroke((0, 0.4), tip, 0.55 / petals + 0.07), _shade(colour, 0.12 if k % 2 else -0.1))
    heart = np.array([0.98, 0.82, 0.15]) if colour[2] > 0.3 or colour[1] < 0.4 else _WOOD
    b.fill(b.ellipse(0, 0.4, rng.uniform(0.17, 0.23)), heart)


def _ball(b: Brush, rng: np.random.Generator, colour: np.ndarray) -> None:
    disc = b.ellipse(0, -0.1, 0.9)
    b.fill(disc, colour)
    other = _WHITE if colour.mean() < 0.8 else np.array([0.8, 0.15, 0.15])
    kind = rng.integers(4)
    if kind == 0:
        b.fill(np.maximum(disc, b.box(0, -0.1, 1.0, rng.uniform(0.15, 0.3))), other)
    elif kind == 1:
        bands = np.sin(3.0 * np.arctan2(b.v + 0.1, b.u) + rng.uniform(0, 6))
        b.fill(np.maximum(disc, 0.3 * bands), other)
    elif kind == 2:
        for _ in range(6):
            dot = b.ellipse(rng.uniform(-0.7, 0.7), rng.uniform(-0.75, 0.6), rng.uniform(0.1, 0.2))
            b.fill(np.maximum(disc, dot), other)
    b.fill(np.maximum(disc, -b.ellipse(0.18, 0.1, 0.98)), _shade(colour, -0.4))
    b.fill(b.ellipse(0.32, 0.32, 0.16, 0.11), _shade(colour, 0.75))


def _mug(b: Brush, rng: np.random.Generator, colour: np.ndarray) -> None:
    half, top = rng.uniform(0.45, 0.6), rng.uniform(0.35, 0.75)
    middle = (top - 1) / 2
    ring = b.ellipse(half, middle, 0.36, 0.42)
    b.fill(np.abs(ring) - 0.08, _shade(colour, -0.15))
    b.fill(b.box(0, middle, half, (top + 1) / 2, 0.1), colour)
    b.fill(b.box(-half * 0.6, middle, 0.07, (top + 0.7) / 2, 0.05), _shade(colour, 0.45))
    b.fill(b.ellipse(0, top, half, 0.17), _shade(colour, -0.25))
    b.fill(b.ellipse(0, top - 0.03, half * 0.86, 0.11), np.array([0.30, 0.18, 0.10]))
    if rng.random() < 0.5:
        b.fill(b.box(0, middle - 0.1, half, rng.uniform(0.06, 0.16)), _WHITE if colour.mean() < 0.8 else _DARK)


def _chair(b: Brush, rng: np.random.Generator, colour: np.ndarray) -> None:
    dark, seat = _shade(colour, -0.4), rng.uniform(-0.25, -0.05)
    top = rng.uniform(0.7, 0.98)
    for u, foot in ((-0.42, -0.8), (0.4, -0.8), (-0.55, -1.0), (0.55, -1.0)):
        b.fill(b.box(u, (seat + foot) / 2, 0.06, (seat - foot) / 2), dark)
    if rng.random() < 0.5:
        b.fill(b.box(0, (top + seat) / 2, 0.5, (top - seat) / 2, 0.12), colour)
        b.fill(b.box(0, (top + seat) / 2 + 0.05, 0.36, (top - seat) / 2 - 0.2, 0.08), _shade(colour, 0.2))
    else:
        for u in (-0.42, -0.14, 0.14, 0.42):
            b.fill(b.box(u, (top + seat) / 2, 0.06, (top - seat) / 2), colour)
        b.fill(b.box(0, top - 0.08, 0.5, 0.1, 0.04), colour)
    b.fill(
        b.polygon((-0.62, seat - 0.16), (0.62, seat - 0.16), (0.5, seat + 0.1), (-0.5, seat + 0.1)),
        _shade(colour, -0.15),
    )


def _umbrella(b: Brush, rng: np.random.Generator, colour: np.ndarray) -> None:
    b.fill(b.box(0, -0.2, 0.045, 0.78), _DARK)
    b.fill(np.maximum(np.abs(b.ellipse(-0.13, -0.9, 0.13)) - 0.045, b.v + 0.9), _DARK)
    dome = np.maximum(b.ellipse(0, 0.05, 0.95, rng.uniform(0.75, 0.9)), 0.1 - b.v)
    b.fill(dome, colour)
    second = _WHITE if rng.random() < 0.5 else _shade(colour, -0.35)
    for u in (-0.5, 0.5):
        b.fill(np.maximum(dome, b.ellipse(u, 0.05, 0.17, 0.8)), second)
    for u in (-0.72, -0.24, 0.24, 0.72):
        b.fill(b.ellipse(u, 0.12, 0.23, 0.09), _shade(colour, -0.2))


PAINTERS: Mapping[str, Painter] = MappingProxyType(
    {
        "face": _face,
        "person": _person,
        "dog": _dog,
        "cat": _cat,
        "bird": _bird,
        "car": _car,
        "bus": _bus,
        "boat": _boat,
        "airplane": _airplane,
        "house": _house,
        "tree": _tree,
        "flower": _flower,
        "ball": _ball,
        "mug": _mug,
        "chair": _chair,
        "umbrella": _umbrella,
    }
)
"""Category -> painter."""
