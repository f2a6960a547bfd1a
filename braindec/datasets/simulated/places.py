"""How each place is drawn: sky, ground, what stands on the horizon, and their depth.

Legend: H W image height and width; h rows of a band. Heights are image y, 0 at the top.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from braindec.datasets.simulated.canvas import Canvas

_BACKDROP_DEPTH = 0.08


@dataclass(frozen=True)
class Light:
    """How a scene is lit: what multiplies every surface, the colours of the sky, and where the light stands."""

    tint: np.ndarray
    zenith: np.ndarray
    horizon: np.ndarray
    side: float
    lighting: str


_SKIES: Mapping[str, tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]] = MappingProxyType(
    {
        "sunny": ((1.05, 1.02, 0.96), (0.22, 0.50, 0.90), (0.70, 0.87, 0.97)),
        "cloudy": ((0.80, 0.82, 0.84), (0.52, 0.56, 0.62), (0.78, 0.80, 0.83)),
        "sunset": ((0.98, 0.74, 0.60), (0.34, 0.24, 0.50), (0.99, 0.58, 0.26)),
        "night": ((0.52, 0.56, 0.74), (0.03, 0.05, 0.16), (0.15, 0.20, 0.40)),
    }
)
"""Lighting -> tint, zenith, horizon."""


def light_of(lighting: str, rng: np.random.Generator) -> Light:
    """Draw a light of the given kind, with its own brightness and hue."""
    tint, zenith, horizon = (np.array(colour) for colour in _SKIES[lighting])
    brightness = rng.uniform(0.85, 1.08)
    hue = rng.normal(0, 0.04, (2, 3))
    return Light(
        tint=tint * brightness,
        zenith=np.clip(zenith + hue[0], 0, 1),
        horizon=np.clip(horizon + hue[1], 0, 1),
        side=float(rng.uniform(-1, 1)),
        lighting=lighting,
    )


def ground_depth(y: np.ndarray | float, horizon: float) -> np.ndarray | float:
    """Depth of flat ground seen at height y: 0.1 at the horizon, 1 at the bottom edge."""
    return 0.1 + 0.9 * (y - horizon) / (1 - horizon)


def _mix(first: np.ndarray, second: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Colour (3, H, W) between two colours (3,) at t (H, W)."""
    return (first[:, None, None] + (second - first)[:, None, None] * t).astype(np.float32)


def _sky(canvas: Canvas, rng: np.random.Generator, light: Light, horizon: float) -> None:
    t = np.clip(canvas.y_H1 / horizon, 0, 1) ** rng.uniform(0.8, 1.6)
    canvas.rgb_CHW[:] = _mix(light.zenith, light.horizon, t)
    if light.lighting == "night":
        for _ in range(int(rng.integers(8, 22))):
            canvas.dot(rng.random(), rng.random() * horizon, 0.006, (1.0, 1.0, 0.95), rng.uniform(0.3, 1))
    if light.lighting != "cloudy" and rng.random() < 0.6:
        x, radius = 0.5 + 0.42 * light.side, rng.uniform(0.04, 0.08)
        y = horizon * (rng.uniform(0.6, 0.9) if light.lighting == "sunset" else rng.uniform(0.2, 0.5))
        colour = {"night": (0.95, 0.95, 0.85), "sunset": (1.0, 0.78, 0.35)}.get(light.lighting, (1.0, 0.97, 0.72))
        distance = np.hypot(canvas.x_W - x, canvas.y_H1 - y)
        canvas.blend(0.35 * np.exp(-distance / 0.12), colour)
        canvas.paint(distance - radius, colour)
    cover = {"cloudy": 0.85, "sunny": rng.uniform(0.0, 0.6)}.get(light.lighting, rng.uniform(0.0, 0.4))
    clouds = canvas.lattice.surface(rng, 9, 5) + 0.5 * canvas.lattice.surface(rng, 17, 9)
    shade = light.horizon * 0.5 + (0.1 if light.lighting == "night" else 0.5)
    canvas.blend(np.clip(clouds + cover - 0.55, 0, 0.9), shade)


def _ground(
    canvas: Canvas,
    rng: np.random.Generator,
    light: Light,
    horizon: float,
    far: np.ndarray,
    near: np.ndarray,
    grain: float,
) -> None:
    """A textured plane from the horizon to the bottom edge."""
    t = np.clip((canvas.y_H1 - horizon) / (1 - horizon), 0, 1)
    texture = canvas.lattice.surface(rng, 33, 17) + 0.7 * canvas.lattice.surface(rng, 9, 5)
    colour = _mix(far * light.tint, near * light.tint, t) * (1 + grain * (0.3 + t) * texture)
    canvas.paint(horizon - canvas.y_H1, colour, ground_depth(canvas.y_H1, horizon))


