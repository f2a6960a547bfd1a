"""A small synthetic NSD in the true on-disk layout: file names, types, axes order, chunks, scale and numbering."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from braindec.datasets.nsd.design import N_PER_SUBJECT, N_SHARED, Design
from braindec.datasets.nsd.layout import (
    BETA_SCALE,
    BETAS,
    GRID_SHAPES,
    N_IMAGES,
    NSDGENERAL_VOXELS,
    ROI_LABELS,
    ROI_UNIONS,
    RUN_LENGTHS,
    TRIALS_PER_SESSION,
    VISUAL_ROI_VOXELS,
    WITHHELD_SESSIONS,
    BetaFormat,
    betas_file,
    check_subject,
    design_file,
    ncsnr_files,
    responses_file,
    roi_files,
    stim_info_file,
    stimuli_file,
    surface_files,
)

AFFINE = np.diag([1.8, 1.8, 1.8, 1.0])


def write_fake(
    root: str | Path,
    n_sessions: int = 1,
    subjects: Sequence[str] = ("subj01",),
    grid_shape: tuple[int, int, int] = (7, 8, 6),
    n_voxels: int = 40,
    storage: Sequence[BetaFormat] = ("hdf5",),
    image_px: int = 8,
    n_vertices: int = 60,
    true_size: bool = False,
    seed: int = 0,
) -> None:
    """Write betas, masks, ncsnr, design, behaviour, stimulus information, pictures and captions below ``root``.

    Each voxel answers to the mean colour of the picture, so decoders find something. Everything that NSD fixes keeps
    its true size (750 trials a session, 30,000 planned trials, 73,000 numbered pictures); the grid, the number of
    ``nsdgeneral`` voxels and the pictures' side are small. Pictures that no trial shows are left black.

    ``true_size`` takes each person's own grid and numbers of ``nsdgeneral`` voxels and of voxels in each visual area
    instead of ``grid_shape`` and ``n_voxels``. An empty ``storage`` writes everything but betas.
    """
    root = Path(root)
    rng = np.random.default_rng(seed)
    design = fake_design(rng)
    _write_design(root, design)
    shown = {s: design.shown(s)[: n_sessions * TRIALS_PER_SESSION] for s in subjects}
    colours = rng.integers(0, 256, (N_IMAGES, 3), dtype=np.uint8)
    _write_images(root, np.unique(np.concatenate(list(shown.values()))), colours, image_px, rng)
    _write_stim_info(root, design)
    _write_captions(root, colours)
    for subject, numbers in shown.items():
        _write_responses(root, subject, design, n_sessions)
        if true_size:
            grid_shape, n_voxels = GRID_SHAPES[subject], NSDGENERAL_VOXELS[subject]
        if tuple(storage) != ("fsaverage",):
            mask = _write_masks(
                root, subject, grid_shape, n_voxels, VISUAL_ROI_VOXELS[subject] if true_size else {}, rng
            )
        if not storage:
            continue
        weights = rng.standard_normal((3, max(n_voxels, 2 * n_vertices)), dtype=np.float32)
        drive = (colours[numbers].astype(np.float32) / 255 - 0.5) @ weights
        drive = 0.8 * drive + 0.6 * rng.standard_normal(drive.shape, dtype=np.float32)
        if {"hdf5", "nifti"} & set(storage):
            _write_volumes(root, subject, mask, drive[:, :n_voxels], storage, rng)
        if "fsaverage" in storage:
            _write_surface(root, subject, drive[:, : 2 * n_vertices], rng)


def fake_design(rng: np.random.Generator) -> Design:
    """A random design with NSD's published counts.

    Each of 10,000 pictures is planned three times in 30,000 trials; the last three of 40 sessions hold 141 training
    and 18 test pictures in full and 230 test trials, which gives the older release its 8859 and 982 pictures and
    24,980 and 2770 trials.
    """
    late_trials = WITHHELD_SESSIONS * TRIALS_PER_SESSION
    late: list[np.ndarray] = []
    for first, end, whole, trials in ((0, N_SHARED, 18, 230), (N_SHARED, N_PER_SUBJECT, 141, late_trials - 230)):
        pictures = rng.permutation(np.arange(first, end))
        late += [np.repeat(pictures[:whole], 3), pictures[whole : whole + trials - 3 * whole]]
    tail = np.concatenate(late)
    left = 3 - np.bincount(tail, minlength=N_PER_SUBJECT)
    order = np.concatenate([rng.permutation(np.repeat(np.arange(N_PER_SUBJECT), left)), rng.permutation(tail)])
    numbers = rng.permutation(N_IMAGES)
    shared, own = np.sort(numbers[:N_SHARED]), numbers[N_SHARED:].reshape(8, N_PER_SUBJECT - N_SHARED)
    images = np.stack([np.concatenate([shared, np.sort(row)]) for row in own])
    return Design(order=order, images=images)


def write_betas_hdf5(path: Path, stored: np.ndarray, grid_index: np.ndarray, grid_shape: Sequence[int]) -> None:
    """Write int16 betas (N, S) into a volume file as NSD does: (trial, z, y, x), one uncompressed chunk a voxel."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    n_trials = len(stored)
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            "betas", (n_trials, *reversed(tuple(grid_shape))), dtype="<i2", chunks=(n_trials, 1, 1, 1), fillvalue=0
        )
        # Voxels outside are left out of the file and read as 0: a whole volume of true size would be 1 GB.
        voxels = np.ascontiguousarray(stored.T, dtype="<i2")
        for (x, y, z), values in zip(grid_index.tolist(), voxels):
            data.id.write_direct_chunk((0, z, y, x), values.tobytes())


