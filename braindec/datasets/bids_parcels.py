"""Parcel time series around each event of any BIDS fMRI data set that fMRIPrep has preprocessed.

Legend: N trials, P parcels, T volumes of a trial, V volumes of a run, S voxels.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from braindec.contracts import Progress
from braindec.datasets.bids_runs import BIDSRuns
from braindec.datasets.cache import Block, assemble
from braindec.datasets.cached import CachedReader
from braindec.datasets.files import BadPositions, check_positions, fingerprint
from braindec.datasets.fmriprep import REMEDY, outputs, repetition_time, runs_in_space
from braindec.datasets.nifti import n_volumes, read_grid, read_masked
from braindec.datasets.parcels import Parcels, read_networks, read_parcels, resolve_atlas
from braindec.types import DataError, Series, Trials


class BIDSParcels(CachedReader, BIDSRuns):
    """Volumes from each event on, float32 (trial, parcel, volume), percent of the parcel's run mean.

    A run's linear trend is removed first; neither that nor the mean sees what was shown.

    Parameters
    ----------
    root, task, stimulus, concept, images, image_size_px : as in `braindec.datasets.bids.BIDSMEEG`.
    atlas : path of a NIfTI atlas, labels (x, y, z) or maps (x, y, z, parcel), see `read_parcels`; or ``difumo-1024``
        where nilearn keeps it, see `resolve_atlas`. DiFuMo's parcels have their Yeo-7 networks as ROIs.
    derivatives : fMRIPrep's folder below ``root``.
    space : the ``space-`` entity of the volumes, which must be the atlas' space.
    first_volume, n_volumes : the trial's volumes, counted from the first that begins at or after the event.
    repetition_time_s : seconds from volume to volume; None: as the volumes' JSON file says.
    cache_dir : where signals are kept for memory-mapping; None: they are computed each time.
    bad_positions : what to do with parcels that are constant, or not finite.
    """

    name = "bids_parcels"

    def __init__(
        self,
        root: str,
        task: str,
        atlas: str,
        stimulus: str = "stim_file",
        concept: str | None = None,
        derivatives: str = "derivatives/fmriprep",
        space: str = "MNI152NLin2009cAsym",
        first_volume: int = 0,
        n_volumes: int = 5,
        repetition_time_s: float | None = None,
        images: str = "stimuli",
        image_size_px: int | None = None,
        cache_dir: str | None = None,
        bad_positions: BadPositions = "raise",
    ) -> None:
        super().__init__(root, task, stimulus, concept, images, image_size_px)
        if first_volume < 0 or n_volumes < 1:
            raise DataError(f"{self.name}: first_volume={first_volume}, n_volumes={n_volumes} must be >= 0 and >= 1")
        self.atlas = atlas
        self.derivatives = derivatives
        self.space = space
        self.first_volume = first_volume
        self.n_volumes = n_volumes
        self.repetition_time_s = repetition_time_s
        self.cache_dir = cache_dir
        self.bad_positions: BadPositions = bad_positions

    def scanned(self) -> tuple[str, ...]:
        """Everybody with volumes in the space, of whatever task. Raises `DataError` when there is nobody."""
        folder = Path(self.root) / self.derivatives
        found = sorted({stem.split("_")[0] for stem in runs_in_space(folder, "sub-*", self.space)})
        if not found:
            raise DataError(f"{folder}: no volumes of space-{self.space}; {REMEDY}")
        return tuple(found)

    def series(self, subject: str) -> tuple[Series, ...]:
        """All runs of a subject in the space, of every task, rest included: percent of the parcel's run mean.

        Raises
        ------
        DataError
            If there are no volumes, a file is missing or cut, or a parcel has no voxel or is dead.
        """
        runs = runs_in_space(Path(self.root) / self.derivatives, subject, self.space)
        if not runs:
            raise DataError(f"{self.root}/{self.derivatives}: no volumes of {subject} in space-{self.space}; {REMEDY}")
        pattern = f"**/{subject}_*task-{self.task}_*events.tsv"
        events = {path.name.removesuffix("_events.tsv"): path for path in (Path(self.root) / subject).glob(pattern)}
        found = []
        for stem, (volumes, mask) in runs.items():
            brain, affine = read_grid(mask, "the brain mask", REMEDY)
            brain = brain > 0
            n_volumes(volumes, brain.shape, "a run's preprocessed volumes", REMEDY)
            parcels = read_parcels(resolve_atlas(self.atlas), brain, affine)
            signal = self._percent(volumes, np.argwhere(brain), parcels).astype(np.float32)
            holds_test = stem in events and bool((self.events(events[stem])["split"] == "test").any())
            rate_s = repetition_time(volumes, self.repetition_time_s)
            found.append(Series(subject, stem, signal, parcels.space, rate_s, holds_test))
        return tuple(found)

    def recording(self, events: Path) -> Path:
        """fMRIPrep's volumes of the run."""
        return outputs(Path(self.root), self.derivatives, events, self.space)[0]

    def version(self) -> str:
        """12 hexadecimal digits from every run's events and volumes, the atlas and the options."""
        paths = [path for subject in self.subjects() for path in self.runs(subject)]
        paths += [path for path in [*map(self.recording, paths), resolve_atlas(self.atlas)] if path.is_file()]
        return fingerprint(paths, self._options())

    def _options(self) -> str:
        leave = ("root", "cache_dir", "images", "image_size_px")
        return repr(sorted((key, value) for key, value in vars(self).items() if key not in leave))

    def _folder(self, cache_dir: Path, subject: str) -> Path:
        return cache_dir / f"{self.name}-{subject}-{hashlib.sha256(self._options().encode()).hexdigest()[:10]}"

    def _trials(self, subject: str, cache_dir: Path | None, progress: Progress) -> Trials:
        """Raises `DataError` also where runs differ in grid or repetition time, or a trial leaves its run."""
        runs = self.runs(subject)
        events = [self.events(path) for path in runs]
        brain, affine = read_grid(
            outputs(Path(self.root), self.derivatives, runs[0], self.space)[1], "the brain mask", REMEDY
        )
        brain = brain > 0
        volumes = [self.recording(path) for path in runs]
        counts = [n_volumes(path, brain.shape, "a run's preprocessed volumes", REMEDY) for path in volumes]
        rates = {repetition_time(path, self.repetition_time_s) for path in volumes}
        if len(rates) != 1:
            raise DataError(f"{self.root}/{subject}: its runs have different repetition times {sorted(rates)}")
        rate_s = rates.pop()
        parcels = read_parcels(resolve_atlas(self.atlas), brain, affine)
        blocks: list[Block] = []
        start = 0
        for path, own, count in zip(volumes, events, counts):
            first = self._first_volumes(path, own, count, rate_s)
            blocks.append((start, start + len(own), partial(self._run, path, np.argwhere(brain), parcels, first)))
            start += len(own)
        shape = (start, parcels.space.size, self.n_volumes)
        folder = None if cache_dir is None else self._folder(cache_dir, subject)
        source = {} if folder is None else {"files": fingerprint([*runs, *volumes, resolve_atlas(self.atlas)])}
        signal, bad = assemble(folder, shape, blocks, source, progress, f"{self.name} {subject}")
        kept = check_positions(bad, f"{self.root}/{subject}", "parcels", parcels.space.names, self.bad_positions)
        trials = Trials(
            subject=subject,
            signal=signal,
            unit="psc",
            space=parcels.space,
            rois=read_networks(resolve_atlas(self.atlas), parcels.space.size),
            times_s=(self.first_volume + np.arange(self.n_volumes)) * rate_s,
            table=self.table(events),
        )
        return trials if kept.all() else trials.select_space(kept)

    def _first_volumes(self, path: Path, events: pd.DataFrame, count: int, rate_s: float) -> np.ndarray:
        first = np.ceil(events["onset"].to_numpy() / rate_s - 1e-6).astype(np.int64) + self.first_volume
        outside = (first < 0) | (first + self.n_volumes > count)
        if outside.any():
            raise DataError(
                f"{path}: {int(outside.sum())} of {len(first)} trials leave the run of {count} volumes; is the run cut "
                "short, or are onsets in another unit?"
            )
        return np.asarray(first)

    def _run(self, path: Path, grid_index: np.ndarray, parcels: Parcels, first: np.ndarray) -> np.ndarray:
        """One run's trials float32 (N, P, T)."""
        percent_VP = self._percent(path, grid_index, parcels)
        return np.stack([percent_VP[start : start + self.n_volumes].T for start in first]).astype(np.float32)

    def _percent(self, path: Path, grid_index: np.ndarray, parcels: Parcels) -> np.ndarray:
        """One run's parcels float64 (V, P): without its linear trend, percent of the run mean."""
        from scipy.signal import detrend

        series_VP = parcels.values(read_masked(path, grid_index))
        mean_P = series_VP.mean(axis=0)
        if not (np.isfinite(mean_P) & (mean_P != 0)).all():
            raise DataError(f"{path}: a parcel's mean is 0 or not finite; are volumes and brain mask of one run?")
        return np.asarray(100 * detrend(series_VP, axis=0) / mean_P)


def write_fake(root: str | Path, seed: int = 0) -> None:
    """Write the BIDS folder of `braindec.datasets.bids.write_fake` and, in ``atlas.nii.gz``, three parcels of it."""
    import nibabel

    from braindec.datasets.bids import write_fake as write_runs

    write_runs(root, seed)
    labels = np.zeros((4, 3, 2), dtype=np.int16)
    labels[1:] = np.array([7, 3, 12])[:, None, None]
    nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), Path(root) / "atlas.nii.gz")
