"""Where BOLD5000 keeps its files, and the figures its publishers state.

Source: Chang et al. 2019, "BOLD5000, a public fMRI dataset while viewing 5000 visual images", Scientific Data 6:49;
the read-me file of release 2.0 (github.com/BOLD5000-dataset/BOLD5000); OpenNeuro ds001499.
"""

from __future__ import annotations

from pathlib import Path

from braindec.types import DataError

SUBJECTS = ("CSI1", "CSI2", "CSI3", "CSI4")
SESSIONS = {"CSI1": 15, "CSI2": 15, "CSI3": 15, "CSI4": 9}
LONG_SESSIONS = {
    "CSI1": (1, 2, 3, 5, 7, 10, 15),
    "CSI2": (1, 3, 4, 5, 11, 12, 14),
    "CSI3": (1, 3, 5, 6, 7, 11, 15),
    "CSI4": (1, 4, 9),
}
"""1-based sessions of ten runs; all others have nine."""

TRIALS_PER_RUN = 37
VOLUMES_PER_RUN = 194
REPETITION_TIME_S = 2.0
N_REPEATED = 113
BETAS = "TYPED-FITHRF-GLMDENOISE-RR"
ROIS = ("EarlyVis", "LOC", "OPA", "PPA", "RSC")
HEMISPHERES = ("LH", "RH")
ROI_NAMES = tuple(side + roi for roi in ROIS for side in HEMISPHERES)
TASK = "5000scenes"
ROI_MISSPELT = {"LHLOC": "LHLO", "RHLOC": "RHLO", "RHRSC": "RHRRSC"}
"""Names that some published mask files have instead."""

REMEDY = (
    "download release 2.0 (figshare 14456124, CC0; below 10 GB a person) and BOLD5000_Stimuli.zip from bold5000.org, "
    "or set the data set's root to where they lie"
)


def check_subject(subject: str) -> str:
    """``subject``, which must be one of `SUBJECTS`."""
    if subject not in SUBJECTS:
        raise DataError(f"bold5000: unknown subject {subject!r}; the subjects are {', '.join(SUBJECTS)}")
    return subject


def runs_of(subject: str, session: int) -> int:
    """Number of runs of a 1-based session."""
    return 10 if session in LONG_SESSIONS[check_subject(subject)] else 9


def betas_file(root: Path, subject: str, betas: str, session: int) -> Path:
    """One session's betas (x, y, z, trial), percent signal change."""
    return root / f"{subject}_GLMbetas-{betas}_ses-{session:02d}.nii.gz"


def brain_mask_file(root: Path, subject: str) -> Path:
    """The voxels of the brain, on the grid of the betas."""
    return root / f"{subject}_brainmask.nii.gz"


def names_file(root: Path, subject: str) -> Path:
    """The picture of every trial, one name a line in order of presentation."""
    return root / f"{subject}_imgnames.txt"


def roi_mask_file(root: Path, subject: str, roi: str) -> Path:
    """A ROI's mask (``LHPPA``) as OpenNeuro's ``derivatives/spm`` has it, under its right or its misspelt name."""
    folder = root / "derivatives" / "spm" / f"sub-{subject}"
    names = [name for name in (roi, ROI_MISSPELT.get(roi)) if name is not None]
    paths = [folder / f"sub-{subject}_mask-{name}.nii.gz" for name in names]
    return next((path for path in paths if path.is_file()), paths[0])


def roi_betas_file(root: Path, subject: str, betas: str, roi: str) -> Path:
    """Betas of a ROI's voxels over all sessions, an array (trial, voxel)."""
    return root / "BOLD5000_GLMsingle_ROI_betas" / "py" / f"{subject}_GLMbetas-{betas}_allses_{roi}.npy"


def repeated_file(root: Path) -> Path:
    """Names of the 113 pictures that were shown several times."""
    return root / "BOLD5000_Stimuli" / "Scene_Stimuli" / "repeated_stimuli_113_list.txt"


def pictures_folder(root: Path) -> Path:
    """The pictures as presented, in one folder a source."""
    return root / "BOLD5000_Stimuli" / "Scene_Stimuli" / "Presented_Stimuli"


def labels_file(root: Path) -> Path:
    """Words for the WordNet ids of the ImageNet pictures."""
    return root / "BOLD5000_Stimuli" / "Image_Labels" / "imagenet_final_labels.txt"


def events_file(root: Path, subject: str, session: int, run: int) -> Path:
    """One run's events in OpenNeuro ds001499."""
    folder = root / f"sub-{subject}" / f"ses-{session:02d}" / "func"
    return folder / f"sub-{subject}_ses-{session:02d}_task-{TASK}_run-{run:02d}_events.tsv"
