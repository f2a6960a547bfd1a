"""NSD's BOLD time series around each picture, for decoders that read the response over time.

Source: NSD data manual, "Time-series data".

Legend: N trials, S voxels, T volumes of a trial, V volumes of a run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from braindec.contracts import Progress
from braindec.datasets.cache import Block, assemble
from braindec.datasets.files import BadPositions, check_positions, fingerprint, need_file, reading
from braindec.datasets.nsd import layout
from braindec.datasets.nsd.design import stimulus_id
from braindec.datasets.nsd.reader import NSD, mask_space
from braindec.datasets.nsd.rois import Mask, read_mask, read_rois
from braindec.types import DataError, Trials

TR_S = 4 / 3
N_VOLUMES = 225
N_RUNS = len(layout.RUN_LENGTHS)


class NSDTimeSeries(NSD):
    """Volumes from each picture's onset on, float32 (trial, voxel, volume), percent of the voxel's run mean.

    A run's linear trend is removed first; runs hold pictures of both partitions, so neither that nor the mean sees
    what was shown. Pictures, partitions, sessions and ids are those of `braindec.datasets.nsd.reader.NSD`; of a
    session's 14 runs the first and last are rest.

    Parameters
    ----------
    root, generation, subject_names, roi, sessions, cache_dir, captions, bad_positions : as in
        `braindec.datasets.nsd.reader.NSD`.
    first_volume, n_volumes : the trial's volumes, counted from the one at which the picture comes on (4/3 s each).
    """

    name = "nsd_timeseries"

    def __init__(
        self,
        root: str,
        generation: layout.Generation = "nsd40",
        subject_names: Sequence[str] | None = None,
        roi: str = "nsdgeneral",
        sessions: int | Sequence[int] | None = None,
        first_volume: int = 2,
        n_volumes: int = 6,
        cache_dir: str | None = None,
        captions: str | None = None,
        bad_positions: BadPositions = "raise",
    ) -> None:
        super().__init__(
            root,
            generation,
            subject_names,
            roi,
            sessions=sessions,
            cache_dir=cache_dir,
            captions=captions,
            bad_positions=bad_positions,
        )
        if first_volume < 0 or n_volumes < 1:
            raise DataError(f"nsd_timeseries: first_volume={first_volume}, n_volumes={n_volumes} must be >= 0 and >= 1")
        self.first_volume = first_volume
        self.n_volumes = n_volumes

    def _files(self, subject: str, session: int) -> tuple[Path, ...]:
        """A session's picture runs, without the two runs of rest."""
        runs = range(1, N_RUNS + 1)
        if layout.timeseries_file(Path(self.root), subject, session, N_RUNS + 2).is_file():
            runs = range(2, N_RUNS + 2)
        return tuple(layout.timeseries_file(Path(self.root), subject, session, run) for run in runs)

    def _folder(self, cache_dir: Path, subject: str) -> Path:
        folder = super()._folder(cache_dir, subject)
        return folder.with_name(f"{folder.name}-volumes{self.first_volume}-{self.n_volumes}")

    def _trials(self, subject: str, cache_dir: Path | None, progress: Progress) -> Trials:
        root = Path(self.root)
        table = self._table(subject)
        self._check_present(subject)
        mask = read_mask(root, subject, self.roi, "nifti")
        blocks: list[Block] = []
        files: list[Path] = []
        start = 0
        for session in self._sessions(subject):
            for path, length in zip(self._files(subject, session), layout.RUN_LENGTHS):
                expected = table["stimulus_id"].iloc[start : start + length].tolist()
                blocks.append((start, start + length, partial(self._run, path, mask, expected)))
                files.append(path)
                start += length
        folder = None if cache_dir is None else self._folder(cache_dir, subject)
        packed = b"".join(np.packbits(part).tobytes() for part in mask.parts)
        source = {"runs": fingerprint(files), "mask": hashlib.sha256(packed).hexdigest()[:12]}
        shape = (len(table), mask.size, self.n_volumes)
        signal, bad = assemble(folder, shape, blocks, source, progress, f"{self.name} {subject}")
        kept = check_positions(bad, f"{root} {subject}", "voxels", None, self.bad_positions)
        trials = Trials(
            subject=subject,
            signal=signal,
            unit="psc",
            space=mask_space(mask),
            rois=read_rois(root, subject, mask, "nifti"),
            times_s=(self.first_volume + np.arange(self.n_volumes)) * TR_S,
            table=table,
        )
        return trials if kept.all() else trials.select_space(kept)

    def _run(self, path: Path, mask: Mask, expected: Sequence[str]) -> np.ndarray:
        """One run's trials float32 (N, S, T)."""
        from scipy.signal import detrend

        onsets = _onsets(_design_of(path), expected)
        end = int(onsets.max()) + self.first_volume + self.n_volumes
        if end > N_VOLUMES:
            raise DataError(
                f"{path}: the last picture comes on at volume {int(onsets.max())} of {N_VOLUMES}, so first_volume + "
                f"n_volumes can be at most {N_VOLUMES - int(onsets.max())}"
            )
        bold_vs = read_run(path, mask).astype(np.float32)
        mean = bold_vs.mean(axis=0)
        dead = (np.ptp(bold_vs, axis=0) == 0) | ~np.isfinite(mean) | (mean == 0)
        check_positions(dead, str(path), "voxels", None, self.bad_positions)
        percent = np.zeros_like(bold_vs)
        percent[:, ~dead] = 100 * detrend(bold_vs[:, ~dead], axis=0) / mean[~dead]
        volumes = onsets[:, None] + self.first_volume + np.arange(self.n_volumes)
        return np.ascontiguousarray(percent[volumes].transpose(0, 2, 1), dtype=np.float32)


