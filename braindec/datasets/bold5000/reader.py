"""BOLD5000: single-trial betas of four people who saw nearly 5000 photographs, ten seconds apart.

Source: Chang et al. 2019, Scientific Data 6:49; release 2.0 (GLMsingle betas).

Legend: N trials, S voxels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from braindec.contracts import Progress
from braindec.datasets.bold5000.design import check_events, read_stimuli, trial_table
from braindec.datasets.bold5000.layout import (
    BETAS,
    HEMISPHERES,
    REMEDY,
    ROI_NAMES,
    ROIS,
    SESSIONS,
    SUBJECTS,
    TRIALS_PER_RUN,
    betas_file,
    brain_mask_file,
    check_subject,
    names_file,
    repeated_file,
    roi_betas_file,
    roi_mask_file,
    runs_of,
)
from braindec.datasets.cache import Block, assemble
from braindec.datasets.cached import CachedReader
from braindec.datasets.files import BadPositions, bad_positions, check_positions, fingerprint, need_file, reading
from braindec.datasets.nifti import n_volumes, read_grid, read_masked, voxel_space
from braindec.types import DataError, Space, Stimuli, Trials

_BLOCK = 512


class BOLD5000(CachedReader):
    """Single-trial betas in percent signal change, float32 (trial, voxel, 1), in order of presentation.

    Sessions and runs are 1-based. The 113 pictures that were shown several times are the test part, all others train.
    Pictures have no concept; the extra column ``source`` says from which collection (Scene, COCO, ImageNet) they come.
    Nothing is standardised: the publishers advise z-scoring each session.

    Parameters
    ----------
    root : folder of the files.
    storage : ``volumes``, the sessions' NIfTI betas in a mask; ``rois``, the published arrays of the ten visual ROIs.
    roi : of ``volumes``, ``visual`` reads the voxels of the ten ROIs, ``brain`` those of the brain mask.
    betas : name of the beta version.
    sessions : use only these 1-based sessions; an int n means the first n; None: all.
    image_size_px : side to which pictures are resized; None keeps their own.
    cache_dir : where signals are kept for memory-mapping; None: they are read into memory each time.
    bad_positions : what to do with voxels that are constant over a session, or not finite.
    """

    name = "bold5000"

    def __init__(
        self,
        root: str,
        storage: Literal["volumes", "rois"] = "volumes",
        roi: Literal["visual", "brain"] = "visual",
        betas: str = BETAS,
        sessions: int | Sequence[int] | None = None,
        image_size_px: int | None = None,
        cache_dir: str | None = None,
        bad_positions: BadPositions = "raise",
    ) -> None:
        if storage not in ("volumes", "rois") or roi not in ("visual", "brain"):
            raise DataError(
                f"bold5000: storage={storage!r}, roi={roi!r}; expected 'volumes' or 'rois', and 'visual' or 'brain'"
            )
        self.root = root
        self.storage: Literal["volumes", "rois"] = storage
        self.roi: Literal["visual", "brain"] = roi
        self.betas = betas
        self.sessions = sessions
        self.image_size_px = image_size_px
        self.cache_dir = cache_dir
        self.bad_positions: BadPositions = bad_positions

    def subjects(self) -> tuple[str, ...]:
        """``CSI1`` .. ``CSI4``: those whose betas are on disk."""
        found = tuple(subject for subject in SUBJECTS if any(path.is_file() for path in self._files(subject)))
        if not found:
            raise DataError(f"{self._files('CSI1')[0]}: no subject's betas are there (nor for CSI2 .. CSI4); {REMEDY}")
        return found

    def stimuli(self) -> Stimuli:
        """Every picture that any subject on disk saw, decoded when asked for; see `read_stimuli`."""
        return read_stimuli(Path(self.root), self.subjects(), self.image_size_px)

    def version(self) -> str:
        """12 hexadecimal digits from the lists, the masks and the betas of every subject, and the options."""
        root = Path(self.root)
        paths = [repeated_file(root)]
        for subject in self.subjects():
            paths += [names_file(root, subject), *self._files(subject), *self._mask_files(subject)]
        options = (self.storage, self.roi, self.betas, self.sessions)
        return fingerprint([path for path in paths if path.is_file()], repr(options))

    def _sessions(self, subject: str) -> tuple[int, ...]:
        last = SESSIONS[check_subject(subject)]
        if self.sessions is None:
            return tuple(range(1, last + 1))
        chosen = tuple(range(1, self.sessions + 1)) if isinstance(self.sessions, int) else tuple(self.sessions)
        if not chosen or list(chosen) != sorted(set(chosen)) or chosen[0] < 1 or chosen[-1] > last:
            raise DataError(
                f"bold5000: sessions={self.sessions!r} must be distinct, increasing and within 1..{last}, the "
                f"sessions of {subject}"
            )
        return chosen

    def _files(self, subject: str) -> list[Path]:
        root = Path(self.root)
        if self.storage == "volumes":
            return [betas_file(root, subject, self.betas, session) for session in self._sessions(subject)]
        return [roi_betas_file(root, subject, self.betas, name) for name in ROI_NAMES]

    def _mask_files(self, subject: str) -> list[Path]:
        root = Path(self.root)
        if self.storage == "rois":
            return []
        masks = [*(roi_mask_file(root, subject, name) for name in ROI_NAMES), brain_mask_file(root, subject)]
        return [path for path in masks if path.is_file()]

    def _folder(self, cache_dir: Path, subject: str) -> Path:
        options = (self.storage, self.roi, self.betas, self._sessions(subject))
        return cache_dir / f"bold5000-{subject}-{hashlib.sha256(repr(options).encode()).hexdigest()[:10]}"

    def _trials(self, subject: str, cache_dir: Path | None, progress: Progress) -> Trials:
        check_subject(subject)
        table = trial_table(Path(self.root), subject)
        check_events(Path(self.root), subject, table)
        shown = table["session"].isin(self._sessions(subject)).to_numpy()
        missing = [path for path in self._files(subject) if not path.is_file()]
        if missing:
            raise DataError(
                f"{missing[0]}: {len(missing)} of {len(self._files(subject))} files of {subject}'s betas are missing; "
                f"name the sessions you have with sessions=, or {REMEDY}"
            )
        blocks, space, rois = self._volumes(subject) if self.storage == "volumes" else self._arrays(subject, shown)
        table = table[shown].reset_index(drop=True)
        folder = None if cache_dir is None else self._folder(cache_dir, subject)
        source = {} if folder is None else {"files": fingerprint([*self._files(subject), *self._mask_files(subject)])}
        signal, bad = assemble(folder, (len(table), space.size), blocks, source, progress, f"bold5000 {subject}")
        kept = check_positions(bad, f"{self.root} {subject}", "voxels", None, self.bad_positions)
        trials = Trials(subject=subject, signal=signal[:, :, None], unit="psc", space=space, rois=rois, table=table)
        return trials if kept.all() else trials.select_space(kept)

    def _volumes(self, subject: str) -> tuple[list[Block], Space, dict[str, np.ndarray]]:
        root = Path(self.root)
        brain, affine = read_grid(brain_mask_file(root, subject), "the brain mask", REMEDY)
        volumes: dict[str, np.ndarray] = {}
        for name in ROI_NAMES:
            path = roi_mask_file(root, subject, name)
            if self.roi == "brain" and not path.is_file():
                continue
            volumes[name] = read_grid(path, "a ROI's mask", REMEDY)[0] > 0
            if volumes[name].shape != brain.shape:
                raise DataError(
                    f"{path}: expected shape {brain.shape} as the brain mask's, found {volumes[name].shape}; is it "
                    "another subject's?"
                )
        kept = brain > 0 if self.roi == "brain" else np.logical_or.reduce(list(volumes.values())) & (brain > 0)
        index = np.argwhere(kept)
        if not len(index):
            raise DataError(f"{brain_mask_file(root, subject)}: no voxel of the mask roi={self.roi} is above 0")
        blocks: list[Block] = []
        start = 0
        for session, path in zip(self._sessions(subject), self._files(subject)):
            n_trials = runs_of(subject, session) * TRIALS_PER_RUN
            blocks.append((start, start + n_trials, partial(self._session, path, index, brain.shape, n_trials)))
            start += n_trials
        rois = {roi: volume[kept] for roi, volume in volumes.items()}
        return blocks, voxel_space(index, brain.shape, affine), _with_both_sides(rois)

    def _session(self, path: Path, index: np.ndarray, grid_shape: tuple[int, ...], n_trials: int) -> np.ndarray:
        found = n_volumes(path, grid_shape, "a session's betas", REMEDY)
        if found != n_trials:
            raise DataError(f"{path}: expected {n_trials} trials, found {found}; is it of another session or subject?")
        signal = read_masked(path, index)
        # Checked here too, so that a broken session stops a long preparation at once and is named.
        check_positions(bad_positions(signal), str(path), "voxels", None, self.bad_positions)
        return signal

    def _arrays(self, subject: str, shown: np.ndarray) -> tuple[list[Block], Space, dict[str, np.ndarray]]:
        arrays, sizes = [], []
        for path in self._files(subject):
            need_file(path, "a ROI's betas", REMEDY)
            with reading(path, "npy"):
                array = np.load(path, mmap_mode="r", allow_pickle=False)
            if array.ndim != 2 or len(array) != len(shown) or array.dtype.kind != "f":
                raise DataError(
                    f"{path}: expected floats ({len(shown)}, voxel), one row a trial of {subject}, found {array.dtype} "
                    f"{array.shape}"
                )
            arrays.append(array)
            sizes.append(array.shape[1])
        rows = np.flatnonzero(shown)
        blocks: list[Block] = []
        for start in range(0, len(rows), _BLOCK):
            part = rows[start : start + _BLOCK]
            blocks.append((start, start + len(part), partial(_joined, arrays, part)))
        edges = np.cumsum([0, *sizes])
        rois = {}
        for number, name in enumerate(ROI_NAMES):
            rois[name] = np.zeros(edges[-1], dtype=bool)
            rois[name][edges[number] : edges[number + 1]] = True
        return blocks, Space(kind="voxels", size=int(edges[-1])), _with_both_sides(rois)


def _joined(arrays: Sequence[np.ndarray], rows: np.ndarray) -> np.ndarray:
    return np.concatenate([array[rows] for array in arrays], axis=1).astype(np.float32)


def _with_both_sides(rois: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The ROIs of each hemisphere and, under the bare name (``PPA``), of both together."""
    sides = {roi: [rois[side + roi] for side in HEMISPHERES if side + roi in rois] for roi in ROIS}
    return {**rois, **{roi: np.logical_or.reduce(masks) for roi, masks in sides.items() if masks}}
