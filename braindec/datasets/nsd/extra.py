"""NSD's two extra sessions as test sets: NSD-Imagery (seen and imagined pictures) and NSD-Synthetic.

Source: NSD data manual, "Functional data (nsdimagery)" and "Functional data (nsdsynthetic)"; Gifford et al. 2025
(NSD-Synthetic). The order of the twelve imagery runs in the beta file follows public analyses of the set; 720 betas
are 9 runs of 48 trials and 3 attention runs of 96 (a cue and a detection epoch a trial).

Legend: N trials, S voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from braindec.datasets.files import (
    BadPositions,
    ImageFiles,
    bad_positions,
    check_positions,
    fingerprint,
    need_file,
    number_repetitions,
    read_table,
    reading,
)
from braindec.datasets.nsd.betas import read_hdf5, read_nifti, to_psc
from braindec.datasets.nsd.layout import BETAS, REMEDY, SUBJECTS, check_subject
from braindec.datasets.nsd.reader import mask_space
from braindec.datasets.nsd.rois import read_mask, read_rois
from braindec.datasets.nsd.stimuli import Hdf5Images
from braindec.types import DataError, Stimuli, Trials

IMAGERY_RUNS = {
    "visA": 48, "attA": 96, "imgA_1": 48, "visB": 48, "attB": 96, "imgB_1": 48,
    "visC": 48, "attC": 96, "imgC_1": 48, "imgA_2": 48, "imgB_2": 48, "imgC_2": 48,
}  # fmt: skip
# The letter that cues a target -> the target's picture. Set C is cued by letters too, but its targets are words.
IMAGERY_TARGETS = {
    "H": "bar_000.0deg_450L_43W", "R": "bar_045.0deg_450L_43W", "V": "bar_090.0deg_450L_43W",
    "L": "bar_135.0deg_450L_43W", "P": "crs_000.0deg_450L_43W", "E": "crs_045.0deg_450L_43W",
    "W": "shared0385_nsd28752", "K": "shared0413_nsd30857", "B": "shared0741_nsd53882",
    "C": "shared0842_nsd61178", "D": "shared0907_nsd65873", "T": "shared0000_nsd00000",
}  # fmt: skip
N_IMAGERY, N_SYNTHETIC = 720, 744
N_GREY, N_COLOUR = 220, 64
SYNTHETIC_RUN = 93


class _ExtraSession:
    """What the two sessions have in common: one beta file a subject, NSD's own masks, test trials only."""

    name = ""
    experiment = ""
    n_betas = 0

    def __init__(
        self,
        root: str,
        subject_names: Sequence[str] | None = None,
        roi: str = "nsdgeneral",
        betas: str = BETAS,
        storage: Literal["hdf5", "nifti"] = "hdf5",
        bad_positions: BadPositions = "raise",
    ) -> None:
        self.root = root
        self.subject_names = subject_names
        self.roi = roi
        self.betas = betas
        self.storage = storage
        self.bad_positions = bad_positions

    def subjects(self) -> tuple[str, ...]:
        """``subj01`` .. ``subj08``: the named ones, or those on disk; `DataError` when there is none."""
        if self.subject_names is not None:
            return tuple(self.subject_names)
        found = tuple(subject for subject in SUBJECTS if self._file(subject).is_file())
        if not found:
            raise DataError(f"{self._file(SUBJECTS[0])}: missing, and so are the other subjects'; {REMEDY}")
        return found

    def version(self) -> str:
        """12 hexadecimal digits from every subject's betas, and the options."""
        return fingerprint([self._file(subject) for subject in self.subjects()], repr((self.roi, self.betas)))

    def _file(self, subject: str) -> Path:
        folder = Path(self.root) / "nsddata_betas" / "ppdata" / subject / "func1pt8mm"
        suffix = {"hdf5": "hdf5", "nifti": "nii.gz"}.get(self.storage)
        if suffix is None:
            raise DataError(f"{self.name}: storage={self.storage!r}; expected 'hdf5' or 'nifti'")
        return folder / f"{self.experiment}{self.betas}" / f"betas_{self.experiment}.{suffix}"

    def _read(self, subject: str, rows: np.ndarray, table: pd.DataFrame) -> Trials:
        root, path = Path(self.root), self._file(subject)
        mask = read_mask(root, subject, self.roi, "hdf5")
        read = read_hdf5 if self.storage == "hdf5" else read_nifti
        stored = read(path, mask.grid_index, mask.parts[0].shape, self.n_betas)
        kept = check_positions(bad_positions(stored), str(path), "voxels", None, self.bad_positions)
        trials = Trials(
            subject=subject,
            signal=to_psc(stored[rows])[:, :, None],
            unit="psc",
            space=mask_space(mask),
            rois=read_rois(root, subject, mask, "hdf5"),
            table=table,
        )
        return trials if kept.all() else trials.select_space(kept)