def _ridge(canvas: Canvas, rng: np.random.Generator, base: float, height: float, nodes: int) -> np.ndarray:
    """Height (W,) of a skyline above ``base``, as image y."""
    profile = canvas.lattice.profile(rng, nodes) + 0.35 * canvas.lattice.profile(rng, nodes * 3)
    return base - height * (0.65 + 0.4 * profile)


def _vary(rng: np.random.Generator, colour: tuple[float, float, float], spread: float = 0.06) -> np.ndarray:
    return np.clip(np.array(colour) * rng.uniform(1 - spread, 1 + spread) + rng.normal(0, spread / 2, 3), 0, 1)


def _water(canvas: Canvas, rng: np.random.Generator, light: Light, top: float, bottom: np.ndarray | float) -> None:
    t = np.clip((canvas.y_H1 - top) / 0.5, 0, 1)
    ripples = np.sin(
        np.maximum(canvas.y_H1 - top, 0) ** 0.6 * rng.uniform(60, 90) + 2 * canvas.lattice.surface(rng, 17, 9)
    )
    blue = _vary(rng, (0.10, 0.36, 0.58)) * light.tint
    colour = _mix(0.55 * light.horizon + 0.45 * blue, blue, t) * (1 + 0.10 * ripples)
    canvas.paint(np.maximum(top - canvas.y_H1, canvas.y_H1 - bottom), colour, ground_depth(canvas.y_H1, top))


def _beach(canvas: Canvas, rng: np.random.Generator, light: Light, horizon: float) -> None:
    _ground(canvas, rng, light, horizon, _vary(rng, (0.90, 0.80, 0.58)), _vary(rng, (0.86, 0.72, 0.48)), 0.12)
    shore = horizon + (1 - horizon) * rng.uniform(0.22, 0.45)
    edge = shore + 0.03 * canvas.lattice.profile(rng, 5) + rng.uniform(-0.12, 0.12) * (canvas.x_W - 0.5)
    _water(canvas, rng, light, horizon, edge)
    canvas.paint(np.abs(canvas.y_H1 - edge) - 0.012, np.array([0.96, 0.97, 0.98]) * light.tint)


def _field(canvas: Canvas, rng: np.random.Generator, light: Light, horizon: float) -> None:
    hill = _ridge(canvas, rng, horizon + 0.02, rng.uniform(0.03, 0.14), 4)
    canvas.paint(hill - canvas.y_H1, _vary(rng, (0.36, 0.55, 0.34)) * light.tint, _BACKDROP_DEPTH)
    green = [(0.42, 0.68, 0.25), (0.62, 0.70, 0.28), (0.80, 0.70, 0.30)][rng.integers(3)]
    _ground(canvas, rng, light, horizon, _vary(rng, green), _vary(rng, green) * 0.8, 0.22)
    if rng.random() < 0.5:
        furrow = np.cos((canvas.x_W - rng.uniform(0.2, 0.8)) / (canvas.y_H1 - horizon + 0.08) * rng.uniform(3, 7))
        canvas.blend(np.clip(furrow, 0, 1) * 0.22 * (canvas.y_H1 > horizon), np.array([0.2, 0.3, 0.1]) * light.tint)


def _forest(canvas: Canvas, rng: np.random.Generator, light: Light, horizon: float) -> None:
    _ground(canvas, rng, light, horizon, _vary(rng, (0.26, 0.42, 0.20)), _vary(rng, (0.30, 0.34, 0.16)), 0.25)
    green, conifers = _vary(rng, (0.14, 0.36, 0.18), 0.15), rng.random() < 0.6
    back = _ridge(canvas, rng, horizon, rng.uniform(0.2, 0.3), 12)
    canvas.paint(np.maximum(back - canvas.y_H1, canvas.y_H1 - horizon), green * 0.75 * light.tint, _BACKDROP_DEPTH)
    for k in range(int(rng.integers(7, 11))):
        x, top = (k + rng.uniform(0, 0.9)) / 9, horizon - rng.uniform(0.22, 0.42)
        half, foot = rng.uniform(0.05, 0.09), horizon + rng.uniform(0.0, 0.05)
        across = np.abs(canvas.x_W - x)
        if conifers:
            slope = half / (foot - top)
            crown = np.maximum((across - (canvas.y_H1 - top) * slope) * 0.95, canvas.y_H1 - foot)
        else:
            trunk = np.maximum(across - 0.014, np.abs(canvas.y_H1 - (top + foot) / 2) - (foot - top) / 2)
            canvas.paint(trunk, np.array([0.30, 0.21, 0.13]) * light.tint, _BACKDROP_DEPTH + 0.02)
            crown = np.hypot(across, (canvas.y_H1 - top - 0.06) * 0.8) - half * 1.25
        canvas.paint(crown, green * rng.uniform(0.8, 1.35) * light.tint, _BACKDROP_DEPTH + 0.02)


