"""Single-trial betas that GLMsingle made from a BIDS data set.

Source: Prince et al. 2022, "Improving the accuracy of single-trial fMRI response estimates using GLMsingle", eLife
11:e77599, and the output files of its Python and MATLAB versions.

Legend: N trials, S voxels, X Y Z grid.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from braindec.datasets.bids_runs import REMEDY, BIDSRuns
from braindec.datasets.files import BadPositions, bad_positions, check_positions, fingerprint, reading
from braindec.datasets.nifti import read_grid, voxel_space
from braindec.datasets.safe_pickle import load
from braindec.types import DataError, Trials

OUTPUT = "TYPED_FITHRF_GLMDENOISE_RR"
KEYS = {".hdf5": "betasmd", ".npy": "betasmd", ".mat": "modelmd"}


class BIDSGLMsingle(BIDSRuns):
    """Betas float32 (trial, voxel, 1) in percent signal change, in the order of the runs' events.

    GLMsingle was run on all runs of a subject together (``sub-01/``) or of each session (``sub-01/ses-01/``); it lists
    trials run by run in order of onset, as the events do. Its HRFs, noise regressors and ridge fractions were chosen
    with every trial in view: keep that in mind where test trials are among them.

    Parameters
    ----------
    root, task, stimulus, concept, images, image_size_px : as in `braindec.datasets.bids.BIDSMEEG`.
    derivatives : GLMsingle's folder below ``root``.
    output : name of the output file without ending; ``.hdf5``, ``.npy`` and MATLAB's ``.mat`` are read.
    mask : NIfTI file in the subject's folder; voxels above 0 are decoded. Where GLMsingle was given a list of voxels
        instead of volumes, they must be the mask's, in C order.
    bad_positions : what to do with voxels that are constant, or not finite.
    """

    name = "bids_glmsingle"

    def __init__(
        self,
        root: str,
        task: str,
        stimulus: str = "stim_file",
        concept: str | None = None,
        derivatives: str = "derivatives/glmsingle",
        output: str = OUTPUT,
        mask: str = "brain_mask.nii.gz",
        images: str = "stimuli",
        image_size_px: int | None = None,
        bad_positions: BadPositions = "raise",
    ) -> None:
        super().__init__(root, task, stimulus, concept, images, image_size_px)
        self.derivatives = derivatives
        self.output = output
        self.mask = mask
        self.bad_positions: BadPositions = bad_positions

    def trials(self, subject: str) -> Trials:
        """All trials of a subject.

        Raises
        ------
        DataError
            If a file is missing or cut, betas and events differ in number, a grid is not the mask's, a pickle holds
            more than arrays, or voxels are dead.
        """
        events = [self.events(path) for path in self.runs(subject)]
        mask_file = self._folder(subject) / self.mask
        values, affine = read_grid(mask_file, "the mask", REMEDY)
        kept = values > 0
        if not kept.any():
            raise DataError(f"{mask_file}: the mask has no voxel above 0")
        table = self.table(events)
        parts = []
        for path, session in self._outputs(subject):
            count = len(table) if session is None else int((table["session"] == session).sum())
            parts.append(_read(path, kept, count))
        signal = np.concatenate(parts)
        if len(signal) != len(table):
            raise DataError(
                f"{self._folder(subject)}: {len(signal)} betas for {len(table)} events that name a stimulus; is a "
                "session missing?"
            )
        good = check_positions(bad_positions(signal), str(mask_file), "voxels", None, self.bad_positions)
        space = voxel_space(np.argwhere(kept), kept.shape, affine)
        trials = Trials(subject=subject, signal=signal[:, :, None], unit="psc", space=space, table=table)
        return trials if good.all() else trials.select_space(good)

    def version(self) -> str:
        """12 hexadecimal digits from every subject's events, betas and mask."""
        paths = [path for subject in self.subjects() for path in self.runs(subject)]
        for subject in self.subjects():
            paths += [path for path, _ in self._outputs(subject)] + [self._folder(subject) / self.mask]
        return fingerprint(paths, repr(sorted((k, v) for k, v in vars(self).items() if k != "root")))

    def _folder(self, subject: str) -> Path:
        return Path(self.root) / self.derivatives / subject

    def _outputs(self, subject: str) -> list[tuple[Path, int | None]]:
        """The subject's one file, or one a session with the session's number."""
        folder = self._folder(subject)
        for ending in KEYS:
            whole = folder / f"{self.output}{ending}"
            if whole.is_file():
                return [(whole, None)]
            by_session = sorted(folder.glob(f"ses-*/{self.output}{ending}"))
            if by_session:
                return [(path, int("".join(filter(str.isdigit, path.parent.name)) or 1)) for path in by_session]
        raise DataError(
            f"{folder / self.output}.hdf5: GLMsingle's betas are missing (nor is there .npy, .mat, or one a session in "
            f"ses-*/); {REMEDY}"
        )


