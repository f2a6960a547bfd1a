"""Small synthetic NSD-Imagery and NSD-Synthetic sessions in the true on-disk layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from braindec.datasets.nsd.extra import (
    IMAGERY_RUNS,
    IMAGERY_TARGETS,
    N_COLOUR,
    N_GREY,
    N_IMAGERY,
    N_SYNTHETIC,
)
from braindec.datasets.nsd.fake import write_betas_hdf5, write_nifti
from braindec.datasets.nsd.layout import BETAS, roi_files


def write_fake(root: str | Path, subjects: tuple[str, ...] = ("subj01",), n_voxels: int = 30, seed: int = 0) -> None:
    """Write both sessions' betas (true number of trials, types and chunks), designs, behaviour and pictures."""
    import h5py
    from PIL import Image
    from scipy.io import savemat

    root = Path(root)
    rng = np.random.default_rng(seed)
    targets = root / "nsddata" / "experiments" / "nsdimagery" / "rawtargetimages"
    targets.mkdir(parents=True)
    for name in IMAGERY_TARGETS.values():
        Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(targets / f"{name}.png")
    design = root / "nsddata" / "experiments" / "nsdsynthetic" / "nsdsynthetic_expdesign.mat"
    design.parent.mkdir(parents=True)
    order = rng.permutation(
        np.r_[np.arange(N_GREY + N_COLOUR), rng.integers(0, N_GREY, N_SYNTHETIC - N_GREY - N_COLOUR)]
    )
    savemat(design, {"masterordering": (order + 1).astype(float)[None]})
    pictures = root / "nsddata_stimuli" / "stimuli" / "nsdsynthetic"
    pictures.mkdir(parents=True)
    sizes = {"nsdsynthetic_stimuli": N_GREY, **{f"nsdsynthetic_colorstimuli_{s}": N_COLOUR for s in subjects}}
    for name, n in sizes.items():
        with h5py.File(pictures / f"{name}.hdf5", "w") as file:
            file.create_dataset("imgBrick", data=rng.integers(0, 256, (n, 7, 13, 3), dtype=np.uint8))
    for subject in subjects:
        _write_subject(root, subject, n_voxels, rng)


def _write_subject(root: Path, subject: str, n_voxels: int, rng: np.random.Generator) -> None:
    mask = np.zeros((6, 5, 4), dtype=np.int16)
    mask.ravel()[rng.choice(mask.size, n_voxels, replace=False)] = 1
    write_nifti(roi_files(root, subject, "nsdgeneral", "hdf5")[0], mask)
    for experiment, n in (("nsdimagery", N_IMAGERY), ("nsdsynthetic", N_SYNTHETIC)):
        folder = root / "nsddata_betas" / "ppdata" / subject / "func1pt8mm" / f"{experiment}{BETAS}"
        stored = rng.integers(-900, 900, (n, n_voxels), dtype=np.int16)
        stored[:, 0] = np.arange(n)
        write_betas_hdf5(folder / f"betas_{experiment}.hdf5", stored, np.argwhere(mask > 0), mask.shape)
        volume = np.zeros((*mask.shape, n), dtype=np.int16)
        volume[mask > 0] = stored.T
        write_nifti(folder / f"betas_{experiment}.nii.gz", volume)
    behaviour = root / "nsddata" / "bdata" / "nsdimagery"
    behaviour.mkdir(parents=True, exist_ok=True)
    letters = {"A": list("HRVLPE"), "B": list("WKBCDT"), "C": list("SZMYNF")}
    for run in IMAGERY_RUNS:
        conditions = rng.permutation(np.repeat(letters[run[3]], 8))
        pd.DataFrame({"TRIAL": np.arange(1, 49), "CONDITION": conditions}).to_csv(
            behaviour / f"nsdimagery_{subject}_{run}.tsv", sep="\t", index=False
        )