def _city(canvas: Canvas, rng: np.random.Generator, light: Light, horizon: float) -> None:
    x = -0.05
    while x < 1.0:
        width, top = rng.uniform(0.12, 0.26), horizon - rng.uniform(0.15, 0.48)
        wall = _vary(
            rng, [(0.62, 0.58, 0.55), (0.55, 0.40, 0.34), (0.45, 0.50, 0.58), (0.75, 0.70, 0.60)][rng.integers(4)], 0.12
        )
        u, v = (canvas.x_W - x) / 0.055, (canvas.y_H1 - top) / 0.07
        body = np.maximum(
            np.maximum(x - canvas.x_W, canvas.x_W - x - width), np.maximum(top - canvas.y_H1, canvas.y_H1 - horizon)
        )
        canvas.paint(body, wall * light.tint, _BACKDROP_DEPTH)
        panes = np.maximum(np.abs(u % 1 - 0.5) - 0.28, np.abs(v % 1 - 0.5) - 0.25) * 0.06
        night = light.lighting in ("night", "sunset") and rng.random() < 0.8
        pane = np.array([1.0, 0.85, 0.45]) if night else np.array([0.50, 0.64, 0.74]) * light.tint
        canvas.paint(np.maximum(panes, body + 0.012), pane)
        x += width + rng.uniform(0.0, 0.02)
    _ground(canvas, rng, light, horizon, _vary(rng, (0.60, 0.59, 0.57)), _vary(rng, (0.42, 0.42, 0.44)), 0.06)
    road = horizon + (1 - horizon) * rng.uniform(0.25, 0.4)
    canvas.paint(road - canvas.y_H1, _vary(rng, (0.30, 0.30, 0.33)) * light.tint)
    middle = road + (1 - road) * 0.55
    dash = np.maximum(np.abs((canvas.x_W * 5 + rng.random()) % 1 - 0.5) - 0.28, -1) / 5
    canvas.paint(np.maximum(dash, np.abs(canvas.y_H1 - middle) - 0.014), np.array([0.95, 0.92, 0.75]) * light.tint)


def _mountains(canvas: Canvas, rng: np.random.Generator, light: Light, horizon: float) -> None:
    for height, haze, snow in ((rng.uniform(0.28, 0.42), 0.45, True), (rng.uniform(0.1, 0.2), 0.15, False)):
        ridge = _ridge(canvas, rng, horizon + 0.03, height, int(rng.integers(4, 8)))
        rock = _vary(rng, (0.40, 0.40, 0.48) if snow else (0.32, 0.40, 0.32)) * light.tint
        canvas.paint(ridge - canvas.y_H1, rock * (1 - haze) + light.horizon * haze, _BACKDROP_DEPTH * 0.6)
        if snow:
            line = horizon - height * rng.uniform(0.35, 0.55) + 0.04 * canvas.lattice.profile(rng, 17)
            canvas.paint(np.maximum(ridge - canvas.y_H1, canvas.y_H1 - line), np.array([0.97, 0.98, 1.0]) * light.tint)
    _ground(canvas, rng, light, horizon, _vary(rng, (0.42, 0.56, 0.34)), _vary(rng, (0.36, 0.48, 0.24)), 0.2)


def _snow(canvas: Canvas, rng: np.random.Generator, light: Light, horizon: float) -> None:
    hill = _ridge(canvas, rng, horizon + 0.02, rng.uniform(0.04, 0.2), 4)
    canvas.paint(hill - canvas.y_H1, _vary(rng, (0.80, 0.86, 0.94)) * light.tint, _BACKDROP_DEPTH)
    _ground(
        canvas, rng, light, horizon, _vary(rng, (0.90, 0.94, 0.99), 0.02), _vary(rng, (0.93, 0.95, 0.98), 0.02), 0.05
    )
    for _ in range(int(rng.integers(0, 5))):
        x, foot, height = rng.random(), horizon + rng.uniform(0.0, 0.05), rng.uniform(0.1, 0.22)
        crown = np.maximum(np.abs(canvas.x_W - x) - (canvas.y_H1 - foot + height) * 0.36, canvas.y_H1 - foot)
        canvas.paint(crown, np.array([0.22, 0.38, 0.34]) * light.tint, _BACKDROP_DEPTH + 0.02)
    if rng.random() < 0.5:
        for _ in range(int(rng.integers(10, 25))):
            canvas.dot(rng.random(), rng.random(), rng.uniform(0.004, 0.011), np.minimum(light.tint * 1.2, 1))


