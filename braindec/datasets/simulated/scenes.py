"""Procedural scenes: images with the captions, boxes, depth and attributes that are exactly true of them.

Legend: n scenes, H W image height and width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from braindec.datasets.simulated.canvas import Brush, Canvas, Lattice
from braindec.datasets.simulated.captions import captions_of
from braindec.datasets.simulated.objects import PAINTERS
from braindec.datasets.simulated.places import Light, ground_depth, light_of, paint_place
from braindec.datasets.simulated.plan import PlannedObject, ScenePlan, plan_scene, scene_rng
from braindec.datasets.simulated.vocabulary import COLOURS
from braindec.types import DataError

Box = tuple[str, float, float, float, float]
"""Category and normalised left, top, right, bottom."""


@dataclass(frozen=True)
class SceneBatch:
    """Rendered scenes, in the order of ``indices``.

    Attributes
    ----------
    seed, indices : scene ``indices[i]`` of the world ``seed``.
    images : uint8 (n, H, W, 3) sRGB.
    depth : float32 (n, H, W) in [0, 1], 1 nearest to the viewer, 0 at infinity (sky).
    instances : uint8 (n, H, W), 0 background, 1 the main object, 2 the second.
    captions : six sentences a scene.
    concepts : category of each main object.
    boxes : the visible objects of each scene, main object first.
    attributes : object, colour, place, lighting, position, size, second_object (``"none"`` without one).
    """

    seed: int
    indices: np.ndarray
    images: np.ndarray
    depth: np.ndarray
    instances: np.ndarray
    captions: tuple[tuple[str, ...], ...]
    concepts: tuple[str, ...]
    boxes: tuple[tuple[Box, ...], ...]
    attributes: tuple[Mapping[str, str], ...]

    def __len__(self) -> int:
        return len(self.indices)


def render_scenes(n: int, seed: int, size: int = 64, start: int = 0) -> SceneBatch:
    """Render scenes ``start`` to ``start + n`` of a world; see `render_indices`."""
    return render_indices(range(start, start + n), seed, size)


def render_indices(indices: Sequence[int] | np.ndarray, seed: int, size: int = 64) -> SceneBatch:
    """Render the given scenes of a world.

    A scene depends on ``seed`` and its index only: neither on the other scenes nor on their order. At another size it
    is the same scene, sampled anew.

    Raises
    ------
    DataError
        If ``size`` is below 16, or an index or the seed is negative.
    """
    numbers = np.asarray(indices, dtype=np.int64)
    if size < 16:
        raise DataError(f"render_indices: size must be at least 16 pixels, found {size}")
    if seed < 0 or (numbers < 0).any():
        raise DataError("render_indices: seed and scene indices must not be negative")
    n = len(numbers)
    images = np.empty((n, size, size, 3), dtype=np.uint8)
    depth = np.empty((n, size, size), dtype=np.float32)
    instances = np.empty((n, size, size), dtype=np.uint8)
    plans = tuple(plan_scene(seed, int(index)) for index in numbers)
    lattice = Lattice(size)
    for row, plan in enumerate(plans):
        canvas = draw(plan, seed, lattice)
        images[row] = (np.clip(canvas.rgb_CHW, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0)
        depth[row] = canvas.depth_HW
        instances[row] = canvas.instances_HW
    return SceneBatch(
        seed=seed,
        indices=numbers,
        images=images,
        depth=depth,
        instances=instances,
        captions=tuple(captions_of(plan) for plan in plans),
        concepts=tuple(plan.concept for plan in plans),
        boxes=tuple(boxes_of(plan, instances[row]) for row, plan in enumerate(plans)),
        attributes=tuple(attributes_of(plan) for plan in plans),
    )


def draw(plan: ScenePlan, seed: int, lattice: Lattice) -> Canvas:
    """Paint a planned scene, the farther objects first."""
    rng = scene_rng(seed, plan.index, 1)
    canvas = Canvas(lattice)
    light = light_of(plan.lighting, rng)
    paint_place(canvas, rng, plan.place, light, plan.horizon)
    numbered = [(number, planned) for number, planned in enumerate(plan.objects, start=1)]
    for number, planned in sorted(numbered, key=lambda item: (_depth_of(item[1], plan), -item[0])):
        _draw_object(canvas, scene_rng(seed, plan.index, 1 + number), planned, plan, light, number)
    return canvas


def _depth_of(planned: PlannedObject, plan: ScenePlan) -> float:
    if planned.flying:
        return 0.2 + planned.scale
    return float(ground_depth(planned.y + planned.scale, plan.horizon)) + 0.02


def _draw_object(
    canvas: Canvas, rng: np.random.Generator, planned: PlannedObject, plan: ScenePlan, light: Light, number: int
) -> None:
    indoors = plan.place == "room"
    tint = 0.75 + 0.25 * np.minimum(light.tint, 1) if indoors else light.tint
    brush = Brush(
        canvas,
        centre=(planned.x, planned.y),
        scale=planned.scale,
        mirrored=planned.mirrored,
        tilt=planned.tilt,
        depth=min(_depth_of(planned, plan), 1.0),
        tint=tint,
        sun_u=light.side,
        instance=number,
    )
    if not planned.flying:
        brush.shadow(-1.0, 0.8)
    body = np.array(COLOURS[planned.colour])
    PAINTERS[planned.category](brush, rng, np.clip(body * rng.uniform(0.88, 1.1) + rng.normal(0, 0.03, 3), 0.03, 1))


def boxes_of(plan: ScenePlan, instances: np.ndarray) -> tuple[Box, ...]:
    """Tight boxes around the visible pixels of each object; an object that is wholly hidden has none."""
    boxes = []
    size = instances.shape[0]
    for number, planned in enumerate(plan.objects, start=1):
        rows, columns = np.nonzero(instances == number)
        if len(rows):
            left, top = float(columns.min()) / size, float(rows.min()) / size
            boxes.append((planned.category, left, top, float(columns.max() + 1) / size, float(rows.max() + 1) / size))
    return tuple(boxes)


def attributes_of(plan: ScenePlan) -> Mapping[str, str]:
    """What is true of a scene, one word each."""
    main = plan.objects[0]
    return {
        "object": main.category,
        "colour": main.colour,
        "place": plan.place,
        "lighting": plan.lighting,
        "position": main.position,
        "size": main.size,
        "second_object": plan.objects[1].category if len(plan.objects) > 1 else "none",
    }
