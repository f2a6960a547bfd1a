"""Anti-aliased painting with signed distances.

Legend: C colour channels, H W image height and width, h w height and width of a brush's window. Image coordinates are
x to the right and y down, both in [0, 1]; distances are negative inside a shape.

Source: the distance functions of circle, box and segment are elementary geometry (distance to a set of points).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Colour = Sequence[float] | np.ndarray


class Lattice:
    """Interpolation from random values on a coarse lattice to pixels, kept for one image size.

    The lattice does not depend on the image size, so a scene has the same texture at every size.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.centres = ((np.arange(size) + 0.5) / size).astype(np.float32)
        self._weights: dict[int, np.ndarray] = {}

    def weights(self, nodes: int) -> np.ndarray:
        """Smoothstep interpolation matrix float32 (size, nodes)."""
        if nodes not in self._weights:
            position = self.centres * (nodes - 1)
            left = np.minimum(position.astype(int), nodes - 2)
            t = position - left
            t = t * t * (3 - 2 * t)
            matrix = np.zeros((self.size, nodes), dtype=np.float32)
            matrix[np.arange(self.size), left] = 1 - t
            matrix[np.arange(self.size), left + 1] = t
            self._weights[nodes] = matrix
        return self._weights[nodes]

    def surface(self, rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
        """Smooth noise float32 (H, W) in [-1, 1] with the given number of lattice nodes."""
        nodes = rng.random((rows, columns), dtype=np.float32) * 2 - 1
        return self.weights(rows) @ nodes @ self.weights(columns).T

    def profile(self, rng: np.random.Generator, nodes: int) -> np.ndarray:
        """Smooth noise float32 (W,) in [-1, 1]."""
        return self.weights(nodes) @ (rng.random(nodes, dtype=np.float32) * 2 - 1)


class Canvas:
    """One scene in the making.

    Attributes
    ----------
    rgb_CHW : float32 sRGB in [0, 1].
    depth_HW : float32 in [0, 1], 1 nearest to the viewer, 0 at infinity.
    instances_HW : uint8, 0 background, k the k-th object.
    x_W, y_H1 : pixel centres.
    """

    def __init__(self, lattice: Lattice) -> None:
        size = lattice.size
        self.size = size
        self.lattice = lattice
        self.rgb_CHW = np.zeros((3, size, size), dtype=np.float32)
        self.depth_HW = np.zeros((size, size), dtype=np.float32)
        self.instances_HW = np.zeros((size, size), dtype=np.uint8)
        self.x_W = lattice.centres
        self.y_H1 = lattice.centres[:, None]

    def paint(self, distance: np.ndarray, colour: Colour, depth: float | np.ndarray | None = None) -> None:
        """Fill where ``distance`` (image units, broadcast to (H, W)) is negative; colour (3,) or (3, H, W)."""
        alpha = coverage(distance, self.size)
        self.blend(alpha, colour)
        if depth is not None:
            np.copyto(self.depth_HW, depth, where=alpha >= 0.5)

    def blend(self, alpha: np.ndarray, colour: Colour) -> None:
        """Mix a colour in with opacity ``alpha`` (broadcast to (H, W))."""
        self.rgb_CHW += alpha * (as_colour(colour) - self.rgb_CHW)

    def dot(self, x: float, y: float, radius: float, colour: Colour, opacity: float = 1.0) -> None:
        """Paint a small soft disc without touching the rest of the canvas."""
        reach = radius + 1.5 / self.size
        rows = slice(max(0, int((y - reach) * self.size)), int((y + reach) * self.size) + 1)
        columns = slice(max(0, int((x - reach) * self.size)), int((x + reach) * self.size) + 1)
        distance = np.hypot(self.x_W[columns] - x, self.y_H1[rows] - y) - radius
        window = self.rgb_CHW[:, rows, columns]
        window += coverage(distance, self.size) * opacity * (as_colour(colour) - window)


def coverage(distance: np.ndarray, pixels_per_unit: float) -> np.ndarray:
    """Share of each pixel that lies inside a shape: a ramp one pixel wide across its edge."""
    alpha = 0.5 - distance * np.float32(pixels_per_unit)
    np.maximum(alpha, 0, out=alpha)
    return np.minimum(alpha, 1, out=alpha)


def as_colour(colour: Colour) -> np.ndarray:
    """A colour (3,) as (3, 1, 1) float32; arrays of (3, H, W) pass unchanged."""
    array = np.asarray(colour, dtype=np.float32)
    return array[:, None, None] if array.ndim == 1 else array


class Brush:
    """Draws one object in its own coordinates: u to the right, v up, the object within about [-1, 1] in both.

    Parameters
    ----------
    canvas : what is drawn on.
    centre, scale : image position of u = v = 0, and image units per object unit.
    mirrored, tilt : flip in u, then rotation in radians.
    depth : depth value of the object.
    tint : lighting colour that multiplies every unlit fill.
    sun_u : horizontal direction of the light in [-1, 1]; shading brightens towards it and from below to above.
    instance : number written into ``canvas.instances_HW``.
    """

    def __init__(
        self,
        canvas: Canvas,
        centre: tuple[float, float],
        scale: float,
        mirrored: bool,
        tilt: float,
        depth: float,
        tint: np.ndarray,
        sun_u: float,
        instance: int,
    ) -> None:
        size, reach = canvas.size, 1.25 * scale
        rows = slice(max(0, int((centre[1] - reach) * size)), min(size, int((centre[1] + reach) * size) + 1))
        columns = slice(max(0, int((centre[0] - reach) * size)), min(size, int((centre[0] + reach) * size) + 1))
        dx = (canvas.x_W[columns] - np.float32(centre[0])) / np.float32(scale)
        dy = (np.float32(centre[1]) - canvas.y_H1[rows]) / np.float32(scale)
        cos, sin = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
        self.u = cos * dx + sin * dy
        self.v = cos * dy - sin * dx
        if mirrored:
            self.u = -self.u
        self._pixels_per_unit = scale * size
        self._rgb = canvas.rgb_CHW[:, rows, columns]
        self._depth = canvas.depth_HW[rows, columns]
        self._instances = canvas.instances_HW[rows, columns]
        self._depth_value, self._instance = depth, instance
        self._light = as_colour(tint) * (1 + 0.16 * sun_u * dx + 0.16 * dy)

    def ellipse(self, u: float, v: float, radius_u: float, radius_v: float | None = None) -> np.ndarray:
        """Approximate distance to an ellipse (exact for a circle)."""
        if radius_v is None:
            return np.hypot(self.u - u, self.v - v) - radius_u
        return (np.hypot((self.u - u) / radius_u, (self.v - v) / radius_v) - 1) * min(radius_u, radius_v)

    def box(self, u: float, v: float, half_u: float, half_v: float, corner: float = 0.0) -> np.ndarray:
        """Distance to a box with rounded corners."""
        du, dv = np.abs(self.u - u) - (half_u - corner), np.abs(self.v - v) - (half_v - corner)
        if corner == 0.0:
            return np.maximum(du, dv)
        return np.hypot(np.maximum(du, 0), np.maximum(dv, 0)) + np.minimum(np.maximum(du, dv), 0) - corner

    def stroke(self, start: tuple[float, float], end: tuple[float, float], radius: float) -> np.ndarray:
        """Distance to a segment with round ends."""
        run, rise = end[0] - start[0], end[1] - start[1]
        pu, pv = self.u - start[0], self.v - start[1]
        along = np.clip((pu * run + pv * rise) / (run * run + rise * rise), 0, 1)
        return np.hypot(pu - along * run, pv - along * rise) - radius

    def polygon(self, *corners: tuple[float, float]) -> np.ndarray:
        """Distance (exact near the edges) to a convex polygon, corners in either order of rotation."""
        sides = []
        area = sum(a[0] * c[1] - c[0] * a[1] for a, c in zip(corners, corners[1:] + corners[:1], strict=True))
        if area < 0:
            corners = corners[::-1]
        for (u0, v0), (u1, v1) in zip(corners, corners[1:] + corners[:1], strict=True):
            length = float(np.hypot(u1 - u0, v1 - v0))
            normal_u, normal_v = (v1 - v0) / length, (u0 - u1) / length
            sides.append(normal_u * self.u + (normal_v * self.v - (normal_u * u0 + normal_v * v0)))
        return np.maximum.reduce(sides)

    def fill(self, distance: np.ndarray, colour: Colour, lit: bool = True) -> None:
        """Paint a shape as part of the object; ``lit=False`` for what shines by itself."""
        alpha = coverage(distance, self._pixels_per_unit)
        paint = as_colour(colour)
        self._rgb += alpha * ((paint * self._light if lit else paint) - self._rgb)
        covered = alpha >= 0.5
        np.copyto(self._depth, self._depth_value, where=covered)
        np.copyto(self._instances, self._instance, where=covered)

    def shadow(self, v: float, half_width: float) -> None:
        """Darken the ground below the object; no part of the object."""
        alpha = np.clip(0.5 - self.ellipse(0.0, v, half_width, 0.1) * 6, 0, 0.45)
        self._rgb *= 1 - alpha