def _desert(canvas: Canvas, rng: np.random.Generator, light: Light, horizon: float) -> None:
    sand = [(0.91, 0.68, 0.40), (0.84, 0.52, 0.32), (0.93, 0.80, 0.56)][rng.integers(3)]
    dune = _ridge(canvas, rng, horizon + 0.03, rng.uniform(0.06, 0.22), 4)
    canvas.paint(dune - canvas.y_H1, _vary(rng, sand) * 0.85 * light.tint, _BACKDROP_DEPTH)
    _ground(canvas, rng, light, horizon, _vary(rng, sand), _vary(rng, sand) * 0.92, 0.1)
    wave = np.sin((canvas.y_H1 + 0.06 * canvas.lattice.surface(rng, 5, 5)) * rng.uniform(30, 60))
    canvas.blend(np.clip(wave, 0, 1) * 0.14 * (canvas.y_H1 > horizon), np.array([0.45, 0.25, 0.12]) * light.tint)


def _lake(canvas: Canvas, rng: np.random.Generator, light: Light, horizon: float) -> None:
    hill = _ridge(canvas, rng, horizon + 0.01, rng.uniform(0.08, 0.24), 5)
    canvas.paint(hill - canvas.y_H1, _vary(rng, (0.24, 0.42, 0.30), 0.12) * light.tint, _BACKDROP_DEPTH)
    _ground(canvas, rng, light, horizon, _vary(rng, (0.40, 0.55, 0.28)), _vary(rng, (0.34, 0.44, 0.22)), 0.2)
    bank = horizon + (1 - horizon) * rng.uniform(0.4, 0.6) + 0.04 * canvas.lattice.profile(rng, 4)
    _water(canvas, rng, light, horizon, bank)


def _room(canvas: Canvas, rng: np.random.Generator, light: Light, horizon: float) -> None:
    wall = _vary(
        rng,
        [(0.88, 0.84, 0.74), (0.62, 0.74, 0.80), (0.76, 0.84, 0.70), (0.86, 0.66, 0.62), (0.72, 0.66, 0.82)][
            rng.integers(5)
        ],
    )
    glow = 0.75 + 0.25 * np.minimum(light.tint, 1)
    canvas.depth_HW[:] = 0.15
    spot = 1 + 0.12 * light.side * (canvas.x_W - 0.5) - 0.15 * (canvas.y_H1 - 0.3)
    canvas.rgb_CHW[:] = _mix(wall * glow, wall * glow, canvas.y_H1) * spot
    if rng.random() < 0.5:
        stripe = np.cos(canvas.x_W * 2 * np.pi * rng.integers(6, 14))
        canvas.blend(np.clip(stripe * 4, 0, 1) * 0.25, np.clip(wall * 1.2, 0, 1) * glow)
    x, y = rng.uniform(0.15, 0.85), horizon * rng.uniform(0.35, 0.5)
    half_x, half_y = rng.uniform(0.09, 0.15), horizon * rng.uniform(0.2, 0.3)
    pane = np.maximum(np.abs(canvas.x_W - x) - half_x, np.abs(canvas.y_H1 - y) - half_y)
    canvas.paint(pane - 0.02, _vary(rng, (0.95, 0.94, 0.90)) * glow)
    canvas.paint(pane, _mix(light.zenith, light.horizon, np.clip((canvas.y_H1 - y) / half_y / 2 + 0.5, 0, 1)))
    canvas.paint(
        np.maximum(pane, np.minimum(np.abs(canvas.x_W - x), np.abs(canvas.y_H1 - y)) - 0.008),
        np.array([0.9, 0.9, 0.88]) * glow,
    )
    wood = _vary(rng, [(0.60, 0.42, 0.26), (0.42, 0.28, 0.18), (0.72, 0.66, 0.58), (0.50, 0.22, 0.22)][rng.integers(4)])
    canvas.paint(horizon - canvas.y_H1, wood * glow, 0.15 + 0.85 * (canvas.y_H1 - horizon) / (1 - horizon))
    plank = ((canvas.x_W - 0.5) / (canvas.y_H1 - horizon + 0.35) * rng.uniform(2, 4)) % 1
    canvas.blend((plank < 0.1) * 0.4 * (canvas.y_H1 > horizon), wood * 0.5 * glow)
    canvas.paint(np.abs(canvas.y_H1 - horizon) - 0.015, np.clip(wood * 1.3, 0, 1) * glow)


_PAINTERS: Mapping[str, Callable[[Canvas, np.random.Generator, Light, float], None]] = MappingProxyType(
    {
        "beach": _beach,
        "field": _field,
        "forest": _forest,
        "city": _city,
        "mountains": _mountains,
        "snow": _snow,
        "desert": _desert,
        "lake": _lake,
        "room": _room,
    }
)


def paint_place(canvas: Canvas, rng: np.random.Generator, place: str, light: Light, horizon: float) -> None:
    """Paint sky and place over the whole canvas, and write their depth."""
    if place != "room":
        _sky(canvas, rng, light, horizon)
    _PAINTERS[place](canvas, rng, light, horizon)
