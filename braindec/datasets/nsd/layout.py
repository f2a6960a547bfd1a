"""Where the Natural Scenes Dataset keeps its files, and the figures its publishers state.

Source: the NSD data manual (cvnlab), sections "Functional data (NSD)", "Behavioral data" and "Technical notes";
Allen et al. 2022, "A massive 7T fMRI dataset to bridge cognitive neuroscience and artificial intelligence".
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from braindec.types import DataError

Generation = Literal["nsd37", "nsd40"]
BetaFormat = Literal["hdf5", "nifti", "fsaverage"]

SUBJECTS = tuple(f"subj{i:02d}" for i in range(1, 9))
SESSIONS = dict(zip(SUBJECTS, (40, 40, 32, 30, 40, 32, 40, 30)))
NSDGENERAL_VOXELS = dict(zip(SUBJECTS, (15724, 14278, 15226, 13153, 13039, 17907, 12682, 14386)))
GRID_SHAPES = dict(
    zip(
        SUBJECTS,
        ((81, 104, 83), (82, 106, 84), (81, 106, 82), (85, 99, 80), (79, 97, 78), (85, 113, 83), (78, 95, 81),
         (80, 103, 78)),
    )
)  # fmt: skip
VISUAL_ROI_VOXELS = {
    subject: dict(zip(("V1", "V2", "V3", "hV4"), counts))
    for subject, counts in zip(
        SUBJECTS,
        ((1350, 1433, 1187, 687), (1102, 1075, 1097, 483), (1254, 1141, 928, 426), (877, 863, 808, 475),
         (1113, 1081, 925, 542), (1125, 1180, 1201, 477), (1142, 986, 726, 397), (1074, 1033, 889, 495)),
    )
}  # fmt: skip
"""Voxels of ``nsdgeneral`` in each visual area (dorsal and ventral parts together)."""

TRIALS_PER_SESSION = 750
RUN_LENGTHS = (63, 62) * 6
WITHHELD_SESSIONS = 3
N_IMAGES = 73_000
BETA_SCALE = 300.0
BETAS = "betas_fithrf_GLMdenoise_RR"
REMEDY = (
    "ask for access at naturalscenesdataset.org (a form; 29-44 GB of betas a person, 39.6 GB of pictures), then fetch "
    "it with `aws s3 cp --no-sign-request` from the bucket s3://natural-scenes-dataset, and set the data set's root "
    "(environment variable BRAINDEC_DATA) to where it lies"
)

ROI_LABELS: dict[str, tuple[str, ...]] = {
    "prf-visualrois": ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"),
    "prf-eccrois": ("ecc0pt5", "ecc1", "ecc2", "ecc4", "ecc4+"),
    "floc-faces": ("OFA", "FFA-1", "FFA-2", "mTL-faces", "aTL-faces"),
    "floc-words": ("OWFA", "VWFA-1", "VWFA-2", "mfs-words", "mTL-words"),
    "floc-places": ("OPA", "PPA", "RSC"),
    "floc-bodies": ("EBA", "FBA-1", "FBA-2", "mTL-bodies"),
    "streams": ("early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal"),
}
ROI_UNIONS: dict[str, tuple[str, ...]] = {"V1": ("V1v", "V1d"), "V2": ("V2v", "V2d"), "V3": ("V3v", "V3d")}


def check_subject(subject: str) -> int:
    """1-based number of an NSD subject; `DataError` on any other name."""
    if subject not in SUBJECTS:
        raise DataError(f"nsd: unknown subject {subject!r}; the subjects are {', '.join(SUBJECTS)}")
    return SUBJECTS.index(subject) + 1


def betas_file(root: Path, subject: str, betas: str, kind: Literal["hdf5", "nifti"], session: int) -> Path:
    """One session's volume betas."""
    suffix = {"hdf5": "hdf5", "nifti": "nii.gz"}[kind]
    folder = root / "nsddata_betas" / "ppdata" / subject / "func1pt8mm" / betas
    return folder / f"betas_session{session:02d}.{suffix}"


def surface_files(root: Path, subject: str, betas: str, session: int) -> tuple[Path, Path]:
    """One session's betas of the left and the right hemisphere on fsaverage."""
    folder = root / "nsddata_betas" / "ppdata" / subject / "fsaverage" / betas
    left, right = (folder / f"{side}.betas_session{session:02d}.mgh" for side in ("lh", "rh"))
    return left, right


def ncsnr_files(root: Path, subject: str, betas: str, space: BetaFormat) -> tuple[Path, ...]:
    """Noise-ceiling SNR beside the betas: one volume, or one file a hemisphere."""
    if space == "fsaverage":
        folder = root / "nsddata_betas" / "ppdata" / subject / "fsaverage" / betas
        return folder / "lh.ncsnr.mgh", folder / "rh.ncsnr.mgh"
    return (root / "nsddata_betas" / "ppdata" / subject / "func1pt8mm" / betas / "ncsnr.nii.gz",)


def roi_files(root: Path, subject: str, roi: str, space: BetaFormat) -> tuple[Path, ...]:
    """A ROI's volume, or its labels on the left and right hemisphere of fsaverage."""
    if space == "fsaverage":
        folder = root / "nsddata" / "freesurfer" / "fsaverage" / "label"
        return folder / f"lh.{roi}.mgz", folder / f"rh.{roi}.mgz"
    return (root / "nsddata" / "ppdata" / subject / "func1pt8mm" / "roi" / f"{roi}.nii.gz",)


def design_file(root: Path) -> Path:
    """``nsd_expdesign.mat``."""
    return root / "nsddata" / "experiments" / "nsd" / "nsd_expdesign.mat"


def stim_info_file(root: Path) -> Path:
    """``nsd_stim_info_merged.csv``."""
    return root / "nsddata" / "experiments" / "nsd" / "nsd_stim_info_merged.csv"


def responses_file(root: Path, subject: str) -> Path:
    """The subject's behaviour, one row a trial."""
    return root / "nsddata" / "ppdata" / subject / "behav" / "responses.tsv"


def stimuli_file(root: Path) -> Path:
    """``nsd_stimuli.hdf5``, 39.6 GB."""
    return root / "nsddata_stimuli" / "stimuli" / "nsd" / "nsd_stimuli.hdf5"


def timeseries_file(root: Path, subject: str, session: int, run: int) -> Path:
    """One run's volumes, TR 4/3 s."""
    folder = root / "nsddata_timeseries" / "ppdata" / subject / "func1pt8mm" / "timeseries"
    return folder / f"timeseries_session{session:02d}_run{run:02d}.nii.gz"


def timeseries_design_file(root: Path, subject: str, session: int, run: int) -> Path:
    """One run's design: a row a TR, 0 or the 1-based 73k id of the picture that comes on."""
    folder = root / "nsddata_timeseries" / "ppdata" / subject / "func1pt8mm" / "design"
    return folder / f"design_session{session:02d}_run{run:02d}.tsv"
