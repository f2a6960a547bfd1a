"""Patches of a brain volume: voxels of any grid, laid into one common volume and cut into cubes.

Legend: B batch, S voxels, T time, C = B x T, M cells of the common volume near voxels, K neighbours, P patches.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from braindec.models.shapes import SignalShape
from braindec.types import DataError


def trilinear_table(
    grid_index: np.ndarray, shape: tuple[int, int, int], whole: tuple[int, int, int] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the values of a resampled volume come from; voxels that were not measured count as 0.

    Parameters
    ----------
    grid_index : int (S, 3), voxels of one subject.
    shape : cells of the common volume an axis.
    whole : size of the subject's volume; None resamples the smallest box that holds its voxels.

    Returns
    -------
    cell : int64 (M,), flat indices of the cells that any voxel reaches.
    source, weight : int64 and float32 (M, K), the voxels that each cell is a sum of, and their weights.

    Source: trilinear interpolation with cell centres at half-integers, edges repeated (``torch.nn.functional.
    interpolate``, ``align_corners=False``).
    """
    low = np.zeros(3, dtype=np.int64) if whole is not None else grid_index.min(axis=0)
    size = np.array(whole) if whole is not None else grid_index.max(axis=0) - low + 1
    row_of = np.full(tuple(size), -1, dtype=np.int64)
    row_of[tuple((grid_index - low).T)] = np.arange(len(grid_index))
    near: list[list[tuple[np.ndarray, np.ndarray]]] = []
    for axis in range(3):
        place = (np.arange(shape[axis]) + 0.5) * (size[axis] / shape[axis]) - 0.5
        place = place.clip(0, size[axis] - 1)
        first = np.floor(place).astype(np.int64)
        share = place - first
        near.append([(first, 1 - share), (np.minimum(first + 1, size[axis] - 1), share)])
    rows, weights = [], []
    for (x, wx), (y, wy), (z, wz) in itertools.product(*near):
        row = row_of[np.ix_(x, y, z)].ravel()
        weight = (wx[:, None, None] * wy[None, :, None] * wz[None, None, :]).ravel()
        rows.append(np.where(row < 0, 0, row))
        weights.append(np.where(row < 0, 0.0, weight))
    source, weight = np.stack(rows, axis=1), np.stack(weights, axis=1)
    cell = np.flatnonzero(weight.any(axis=1))
    used = weight.any(axis=0)
    return cell, source[cell][:, used], weight[cell][:, used].astype(np.float32)


def patch_order(shape: tuple[int, int, int], patch: int) -> np.ndarray:
    """Place of each cell of a volume (flat, row by row) when cells are sorted by patch: int64 (cells,)."""
    cells = np.arange(math.prod(shape)).reshape(shape)
    counts = [size // patch for size in shape]
    cubes = cells.reshape(counts[0], patch, counts[1], patch, counts[2], patch).transpose(0, 2, 4, 1, 3, 5)
    place = np.empty(cells.size, dtype=np.int64)
    place[cubes.ravel()] = np.arange(cells.size)
    return place


class VolumePatches(nn.Module):
    """A stem: every subject's voxels resampled into one volume, cut into cubes: (B, S, T) -> (B, P, patch^3 * T).

    Nothing is learned, so that subjects with different grids meet the same encoder. Patches without a voxel stay 0;
    `braindec.models.encoders.transformer.TokenTransformer` can leave them out of its attention.

    Parameters
    ----------
    signals : subject -> shape of its signal; each needs places of its voxels in a volume.
    shape : cells of the common volume an axis, each a multiple of ``patch``.
    patch : cells a side of a patch.
    grid_shape : size of the subjects' volumes, where these are to be aligned as they are; None aligns the boxes that
        hold each subject's voxels.

    Raises
    ------
    DataError
        If ``patch`` does not divide ``shape``, a subject's voxels have no places, or a place is outside ``grid_shape``.

    Source: Neuro-Vision to Language (Shen et al. 2024, arXiv 2404.19438), its 3-D vision transformer's patches of a
    volume that is resampled to one size.
    """

    def __init__(
        self,
        signals: Mapping[str, SignalShape],
        shape: tuple[int, int, int] = (84, 112, 84),
        patch: int = 14,
        grid_shape: tuple[int, int, int] | None = None,
    ) -> None:
        super().__init__()
        shape = (shape[0], shape[1], shape[2])
        if patch < 1 or any(size % patch or size < patch for size in shape):
            raise DataError(f"VolumePatches: expected a shape of multiples of the patch {patch}, found {shape}")
        self.patch_size = patch**3
        self.n_cells = math.prod(shape)
        self.n_patches = self.n_cells // self.patch_size
        place = patch_order(shape, patch)
        for subject, signal in signals.items():
            index = signal.grid_index
            if index is None:
                raise DataError(
                    f"subject {subject!r}: VolumePatches needs the places of its voxels (Space.grid_index), found "
                    "none; use a data set of volumes, or a decoder without patches"
                )
            if index.min() < 0 or (grid_shape is not None and (index.max(axis=0) >= np.array(grid_shape)).any()):
                raise DataError(
                    f"subject {subject!r}: voxels from {index.min(axis=0)} to {index.max(axis=0)} do not fit into "
                    f"grid_shape {grid_shape}"
                )
            cell, source, weight = trilinear_table(index, shape, grid_shape)
            if not source.shape[1]:
                raise DataError(
                    f"subject {subject!r}: none of its {len(index)} voxels is seen in a volume resampled to {shape}; "
                    "choose a larger shape"
                )
            for name, array in (("cell", place[cell]), ("source", source), ("weight", weight)):
                self.register_buffer(f"{name}_of_{subject}", torch.from_numpy(array), persistent=False)

    def out_signal(self, signal: SignalShape) -> SignalShape:
        """Shape of what a subject's adapter is given."""
        return SignalShape(self.n_patches, self.patch_size * signal.n_times)

    def forward(self, signal_BST: torch.Tensor, subject: str) -> torch.Tensor:
        """Patches (B, P, patch^3 * T), cells of a patch in their order, time fastest."""
        cell_M, source_MK, weight_MK = (getattr(self, f"{n}_of_{subject}") for n in ("cell", "source", "weight"))
        # Each cell's weighted sum of voxels in one pass, all trials and times of a voxel beside each other.
        table_SC = signal_BST.transpose(0, 1).flatten(1)
        weight_MK = weight_MK.to(signal_BST.dtype)
        sums_MC = nn.functional.embedding_bag(source_MK, table_SC, per_sample_weights=weight_MK, mode="sum")
        values_BMT = sums_MC.unflatten(1, (len(signal_BST), -1)).transpose(0, 1)
        volume = signal_BST.new_zeros(len(signal_BST), self.n_cells, signal_BST.shape[2])
        return volume.index_copy(1, cell_M, values_BMT).reshape(len(signal_BST), self.n_patches, -1)