def read_run(path: Path, mask: Mask) -> np.ndarray:
    """A run's first 225 volumes within the mask, (V, S), streamed volume by volume in their own type.

    Raises
    ------
    DataError
        If the file is missing, cut, of another grid, or has neither 225 nor 226 volumes.
    """
    import nibabel
    from nibabel.openers import ImageOpener

    need_file(path, "a run's time series", layout.REMEDY)
    with reading(path, "NIfTI"):
        image: Any = nibabel.load(path)
        proxy = image.dataobj
        shape = mask.parts[0].shape
        if proxy.shape[:3] != shape or proxy.shape[3:] not in ((N_VOLUMES,), (N_VOLUMES + 1,)):
            raise DataError(f"{path}: expected volumes {(*shape, N_VOLUMES)} (or one more), found {proxy.shape}")
        flat = np.ravel_multi_index(tuple(mask.grid_index.T), shape, order="F")
        n_bytes = int(np.prod(shape)) * proxy.dtype.itemsize
        out = np.empty((N_VOLUMES, len(flat)), dtype=proxy.dtype.newbyteorder("="))
        with ImageOpener(str(path)) as file:
            file.seek(int(proxy.offset))
            for volume in range(N_VOLUMES):
                raw = file.read(n_bytes)
                if len(raw) != n_bytes:
                    raise DataError(f"{path}: cut short in volume {volume + 1} of {N_VOLUMES}; download it again")
                out[volume] = np.frombuffer(raw, dtype=proxy.dtype)[flat]
    return out * proxy.slope + proxy.inter if (proxy.slope, proxy.inter) != (1, 0) else out


def _design_of(path: Path) -> Path:
    name = path.name.replace("timeseries_", "design_").replace(".nii.gz", ".tsv")
    return path.parent.parent / "design" / name


def _onsets(path: Path, expected: Sequence[str]) -> np.ndarray:
    """Volumes at which the run's pictures come on, after comparing them with the experiment's design."""
    need_file(path, "a run's design", layout.REMEDY)
    with reading(path, "text table"):
        codes = pd.read_csv(path, sep="\t", header=None).to_numpy(dtype=np.int64).ravel()
    onsets = np.flatnonzero(codes)
    shown = [stimulus_id(int(code) - 1) for code in codes[onsets]]
    if len(codes) not in (N_VOLUMES, N_VOLUMES + 1) or shown != list(expected):
        raise DataError(
            f"{path}: expected {N_VOLUMES} rows with the {len(expected)} pictures that nsd_expdesign.mat lists "
            f"({expected[0]}, ...), found {len(codes)} rows with {len(shown)} pictures ({', '.join(shown[:1])}, ...)"
        )
    return onsets


def write_fake(root: str | Path, rest_runs: bool = True, seed: int = 0) -> None:
    """Write one session of ``subj01`` beside `braindec.datasets.nsd.fake.write_fake`'s files: 226 volumes a run, each
    picture's colour raising the voxels four volumes after its onset."""
    from braindec.datasets.nsd.design import read_design
    from braindec.datasets.nsd.fake import write_fake as write_betas
    from braindec.datasets.nsd.fake import write_nifti

    root = Path(root)
    rng = np.random.default_rng(seed)
    write_betas(root, seed=seed)
    mask = read_mask(root, "subj01", "nsdgeneral", "nifti")
    numbers = read_design(root).shown("subj01")[: layout.TRIALS_PER_SESSION]
    first, start = (2 if rest_runs else 1), 0
    for run in range(1, N_RUNS + 1 + (2 if rest_runs else 0)):
        length = layout.RUN_LENGTHS[run - first] if 0 <= run - first < N_RUNS else 0
        codes = np.zeros(N_VOLUMES + 1, dtype=np.int64)
        codes[3 + 3 * np.arange(length)] = numbers[start : start + length] + 1
        start += length
        bold = rng.normal(1000, 2, (*mask.parts[0].shape, N_VOLUMES + 1))
        for onset in np.flatnonzero(codes):
            bold[mask.parts[0], onset + 4] += 20.0 * (codes[onset] % 2)
        write_nifti(layout.timeseries_file(root, "subj01", 1, run), bold.astype(np.int16))
        path = layout.timeseries_design_file(root, "subj01", 1, run)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(map(str, codes)) + "\n")
