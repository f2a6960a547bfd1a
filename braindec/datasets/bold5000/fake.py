"""A small synthetic BOLD5000 in the true on-disk layout: file names, axes, trial counts, marks and misspellings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from braindec.datasets.bold5000.layout import (
    BETAS,
    N_REPEATED,
    ROI_MISSPELT,
    ROI_NAMES,
    SESSIONS,
    TRIALS_PER_RUN,
    betas_file,
    brain_mask_file,
    events_file,
    labels_file,
    names_file,
    pictures_folder,
    repeated_file,
    roi_betas_file,
    roi_mask_file,
    runs_of,
)

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
N_ONCE = 4_803


def write_fake(
    root: str | Path,
    subjects: Sequence[str] = ("CSI1",),
    n_sessions: int | None = None,
    grid_shape: tuple[int, int, int] = (6, 7, 5),
    n_voxels: int = 3,
    image_px: int = 8,
    storage: Sequence[str] = ("volumes", "rois"),
    seed: int = 0,
) -> None:
    """Write betas, masks, lists and pictures below ``root``; a picture's mean colour drives every voxel.

    Counts are the published ones (4803 pictures once, 112 four times and one three times in 5254 trials; CSI4 3108
    trials); the grid, the ``n_voxels`` of each of the ten ROIs and the pictures' side are small. ``n_sessions`` limits
    the NIfTI files to the first sessions. Some masks are misspelt as they are in the publication.
    """
    root = Path(root)
    rng = np.random.default_rng(seed)
    once, repeated, colours = _write_pictures(root, image_px, rng)
    for subject in subjects:
        n_trials = sum(runs_of(subject, s) for s in range(1, SESSIONS[subject] + 1)) * TRIALS_PER_RUN
        names = [*once, *(name for name in repeated for _ in range(4))][:-1]
        shown = [names[i] for i in rng.permutation(len(names))][:n_trials]
        marked = [f"rep_{name}" if name in repeated else name for name in shown]
        names_file(root, subject).write_text("\n".join(marked) + "\n")
        _write_events(root, subject, shown)
        weights = rng.normal(size=(3, n_voxels * len(ROI_NAMES)))
        drive = np.stack([colours[name] for name in shown]) / 255 - 0.5
        values = (0.8 * drive @ weights + 0.6 * rng.normal(size=(n_trials, weights.shape[1]))).astype(np.float32)
        if "rois" in storage:
            for number, roi in enumerate(ROI_NAMES):
                path = roi_betas_file(root, subject, BETAS, roi)
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, values[:, number * n_voxels : (number + 1) * n_voxels])
        if "volumes" in storage:
            _write_volumes(root, subject, values, grid_shape, n_voxels, n_sessions or SESSIONS[subject], rng)


def _write_pictures(
    root: Path, image_px: int, rng: np.random.Generator
) -> tuple[list[str], list[str], dict[str, np.ndarray]]:
    from PIL import Image

    n_all = N_ONCE + N_REPEATED
    names = [f"COCO_train2014_{i:012d}.jpg" for i in range(2000)]
    names += [f"n{1440000 + i // 2:08d}_{i}.JPEG" for i in range(1916)]
    names += [f"kitchen{i}.jpg" for i in range(n_all - len(names))]
    order = rng.permutation(n_all)
    repeated, once = [names[i] for i in order[:N_REPEATED]], [names[i] for i in order[N_REPEATED:]]
    colours = {name: rng.integers(0, 256, 3) for name in names}
    for folder, mark in (("COCO", "COCO_"), ("ImageNet", "n0"), ("Scene", "kitchen")):
        (pictures_folder(root) / folder).mkdir(parents=True, exist_ok=True)
        for name in (n for n in names if n.startswith(mark)):
            # Texture, so that no two pictures are the same: the leak check would rightly object.
            picture = np.clip(colours[name] + rng.integers(-8, 9, (image_px, image_px, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(pictures_folder(root) / folder / name)
    repeated_file(root).write_text("\n".join(repeated) + "\n")
    labels_file(root).parent.mkdir(parents=True, exist_ok=True)
    labels_file(root).write_text("\n".join(f"n{1440000 + i:08d} thing {i}, object" for i in range(958)) + "\n")
    return once, repeated, colours


def _write_events(root: Path, subject: str, shown: Sequence[str]) -> None:
    start = 0
    for session in range(1, SESSIONS[subject] + 1):
        for run in range(1, runs_of(subject, session) + 1):
            rows = [f"{6 + 10 * i}\t1\t{name}" for i, name in enumerate(shown[start : start + TRIALS_PER_RUN])]
            path = events_file(root, subject, session, run)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(["onset\tduration\tImgName", *rows]) + "\n")
            start += TRIALS_PER_RUN


def _write_volumes(
    root: Path,
    subject: str,
    values: np.ndarray,
    grid_shape: tuple[int, int, int],
    n_voxels: int,
    n_sessions: int,
    rng: np.random.Generator,
) -> None:
    import nibabel

    def save(volume: np.ndarray, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(volume, AFFINE), path)

    flat = rng.permutation(int(np.prod(grid_shape)))[: len(ROI_NAMES) * n_voxels + 10]
    brain = np.zeros(int(np.prod(grid_shape)), dtype=np.uint8)
    brain[flat] = 1
    save(brain.reshape(grid_shape), brain_mask_file(root, subject))
    for number, roi in enumerate(ROI_NAMES):
        mask = np.zeros(brain.size, dtype=np.uint8)
        mask[flat[number * n_voxels : (number + 1) * n_voxels]] = 1
        misspelt = subject in ("CSI2", "CSI3") and roi in ROI_MISSPELT
        path = roi_mask_file(root, subject, ROI_MISSPELT[roi] if misspelt else roi)
        save(mask.reshape(grid_shape), path)
    start = 0
    for session in range(1, n_sessions + 1):
        n_trials = runs_of(subject, session) * TRIALS_PER_RUN
        volume = np.zeros((brain.size, n_trials), dtype=np.float32)
        volume[flat] = rng.normal(size=(len(flat), n_trials))
        volume[flat[: len(ROI_NAMES) * n_voxels]] = values[start : start + n_trials].T
        save(volume.reshape(*grid_shape, n_trials), betas_file(root, subject, BETAS, session))
        start += n_trials