class NSDImagery(_ExtraSession):
    """Betas of pictures seen or imagined on a letter's cue, in percent signal change, all of them test trials.

    Stimuli are the twelve targets of sets A (bars, crosses) and B (photographs of NSD); set C's targets are words
    without one picture and are left out. ``run`` is the run's place in the session, ``session`` is 1.

    Parameters
    ----------
    root, subject_names, roi, betas, storage, bad_positions : as in `braindec.datasets.nsd.reader.NSD`.
    task : ``imagery`` or ``vision``.
    sets : which targets, among ``A`` and ``B``.
    image_size_px : side to which the targets' pictures are resized.
    """

    name = "nsd_imagery"
    experiment = "nsdimagery"
    n_betas = N_IMAGERY

    def __init__(
        self,
        root: str,
        task: Literal["imagery", "vision"] = "imagery",
        sets: Sequence[str] = ("A", "B"),
        subject_names: Sequence[str] | None = None,
        roi: str = "nsdgeneral",
        betas: str = BETAS,
        storage: Literal["hdf5", "nifti"] = "hdf5",
        image_size_px: int = 425,
        bad_positions: BadPositions = "raise",
    ) -> None:
        super().__init__(root, subject_names, roi, betas, storage, bad_positions)
        if task not in ("imagery", "vision") or not set(sets) <= {"A", "B"} or not sets:
            raise DataError(f"nsd_imagery: task={task!r}, sets={sets!r}; expected imagery or vision, and A and/or B")
        self.task = task
        self.sets = sets
        self.image_size_px = image_size_px

    def trials(self, subject: str) -> Trials:
        """All trials of the task. Raises `DataError` on missing, cut or inconsistent files."""
        check_subject(subject)
        rows, tables, start = [], [], 0
        for number, (run, n_betas) in enumerate(IMAGERY_RUNS.items(), start=1):
            if run.startswith({"imagery": "img", "vision": "vis"}[self.task]) and run[3] in self.sets:
                rows.append(np.arange(start, start + n_betas))
                tables.append(pd.DataFrame({"stimulus_id": self._conditions(subject, run), "run": number}))
            start += n_betas
        table = pd.concat(tables, ignore_index=True).assign(concept="", session=1, split="test")
        table["repetition"] = number_repetitions(table["stimulus_id"].tolist())
        return self._read(subject, np.concatenate(rows), table)

    def stimuli(self) -> Stimuli:
        """The twelve targets. Raises `DataError` when a picture is missing."""
        folder = Path(self.root) / "nsddata" / "experiments" / "nsdimagery"
        ids = tuple(IMAGERY_TARGETS.values())
        found = {path.stem: path for path in sorted(folder.rglob("*.png"))}
        lacking = [i for i in ids if i not in found]
        if lacking:
            raise DataError(f"{folder}: {len(lacking)} target pictures are missing, e.g. {lacking[0]}.png; {REMEDY}")
        return Stimuli(ids=ids, images=ImageFiles([found[i] for i in ids], self.image_size_px))

    def _conditions(self, subject: str, run: str) -> list[str]:
        folder = Path(self.root) / "nsddata" / "bdata" / "nsdimagery"
        path = folder / f"nsdimagery_{subject}_{run}.tsv"
        table = read_table(path, ("CONDITION",), "a run's behaviour", REMEDY)
        unknown = sorted(set(table["CONDITION"].astype(str)) - set(IMAGERY_TARGETS))
        if len(table) != IMAGERY_RUNS[run] or unknown:
            raise DataError(
                f"{path}: expected {IMAGERY_RUNS[run]} trials of the letters {''.join(IMAGERY_TARGETS)}, found "
                f"{len(table)} and the letters {unknown}"
            )
        return [IMAGERY_TARGETS[letter] for letter in table["CONDITION"].astype(str)]


