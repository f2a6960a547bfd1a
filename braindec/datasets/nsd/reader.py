"""The Natural Scenes Dataset: single-trial betas of eight people who saw thousands of photographs.

Source: Allen et al. 2022, Nature Neuroscience 25:116-126, and the NSD data manual.

Legend: N trials, S voxels or vertices.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from braindec.contracts import Progress
from braindec.datasets.cache import Block, assemble
from braindec.datasets.cached import CachedReader
from braindec.datasets.files import BadPositions, bad_positions, check_positions, fingerprint
from braindec.datasets.nsd import betas as beta_files
from braindec.datasets.nsd.design import (
    check_responses,
    read_design,
    read_stim_info,
    released_sessions,
    stimulus_id,
    trial_table,
)
from braindec.datasets.nsd.layout import (
    BETAS,
    REMEDY,
    SUBJECTS,
    TRIALS_PER_SESSION,
    BetaFormat,
    Generation,
    betas_file,
    check_subject,
    design_file,
    responses_file,
    roi_files,
    stim_info_file,
    stimuli_file,
    surface_files,
)
from braindec.datasets.nsd.rois import Mask, read_mask, read_ncsnr, read_rois
from braindec.datasets.nsd.stimuli import Hdf5Images, read_captions
from braindec.types import DataError, Space, Stimuli, Trials


class NSD(CachedReader):
    """Single-trial betas in percent signal change, float32 (trial, voxel, 1), in order of presentation.

    Sessions and runs are 1-based as published, repetitions count a picture's showings from 0 over the whole
    experiment, stimulus ids are ``nsd`` and the 0-based 73k number. The 1000 pictures that all subjects share are the
    test part, all others train. Pictures have no concept: the column is empty. Nothing is standardised or averaged.

    Parameters
    ----------
    root : folder that holds ``nsddata``, ``nsddata_betas`` and ``nsddata_stimuli``.
    generation : ``nsd40`` all sessions (9000 training and 1000 test pictures for subjects 1, 2, 5 and 7); ``nsd37``
        all but each subject's last three, the release of 2021 (8859 and 982).
    subject_names : subjects to use; None: those whose betas are on disk.
    roi : mask file whose positions above 0 are read.
    betas : name of the beta version.
    storage : ``hdf5`` or ``nifti`` volumes (func1pt8mm), or ``fsaverage`` surface.
    sessions : use only these 1-based sessions; an int n means the first n (1: the one-hour setting); None: all that
        ``generation`` released.
    cache_dir : where masked signals are kept for memory-mapping; None: they are read into memory each time.
    captions : COCO captions file or folder, or None for no captions.
    bad_positions : what to do with voxels that are constant over a session, or not finite.
    """

    name = "nsd"

    def __init__(
        self,
        root: str,
        generation: Generation = "nsd40",
        subject_names: Sequence[str] | None = None,
        roi: str = "nsdgeneral",
        betas: str = BETAS,
        storage: BetaFormat = "hdf5",
        sessions: int | Sequence[int] | None = None,
        cache_dir: str | None = None,
        captions: str | None = None,
        bad_positions: BadPositions = "raise",
    ) -> None:
        self.root = root
        self.generation = generation
        self.subject_names = subject_names
        self.roi = roi
        self.betas = betas
        self.storage = storage
        self.sessions = sessions
        self.cache_dir = cache_dir
        self.captions = captions
        self.bad_positions = bad_positions

    def subjects(self) -> tuple[str, ...]:
        """``subj01`` .. ``subj08``: the named ones, or those on disk; `DataError` when there is none."""
        if self.subject_names is not None:
            for subject in self.subject_names:
                check_subject(subject)
            return tuple(self.subject_names)
        found = tuple(subject for subject in SUBJECTS if self._files(subject, 1)[0].parent.is_dir())
        if not found:
            folder = self._files(SUBJECTS[0], 1)[0].parent
            raise DataError(f"{folder}: no subject's betas are there (nor for subj02 .. subj08); {REMEDY}")
        return found

    def stimuli(self) -> Stimuli:
        """Every picture shown to `subjects` in the released sessions, read by rows when asked for.

        Raises
        ------
        DataError
            If the design, the pictures, or a caption that was asked for is missing.
        """
        design = read_design(Path(self.root))
        shown = [
            design.shown(subject)[: TRIALS_PER_SESSION * len(released_sessions(subject, self.generation))]
            for subject in self.subjects()
        ]
        numbers = np.unique(np.concatenate(shown))
        images = Hdf5Images(stimuli_file(Path(self.root)), numbers)
        captions = None
        if self.captions is not None:
            info = read_stim_info(Path(self.root), design, self.subjects()[0])
            captions = read_captions(Path(self.captions), info, numbers)
        return Stimuli(ids=tuple(map(stimulus_id, numbers.tolist())), images=images, captions=captions)

    def version(self) -> str:
        """12 hexadecimal digits from the design, the mask and the betas of every subject, and the options."""
        root = Path(self.root)
        read_design(root)
        paths = [design_file(root)]
        for subject in self.subjects():
            paths += [path for path in roi_files(root, subject, self.roi, self.storage) if path.is_file()]
            for session in self._sessions(subject):
                paths += [path for path in self._files(subject, session) if path.is_file()]
        options = (self.generation, self.subjects(), self.roi, self.betas, self.storage, self.sessions)
        return fingerprint(paths, repr(options))

    def _sessions(self, subject: str) -> tuple[int, ...]:
        released = released_sessions(subject, self.generation)
        if self.sessions is None:
            return released
        chosen = tuple(range(1, self.sessions + 1)) if isinstance(self.sessions, int) else tuple(self.sessions)
        outside = [session for session in chosen if session not in released]
        if outside or not chosen or list(chosen) != sorted(set(chosen)):
            raise DataError(
                f"nsd: sessions={self.sessions!r} must be distinct, increasing and within 1..{released[-1]}, the "
                f"sessions of {subject} in {self.generation}"
            )
        return chosen

    def _files(self, subject: str, session: int) -> tuple[Path, ...]:
        if self.storage == "fsaverage":
            return surface_files(Path(self.root), subject, self.betas, session)
        if self.storage not in ("hdf5", "nifti"):
            raise DataError(f"nsd: storage={self.storage!r}; expected 'hdf5', 'nifti' or 'fsaverage'")
        return (betas_file(Path(self.root), subject, self.betas, self.storage, session),)

    def _table(self, subject: str) -> pd.DataFrame:
        root = Path(self.root)
        design = read_design(root)
        table = trial_table(design, subject, self._sessions(subject))
        if responses_file(root, subject).is_file():
            check_responses(root, subject, table)
        if stim_info_file(root).is_file():
            read_stim_info(root, design, subject)
        return table

    def _folder(self, cache_dir: Path, subject: str) -> Path:
        options = (self.generation, self._sessions(subject), self.roi, self.betas, self.storage)
        key = hashlib.sha256(repr(options).encode()).hexdigest()[:10]
        return cache_dir / f"nsd-{subject}-{self.roi}-{key}"

    def _check_present(self, subject: str) -> None:
        sessions = self._sessions(subject)
        lacking = [s for s in sessions if not all(path.is_file() for path in self._files(subject, s))]
        if lacking:
            raise DataError(
                f"{self._files(subject, lacking[0])[0]}: {len(lacking)} of {len(sessions)} sessions of {subject} are "
                f"missing ({lacking}); name those you have with sessions=, or {REMEDY}"
            )

    def _trials(self, subject: str, cache_dir: Path | None, progress: Progress) -> Trials:
        """Raises `DataError` also if a file is another subject's, or the sources of the design disagree.

        With a cache, memory stays below one masked session.
        """
        root = Path(self.root)
        table = self._table(subject)
        self._check_present(subject)
        mask = read_mask(root, subject, self.roi, self.storage)
        rois = read_rois(root, subject, mask, self.storage)
        ceiling = read_ncsnr(root, subject, mask, self.betas, self.storage)
        signal, bad = self._signal(subject, mask, len(table), cache_dir, progress)
        kept = check_positions(bad, f"{root} {subject}", "positions", None, self.bad_positions)
        trials = Trials(
            subject=subject,
            signal=signal[:, :, None],
            unit="psc",
            space=mask_space(mask),
            rois=rois,
            table=table,
            noise_ceiling=ceiling,
        )
        return trials if kept.all() else trials.select_space(kept)

    def _signal(
        self, subject: str, mask: Mask, n_trials: int, cache_dir: Path | None, progress: Progress
    ) -> tuple[np.ndarray, np.ndarray]:
        """Signal float32 (N, S), and boolean (S,) of positions that are dead in some session."""
        sessions = self._sessions(subject)
        n = TRIALS_PER_SESSION
        blocks: list[Block] = [
            (i * n, (i + 1) * n, partial(self._session, subject, session, mask)) for i, session in enumerate(sessions)
        ]
        if cache_dir is None:
            return assemble(None, (n_trials, mask.size), blocks, {}, progress, f"nsd {subject}")
        files = [path for session in sessions for path in self._files(subject, session)]
        mask_hash = hashlib.sha256(b"".join(np.packbits(part).tobytes() for part in mask.parts)).hexdigest()[:12]
        source = {"betas": fingerprint(files), "mask": mask_hash}
        folder = self._folder(cache_dir, subject)
        return assemble(folder, (n_trials, mask.size), blocks, source, progress, f"nsd {subject}")

    def _session(self, subject: str, session: int, mask: Mask) -> np.ndarray:
        """One session's signal float32 (750, S)."""
        files = self._files(subject, session)
        if self.storage == "fsaverage":
            stored = beta_files.read_surface(files, mask.parts, TRIALS_PER_SESSION)
        else:
            read = beta_files.read_hdf5 if self.storage == "hdf5" else beta_files.read_nifti
            stored = read(files[0], mask.grid_index, mask.parts[0].shape, TRIALS_PER_SESSION)
        # Checked here too, so that a broken session stops a long preparation at once and is named.
        check_positions(bad_positions(stored), str(files[0]), "positions", None, self.bad_positions)
        return beta_files.to_psc(stored)


def mask_space(mask: Mask) -> Space:
    """The `Space` of a mask: voxels with their grid and world positions, or vertices of both hemispheres."""
    if len(mask.parts) == 2:
        return Space(kind="vertices", size=mask.size)
    affine = np.eye(4) if mask.affine is None else mask.affine
    index = mask.grid_index
    shape = mask.parts[0].shape
    return Space(
        kind="voxels",
        size=mask.size,
        positions_m=(index @ affine[:3, :3].T + affine[:3, 3]) / 1000,
        grid_index=index,
        grid_shape=(shape[0], shape[1], shape[2]),
        affine=affine,
    )
