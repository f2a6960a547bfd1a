"""Regions of an atlas file as ROIs of a recording: resolved from a path, nothing is fetched.

Legend: S positions, X Y Z grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from braindec.datasets.files import need_file, read_table, reading
from braindec.datasets.parcels import REMEDY, sampled
from braindec.types import DataError, Space, Trials

HEMISPHERES = "hemispheres"
MIN_COVERAGE = 0.3
"""A smaller share of labelled positions means that atlas and recording lie in different spaces."""


def atlas_rois(
    trials: Trials, atlas: str, names: str | Mapping[Any, str] | None = None, only: Sequence[str] | None = None
) -> Trials:
    """The trials with the atlas' regions as their only ROIs.

    The label of a position is that of the atlas' voxel nearest to it, found through both matrices to the world, so
    that grids may differ; the two must lie in one space (both in MNI coordinates, or both in the subject's own).

    Parameters
    ----------
    atlas : a NIfTI of whole-number labels, 0 for none (x, y, z, or x, y, z, 1); or ``hemispheres``: left and right of
        the middle plane x = 0.
    names : label -> name, or a BIDS table (.tsv) with the columns ``index`` and ``name``; None: labels as text.
    only : regions that are taken; None takes all.

    Raises
    ------
    DataError
        If positions have no place, few of them lie in the atlas, a label has no name or a name no label, or a region
        has no position in the recording.
    """
    where = f"atlas {atlas}"
    places_3S = _places_mm(trials.space, f"{where}: subject {trials.subject!r}")
    if atlas == HEMISPHERES:
        if names is not None:
            raise DataError(f"{where}: its regions are left and right; leave atlas_names out")
        rois = {"left": places_3S[0] < 0, "right": places_3S[0] > 0}
    else:
        rois = _label_rois(Path(atlas), places_3S, names)
    unknown = sorted(set(only or ()) - set(rois))
    if unknown:
        raise DataError(f"{where}: has no region {unknown}; its regions are {sorted(rois)[:12]}")
    covered = np.any(list(rois.values()), axis=0).mean()
    if covered < MIN_COVERAGE:
        raise DataError(
            f"{where}: only {100 * covered:.0f}% of the {trials.space.size} {trials.space.kind} of subject "
            f"{trials.subject!r} lie in a region; are atlas and recording in the same space?"
        )
    rois = {name: mask for name, mask in rois.items() if only is None or name in only}
    empty = [name for name, mask in rois.items() if not mask.any()]
    if empty:
        raise DataError(
            f"{where}: {len(empty)} of {len(rois)} regions have no {trials.space.kind} of subject {trials.subject!r}, "
            f"e.g. {empty[:3]}; leave them out with regions=[NAME,...]"
        )
    return replace(trials, rois=rois)


def _places_mm(space: Space, where: str) -> np.ndarray:
    if space.grid_index is not None and space.affine is not None:
        return (space.grid_index @ space.affine[:3, :3].T + space.affine[:3, 3]).T
    if space.kind == "channels" or space.positions_m is None:
        raise DataError(
            f"{where} has {space.kind} without a place in a volume; name groups with regions={{NAME: [...]}}"
        )
    return 1000 * np.asarray(space.positions_m, dtype=np.float64).T


def _label_rois(path: Path, places_3S: np.ndarray, names: str | Mapping[Any, str] | None) -> dict[str, np.ndarray]:
    import nibabel

    need_file(path, "the atlas", f"{REMEDY}, or say {HEMISPHERES}")
    with reading(path, "NIfTI"):
        image: Any = nibabel.load(path)
        values = np.asarray(image.dataobj, dtype=np.float64)
    # FreeSurfer's files, those of the Yeo networks among them, have a fourth axis of one.
    if values.ndim == 4 and values.shape[3] == 1:
        values = values[..., 0]
    if values.ndim != 3 or not np.array_equal(values, np.round(values)):
        raise DataError(f"{path}: expected whole-number labels (x, y, z), found {values.dtype} {values.shape}")
    named = _names(path, np.unique(values[values > 0]).astype(int), names)
    to_atlas = np.linalg.inv(np.asarray(image.affine, dtype=np.float64))
    label_S = sampled(values, to_atlas[:3, :3] @ places_3S + to_atlas[:3, 3:], order=0)
    return {name: label_S == label for label, name in named.items()}


def _names(path: Path, labels: np.ndarray, names: str | Mapping[Any, str] | None) -> dict[int, str]:
    """Label -> name of every label of the atlas."""
    if not len(labels):
        raise DataError(f"{path}: the atlas has no region; every voxel is 0")
    if names is None:
        return {int(label): str(label) for label in labels}
    if isinstance(names, str):
        table = read_table(Path(names), ("index", "name"), "the atlas' region names", REMEDY)
        given = {int(index): str(name) for index, name in zip(table["index"], table["name"])}
        given.pop(0, None)
    else:
        given = {int(index): str(name) for index, name in names.items()}
    nameless, absent = sorted(set(labels.tolist()) - set(given)), sorted(set(given) - set(labels.tolist()))
    if nameless or absent or len(set(given.values())) != len(given):
        raise DataError(
            f"{path}: names and labels differ: labels without a name {nameless[:5]}, names without a voxel "
            f"{[given[i] for i in absent][:5]}, {len(given) - len(set(given.values()))} names given twice"
        )
    return given