class NSDSynthetic(_ExtraSession):
    """Betas of 284 artificial pictures (noise, words, gratings, ...), in percent signal change, all test trials.

    220 pictures are the same for all subjects (ids ``synthetic000`` ..), 64 differ in hue from subject to subject
    (``synthetic220-subj01`` ..). Pictures are 714 x 1360 pixels.

    Parameters
    ----------
    root, subject_names, roi, betas, storage, bad_positions : as in `braindec.datasets.nsd.reader.NSD`.
    """

    name = "nsd_synthetic"
    experiment = "nsdsynthetic"
    n_betas = N_SYNTHETIC

    def trials(self, subject: str) -> Trials:
        """All 744 trials, the one-back repeats included. Raises `DataError` on missing, cut or inconsistent files."""
        check_subject(subject)
        number = self._order()
        ids = [synthetic_id(int(n), subject) for n in number]
        table = pd.DataFrame(
            {
                "stimulus_id": ids,
                "concept": "",
                "session": 1,
                "run": np.arange(N_SYNTHETIC) // SYNTHETIC_RUN + 1,
                "repetition": number_repetitions(ids),
                "split": "test",
            }
        )
        return self._read(subject, np.arange(N_SYNTHETIC), table)

    def stimuli(self) -> Stimuli:
        """The 220 shared pictures, then each subject's 64; read by rows when asked for."""
        folder = Path(self.root) / "nsddata_stimuli" / "stimuli" / "nsdsynthetic"
        parts = [Hdf5Images(folder / "nsdsynthetic_stimuli.hdf5", n_expected=N_GREY)]
        ids = [synthetic_id(n, "") for n in range(N_GREY)]
        for subject in self.subjects():
            parts.append(Hdf5Images(folder / f"nsdsynthetic_colorstimuli_{subject}.hdf5", n_expected=N_COLOUR))
            ids += [synthetic_id(n, subject) for n in range(N_GREY, N_GREY + N_COLOUR)]
        return Stimuli(ids=tuple(ids), images=JoinedImages(parts))

    def _order(self) -> np.ndarray:
        from scipy.io import loadmat

        path = Path(self.root) / "nsddata" / "experiments" / "nsdsynthetic" / "nsdsynthetic_expdesign.mat"
        need_file(path, "NSD-Synthetic's design", REMEDY)
        with reading(path, "MATLAB"):
            order = loadmat(path, variable_names=["masterordering"])["masterordering"].ravel().astype(np.int64)
        if order.shape != (N_SYNTHETIC,) or order.min() != 1 or order.max() != N_GREY + N_COLOUR:
            raise DataError(
                f"{path}: masterordering must be {N_SYNTHETIC} 1-based numbers up to {N_GREY + N_COLOUR}, found "
                f"{order.size} from {order.min(initial=0)} to {order.max(initial=0)}"
            )
        return order - 1


class JoinedImages:
    """Several picture arrays of one size, one after the other; an `braindec.types.ImageArray`."""

    def __init__(self, parts: Sequence[Hdf5Images]) -> None:
        self.parts = tuple(parts)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, H, W, 3); `DataError` when the parts differ in size."""
        shapes = {part.shape[1:] for part in self.parts}
        if len(shapes) != 1:
            raise DataError(f"{self.parts[0].path.parent}: its pictures have different sizes {sorted(shapes)}")
        return (sum(len(part) for part in self.parts), *shapes.pop())

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Pictures uint8: (H, W, 3) for an int, (n, H, W, 3) for a slice, int indices or a boolean mask."""
        picked = np.arange(len(self))[rows]
        out = np.empty((picked.size, *self.shape[1:]), dtype=np.uint8)
        first = 0
        for part in self.parts:
            inside = (picked.ravel() >= first) & (picked.ravel() < first + len(part))
            out[inside] = part[picked.ravel()[inside] - first]
            first += len(part)
        return out if picked.ndim else out[0]


def synthetic_id(number: int, subject: str) -> str:
    """Id of a picture from its 0-based number; a subject's own colour pictures carry its name."""
    return f"synthetic{number:03d}" + (f"-{subject}" if number >= N_GREY else "")
