"""BOLD5000's parcel time series: fMRIPrep's volumes of OpenNeuro ds001499 and an atlas.

Source: Chang et al. 2019, Scientific Data 6:49; OpenNeuro ds001499.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from braindec.datasets.bids_parcels import BIDSParcels
from braindec.datasets.bold5000.design import read_repeated, source_of, stimuli_of, stimulus_id
from braindec.datasets.bold5000.fake import AFFINE
from braindec.datasets.bold5000.fake import write_fake as write_betas
from braindec.datasets.bold5000.layout import (
    LONG_SESSIONS,
    REPETITION_TIME_S,
    SESSIONS,
    TASK,
    VOLUMES_PER_RUN,
    events_file,
    runs_of,
)
from braindec.datasets.files import BadPositions
from braindec.types import DataError, Stimuli

REMEDY = (
    "download the events and fMRIPrep's volumes of OpenNeuro ds001499 (CC0; 0.17 GB a run before compression) and "
    "BOLD5000_Stimuli.zip from bold5000.org, or set the data set's root to where they lie"
)


class BOLD5000Parcels(BIDSParcels):
    """Five volumes from each picture on, float32 (trial, parcel, volume), percent of the parcel's run mean.

    Subjects are ``sub-CSI1`` .. ``sub-CSI4``; pictures, their ids and the partition are those of
    `braindec.datasets.bold5000.reader.BOLD5000`.

    Parameters
    ----------
    root : folder with ds001499 (events and ``derivatives``) and ``BOLD5000_Stimuli``.
    atlas, space, derivatives, first_volume, n_volumes, cache_dir, bad_positions : as in
        `braindec.datasets.bids_parcels.BIDSParcels`.
    stimulus : the events' column with the picture's name (``ImgName``; ``stim_file`` in some releases).
    image_size_px : side to which pictures are resized; None keeps their own.
    """

    name = "bold5000_parcels"

    def __init__(
        self,
        root: str,
        atlas: str,
        space: str,
        stimulus: str = "ImgName",
        derivatives: str = "derivatives/fmriprep",
        first_volume: int = 0,
        n_volumes: int = 5,
        image_size_px: int | None = None,
        cache_dir: str | None = None,
        bad_positions: BadPositions = "raise",
    ) -> None:
        super().__init__(
            root, TASK, atlas, stimulus, derivatives=derivatives, space=space, first_volume=first_volume,
            n_volumes=n_volumes, repetition_time_s=REPETITION_TIME_S, image_size_px=image_size_px, cache_dir=cache_dir,
            bad_positions=bad_positions,
        )  # fmt: skip

    @cached_property
    def _repeated(self) -> frozenset[str]:
        return read_repeated(Path(self.root))

    def runs(self, subject: str) -> list[Path]:
        """The subject's events files. Raises `DataError` if one of its sessions or runs is missing."""
        found = super().runs(subject)
        name = subject.removeprefix("sub-")
        if name not in SESSIONS:
            raise DataError(f"{self.name}: unknown subject {subject!r}; expected one of {list(SESSIONS)} after 'sub-'")
        expected = [
            events_file(Path(self.root), name, session, run)
            for session in range(1, SESSIONS[name] + 1)
            for run in range(1, runs_of(name, session) + 1)
        ]
        missing = sorted(set(expected) - set(found))
        if missing:
            raise DataError(
                f"{missing[0]}: {len(missing)} of {len(expected)} runs of {subject} are missing (sessions "
                f"{list(LONG_SESSIONS[name])} have ten, the others nine); {REMEDY}"
            )
        return expected

    def events(self, path: Path) -> pd.DataFrame:
        """A run's events with the pictures' ids and the published partition."""
        events = super().events(path)
        ids = [stimulus_id(name) for name in events["stimulus_id"]]
        split = np.where([i in self._repeated for i in ids], "test", "train")
        return events.assign(stimulus_id=ids, concept="", split=split, source=[source_of(i) for i in ids])

    def stimuli(self) -> Stimuli:
        """Every picture that any subject on disk saw, decoded when asked for; see `read_stimuli`."""
        shown = {i for s in self.subjects() for p in self.runs(s) for i in self.events(p)["stimulus_id"]}
        return stimuli_of(Path(self.root), shown, self.image_size_px)

    def _options(self) -> str:
        return repr((self.atlas, self.space, self.stimulus, self.derivatives, self.first_volume, self.n_volumes))


def write_fake(root: str | Path, subjects: Sequence[str] = ("CSI4",), seed: int = 0) -> None:
    """Write events, pictures, lists, small volumes of 194 time points under fMRIPrep's older names, and an atlas.

    A picture's mean colour drives every parcel two volumes after its onset.
    """
    import nibabel

    root = Path(root)
    write_betas(root, subjects, storage=(), seed=seed)
    rng = np.random.default_rng(seed + 1)
    grid = (5, 4, 3)
    labels = np.zeros(grid, dtype=np.int16)
    labels[1:] = np.arange(1, 5)[:, None, None]
    nibabel.save(nibabel.Nifti1Image(labels, AFFINE), root / "atlas.nii.gz")
    dataset = BOLD5000Parcels(str(root), str(root / "atlas.nii.gz"), "T1w")
    stimuli = dataset.stimuli()
    assert stimuli.images is not None
    bright = {i: stimuli.images[row].mean() / 255 for row, i in enumerate(stimuli.ids)}
    for subject in dataset.subjects():
        for path in dataset.runs(subject):
            events = dataset.events(path)
            volumes = rng.normal(1000, 2, (*grid, VOLUMES_PER_RUN)).astype(np.float32)
            for onset, stimulus in zip(events["onset"], events["stimulus_id"]):
                first = int(onset / REPETITION_TIME_S)
                volumes[1:, ..., first + 2 : first + 4] += 30 * (bright[stimulus] - 0.5)
            stem = path.name.removesuffix("_events.tsv")
            folder = root / dataset.derivatives / path.relative_to(root).parent
            folder.mkdir(parents=True, exist_ok=True)
            bold, mask = (folder / f"{stem}_bold_space-T1w_{what}.nii.gz" for what in ("preproc", "brainmask"))
            nibabel.save(nibabel.Nifti1Image(volumes, AFFINE), bold)
            nibabel.save(nibabel.Nifti1Image((labels > 0).astype(np.uint8), AFFINE), mask)