def write_nifti(path: Path, volume: np.ndarray) -> None:
    """Write an array as NIfTI in its own type, with NSD's 1.8 mm grid."""
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(volume, AFFINE), path)


def _write_design(root: Path, design: Design) -> None:
    from scipy.io import savemat

    path = design_file(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "masterordering": (design.order + 1).astype(np.float64)[None],
        "subjectim": (design.images + 1).astype(np.float64),
        "sharedix": (design.images[0, :N_SHARED] + 1).astype(np.float64)[None],
    }
    savemat(path, content, do_compression=True)


def _write_images(
    root: Path, numbers: np.ndarray, colours: np.ndarray, image_px: int, rng: np.random.Generator
) -> None:
    import h5py

    path = stimuli_file(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (N_IMAGES, image_px, image_px, 3)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("imgBrick", shape, dtype=np.uint8, chunks=(1, *shape[1:]))
        for number in numbers.tolist():
            texture = rng.integers(-8, 9, shape[1:])
            data[number] = np.clip(colours[number] + texture, 0, 255).astype(np.uint8)


def _write_stim_info(root: Path, design: Design) -> None:
    info = pd.DataFrame({"cocoId": np.arange(N_IMAGES) * 7 + 9, "cocoSplit": "train2017", "nsdId": np.arange(N_IMAGES)})
    info["shared1000"] = info["nsdId"].isin(design.images[0, :N_SHARED])
    trials = np.argsort(design.order, kind="stable").reshape(N_PER_SUBJECT, 3) + 1
    for number, images in enumerate(design.images, start=1):
        info[f"subject{number}"] = info["nsdId"].isin(images).astype(int)
        for repetition in range(3):
            column = np.zeros(N_IMAGES, dtype=int)
            column[images] = trials[:, repetition]
            info[f"subject{number}_rep{repetition}"] = column
    info.to_csv(stim_info_file(root))


def _write_captions(root: Path, colours: np.ndarray) -> None:
    folder = root / "coco" / "annotations"
    folder.mkdir(parents=True, exist_ok=True)
    for name, numbers in (("train2017", range(0, N_IMAGES, 2)), ("val2017", range(1, N_IMAGES, 2))):
        entries = [
            {"image_id": number * 7 + 9, "id": number, "caption": f"a picture of colour {colours[number].tolist()}"}
            for number in numbers
        ]
        (folder / f"captions_{name}.json").write_text(json.dumps({"annotations": entries}))


def _write_responses(root: Path, subject: str, design: Design, n_sessions: int) -> None:
    n = n_sessions * TRIALS_PER_SESSION
    run = np.repeat(np.arange(1, len(RUN_LENGTHS) + 1), RUN_LENGTHS)
    within = np.concatenate([np.arange(1, length + 1) for length in RUN_LENGTHS])
    table = pd.DataFrame(
        {
            "SUBJECT": check_subject(subject),
            "SESSION": np.arange(n) // TRIALS_PER_SESSION + 1,
            "RUN": np.tile(run, n_sessions),
            "TRIAL": np.tile(within, n_sessions),
            "73KID": design.shown(subject)[:n] + 1,
            "10KID": design.order[:n] + 1,
            "TIME": 0.5 + np.arange(n) * 4 / 86400,
            "ISOLD": 0,
            "ISCORRECT": 1.0,
            "RT": 700.0,
        }
    )
    path = responses_file(root, subject)
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, sep="\t", index=False)