def _read(path: Path, kept: np.ndarray, n_trials: int) -> np.ndarray:
    """Betas float32 (N, S) of the voxels ``kept`` (X, Y, Z)."""
    key = KEYS[path.suffix]
    if path.suffix == ".npy":
        content = load(path)
        if not isinstance(content, dict) or key not in content:
            raise DataError(f"{path}: expected GLMsingle's dictionary with {key!r}, found {type(content).__name__}")
        return _masked(path, content[key], kept, n_trials)
    import h5py

    with reading(path, "HDF5"), h5py.File(path, "r") as file:
        if key not in file:
            raise DataError(f"{path}: expected the data set {key!r}, found {sorted(file)[:5]}")
        stored = file[key]
        # MATLAB writes its axes in reverse.
        return _masked(path, _Reversed(stored) if path.suffix == ".mat" else stored, kept, n_trials)


class _Reversed:
    """A stored array with its axes in reverse, read one first index at a time."""

    def __init__(self, stored: Any) -> None:
        self._stored = stored
        self.shape = tuple(reversed(stored.shape))

    def __getitem__(self, first: int) -> np.ndarray:
        return np.asarray(self._stored[..., first]).T


def _masked(path: Path, stored: Any, kept: np.ndarray, n_trials: int) -> np.ndarray:
    shape, n_voxels = tuple(stored.shape), int(kept.sum())
    if shape == (*kept.shape, n_trials):
        rows = [np.asarray(stored[x])[kept[x]] for x in range(len(kept)) if kept[x].any()]
        return np.concatenate(rows).T.astype(np.float32)
    if shape in ((n_voxels, 1, 1, n_trials), (n_voxels, n_trials)):
        out = np.empty((n_trials, n_voxels), dtype=np.float32)
        for voxel in range(n_voxels):
            out[:, voxel] = np.asarray(stored[voxel]).reshape(n_trials)
        return out
    raise DataError(
        f"{path}: expected betas {(*kept.shape, n_trials)} (x, y, z, event that names a stimulus), or of the mask's "
        f"{n_voxels} voxels, found {shape}; the mask, the events or the betas belong to another subject"
    )


def write_fake(root: str | Path, seed: int = 0) -> None:
    """Write a BIDS folder with two subjects, two runs of task ``scan`` and GLMsingle's outputs.

    ``sub-01`` has one HDF5 file of volumes; ``sub-02`` the pickled ``.npy`` of a list of voxels. Even stimuli raise
    all voxels by 2%.
    """
    import h5py
    import nibabel

    from braindec.datasets.bids import write_fake as write_runs

    root = Path(root)
    write_runs(root, seed)
    rng = np.random.default_rng(seed + 1)
    dataset = BIDSGLMsingle(str(root), "scan")
    mask = np.ones((4, 3, 2), dtype=np.uint8)
    mask[0] = 0
    for subject in dataset.subjects():
        ids = [i for path in dataset.runs(subject) for i in dataset.events(path)["stimulus_id"]]
        betas = rng.normal(0, 0.5, (*mask.shape, len(ids))) + 2.0 * np.isin(ids, ["s0.png", "s2.png"])
        folder = root / dataset.derivatives / subject
        folder.mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(mask, np.diag([2.0, 2.0, 2.0, 1.0])), folder / "brain_mask.nii.gz")
        if subject == "sub-01":
            with h5py.File(folder / f"{OUTPUT}.hdf5", "w") as file:
                file["betasmd"] = betas.astype(np.float32)
        else:
            flat = betas[mask > 0].astype(np.float32)[:, None, None, :]
            outputs: Any = {"betasmd": flat, "R2": np.ones((len(flat), 1, 1)), "HRFindex": None}
            np.save(folder / f"{OUTPUT}.npy", outputs, allow_pickle=True)
