"""NSD's masks: which voxels or vertices are decoded, and the named ROIs among them.

Legend: S positions kept by the mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from braindec.datasets.files import need_file, reading
from braindec.datasets.nsd.layout import (
    GRID_SHAPES,
    NSDGENERAL_VOXELS,
    REMEDY,
    ROI_LABELS,
    ROI_UNIONS,
    BetaFormat,
    ncsnr_files,
    roi_files,
)
from braindec.types import DataError


@dataclass(frozen=True)
class Mask:
    """Positions to decode: ``parts`` are boolean volumes (one) or hemispheres (two); ``affine`` of the volume."""

    parts: tuple[np.ndarray, ...]
    affine: np.ndarray | None

    @property
    def size(self) -> int:
        """Number of positions S."""
        return int(sum(part.sum() for part in self.parts))

    @property
    def grid_index(self) -> np.ndarray:
        """Int (S, 3), 0-based voxel indices, in C order of the grid (x slowest), as boolean indexing yields them."""
        return np.argwhere(self.parts[0])

    def take(self, parts: tuple[np.ndarray, ...]) -> np.ndarray:
        """Values (S,) at the mask's positions."""
        return np.concatenate([values[mask] for values, mask in zip(parts, self.parts)])


def read_mask(root: Path, subject: str, roi: str, space: BetaFormat) -> Mask:
    """The mask ``roi`` > 0. (``nsdgeneral`` also holds -1 outside the cortex: "not 0" or "not -1" would be wrong.)

    Raises
    ------
    DataError
        If a file is missing or cut, the mask is empty or has another person's grid, or ``nsdgeneral`` has not the
        published number of voxels.
    """
    volumes, affine = _read(roi_files(root, subject, roi, space))
    mask = Mask(parts=tuple(volume > 0 for volume in volumes), affine=affine)
    if mask.size == 0:
        raise DataError(f"{roi_files(root, subject, roi, space)[0]}: the mask has no position above 0")
    if space != "fsaverage":
        _check_published(roi_files(root, subject, roi, space)[0], subject, roi, mask)
    return mask


def _check_published(path: Path, subject: str, roi: str, mask: Mask) -> None:
    """Grids differ from person to person, so one that is published for another person gives the file away."""
    shape = mask.parts[0].shape
    owners = [owner for owner, grid in GRID_SHAPES.items() if grid == shape and owner != subject]
    if owners:
        raise DataError(f"{path}: its grid {shape} is that of {owners[0]}; {subject}'s is {GRID_SHAPES[subject]}")
    expected = NSDGENERAL_VOXELS[subject]
    if roi == "nsdgeneral" and shape == GRID_SHAPES[subject] and mask.size != expected:
        raise DataError(
            f"{path}: expected {expected} voxels above 0, the published number of {subject}, found {mask.size}; "
            "download the mask again, or name your own with roi="
        )


def read_rois(root: Path, subject: str, mask: Mask, space: BetaFormat) -> dict[str, np.ndarray]:
    """Every ROI whose file exists, as boolean (S,) over the mask's positions.

    ``prf-visualrois`` (any label) beside its labels ``V1v`` .. ``hV4`` and the unions ``V1``, ``V2``, ``V3``; likewise
    ``prf-eccrois``, ``floc-*`` and ``streams``.
    """
    rois: dict[str, np.ndarray] = {}
    for group, labels in ROI_LABELS.items():
        paths = roi_files(root, subject, group, space)
        if not all(path.is_file() for path in paths):
            continue
        volumes, _ = _read(paths)
        _check_shapes(paths, volumes, mask)
        values = mask.take(volumes)
        rois[group] = values > 0
        rois.update({label: values == code for code, label in enumerate(labels, start=1)})
    for union, members in ROI_UNIONS.items():
        if all(member in rois for member in members):
            rois[union] = np.logical_or.reduce([rois[member] for member in members])
    return rois


def read_ncsnr(root: Path, subject: str, mask: Mask, betas: str, space: BetaFormat) -> np.ndarray | None:
    """Noise-ceiling SNR float32 (S,), 0 where the file has NaN, or None when the file is not there."""
    paths = ncsnr_files(root, subject, betas, space)
    if not all(path.is_file() for path in paths):
        return None
    volumes, _ = _read(paths)
    _check_shapes(paths, volumes, mask)
    return np.nan_to_num(mask.take(volumes).astype(np.float32))


def _read(paths: tuple[Path, ...]) -> tuple[tuple[np.ndarray, ...], np.ndarray | None]:
    import nibabel

    parts, affine = [], None
    for path in paths:
        need_file(path, "a mask or map", REMEDY)
        with reading(path, "NIfTI or MGH"):
            image: Any = nibabel.load(path)
            values = np.asarray(image.dataobj)
        parts.append(values.reshape(-1) if len(paths) == 2 else values)
        affine = np.asarray(image.affine, dtype=np.float64) if len(paths) == 1 else None
    if len(paths) == 1 and parts[0].ndim != 3:
        raise DataError(f"{paths[0]}: expected a volume of three axes, found shape {parts[0].shape}")
    return tuple(parts), affine


def _check_shapes(paths: tuple[Path, ...], parts: tuple[np.ndarray, ...], mask: Mask) -> None:
    for path, part, kept in zip(paths, parts, mask.parts):
        if part.shape != kept.shape:
            raise DataError(
                f"{path}: expected shape {kept.shape} as the mask's, found {part.shape}; is it another subject's?"
            )