def _write_masks(
    root: Path,
    subject: str,
    grid_shape: tuple[int, int, int],
    n_voxels: int,
    visual: Mapping[str, int],
    rng: np.random.Generator,
) -> np.ndarray:
    """Write nsdgeneral (with its -1 outside the cortex), the ROIs and ncsnr; returns nsdgeneral > 0.

    ``visual`` gives the number of voxels of each visual area; without it areas are of random size.
    """
    flat = np.zeros(int(np.prod(grid_shape)), dtype=np.int16)
    chosen = rng.permutation(flat.size)
    flat[chosen[n_voxels : n_voxels + (flat.size - n_voxels) // 2]] = -1
    flat[chosen[:n_voxels]] = 1
    general = flat.reshape(grid_shape)
    write_nifti(roi_files(root, subject, "nsdgeneral", "hdf5")[0], general)
    for group, labels in ROI_LABELS.items():
        codes = rng.integers(0, len(labels) + 1, grid_shape).astype(np.int16)
        if group == "prf-visualrois" and visual:
            codes = _visual_codes(chosen[:n_voxels], visual, grid_shape)
        write_nifti(roi_files(root, subject, group, "hdf5")[0], np.where(general > 0, codes, -1).astype(np.int16))
    write_nifti(ncsnr_files(root, subject, BETAS, "hdf5")[0], rng.uniform(0, 1, grid_shape).astype(np.float32))
    return general > 0


def _visual_codes(voxels: np.ndarray, sizes: Mapping[str, int], grid_shape: tuple[int, int, int]) -> np.ndarray:
    """Codes of ``prf-visualrois`` on the grid: the first voxels are the areas', halved between ventral and dorsal."""
    codes = np.zeros(int(np.prod(grid_shape)), dtype=np.int16)
    start = 0
    for area, size in sizes.items():
        parts = ROI_UNIONS.get(area, (area,))
        for part, rows in zip(parts, np.array_split(voxels[start : start + size], len(parts))):
            codes[rows] = ROI_LABELS["prf-visualrois"].index(part) + 1
        start += size
    return codes.reshape(grid_shape)


def _write_volumes(
    root: Path,
    subject: str,
    mask: np.ndarray,
    drive: np.ndarray,
    storage: Sequence[BetaFormat],
    rng: np.random.Generator,
) -> None:
    index = np.argwhere(mask)
    stored = np.round(drive * BETA_SCALE).clip(-32768, 32767).astype(np.int16)
    for session in range(len(stored) // TRIALS_PER_SESSION):
        rows = stored[session * TRIALS_PER_SESSION : (session + 1) * TRIALS_PER_SESSION]
        if "hdf5" in storage:
            path = betas_file(root, subject, BETAS, "hdf5", session + 1)
            write_betas_hdf5(path, rows, index, mask.shape)
        if "nifti" in storage:
            volume = rng.integers(-50, 50, (*mask.shape, TRIALS_PER_SESSION), dtype=np.int16)
            volume[mask] = rows.T
            write_nifti(betas_file(root, subject, BETAS, "nifti", session + 1), volume)


def _write_surface(root: Path, subject: str, drive: np.ndarray, rng: np.random.Generator) -> None:
    import nibabel

    half = drive.shape[1] // 2
    for side, part in enumerate((drive[:, :half], drive[:, half:])):
        general = roi_files(root, subject, "nsdgeneral", "fsaverage")[side]
        streams = roi_files(root, subject, "streams", "fsaverage")[side]
        ncsnr = ncsnr_files(root, subject, BETAS, "fsaverage")[side]
        values = rng.integers(0, 2, half).astype(np.int32)
        for path, data in (
            (general, values),
            (streams, rng.integers(0, 8, half).astype(np.int32)),
            (ncsnr, rng.uniform(0, 1, half).astype(np.float32)),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.MGHImage(data.reshape(half, 1, 1), np.eye(4)), path)
        for session in range(len(part) // TRIALS_PER_SESSION):
            rows = part[session * TRIALS_PER_SESSION : (session + 1) * TRIALS_PER_SESSION].astype(np.float32)
            path = surface_files(root, subject, BETAS, session + 1)[side]
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.MGHImage(rows.T.reshape(half, 1, 1, -1), np.eye(4)), path)
