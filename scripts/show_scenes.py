"""Write a contact sheet of simulated scenes: python scripts/show_scenes.py --out scenes.png --n 96 --seed 0."""

from __future__ import annotations

import argparse
import time

import numpy as np
from PIL import Image

from braindec.datasets.simulated.plan import plan_scene
from braindec.datasets.simulated.scenes import render_indices


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="outputs/scenes.png", help="PNG to write")
    parser.add_argument("--n", type=int, default=96, help="number of scenes")
    parser.add_argument("--columns", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=64, help="pixels a side")
    parser.add_argument("--zoom", type=int, default=2)
    parser.add_argument("--concept", help="only scenes with this main object")
    arguments = parser.parse_args()

    indices: list[int] = []
    candidate = 0
    while len(indices) < arguments.n:
        if arguments.concept in (None, plan_scene(arguments.seed, candidate).concept):
            indices.append(candidate)
        candidate += 1
    begin = time.perf_counter()
    batch = render_indices(indices, arguments.seed, arguments.size)
    seconds = time.perf_counter() - begin
    rows = -(-arguments.n // arguments.columns)
    sheet = np.full((rows * arguments.columns, arguments.size, arguments.size, 3), 255, dtype=np.uint8)
    sheet[: arguments.n] = batch.images
    grid = sheet.reshape(rows, arguments.columns, arguments.size, arguments.size, 3).swapaxes(1, 2)
    picture = grid.reshape(rows * arguments.size, arguments.columns * arguments.size, 3)
    picture = picture.repeat(arguments.zoom, axis=0).repeat(arguments.zoom, axis=1)
    Image.fromarray(picture).save(arguments.out)
    print(f"{arguments.out}: {arguments.n} scenes, {arguments.n / seconds:.0f} a second")
    for scene, captions in zip(batch.indices[:5], batch.captions[:5], strict=True):
        print(f"scene {scene}: {captions[0]}")


if __name__ == "__main__":
    main()
