"""Any BIDS data set with a column that says what was shown: EEG, MEG, or fMRI preprocessed by fMRIPrep.

Source: the BIDS specification (file names, ``events.tsv``) and fMRIPrep's output names.

Legend: N trials, S channels or voxels, T time points.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from braindec.datasets.bids_runs import REMEDY, BIDSRuns
from braindec.datasets.continuous import cut, resample
from braindec.datasets.files import (
    BadPositions,
    bad_positions,
    check_positions,
    need_file,
    reading,
)
from braindec.datasets.fmriprep import outputs, repetition_time
from braindec.datasets.from_python import from_images
from braindec.types import DataError, Space, Trials

RAW_ENDINGS = {
    "eeg": (".vhdr", ".edf", ".bdf", ".set", ".fif"),
    "meg": (".fif", ".ds", ".con", ".sqd"),
}


class BIDSMEEG(BIDSRuns):
    """EEG or MEG trials float32 (trial, channel, time) in volt or tesla, baseline-corrected.

    The published partition is the events' column ``split`` if there is one, else all trials are ``train``.

    Parameters
    ----------
    root : the BIDS folder.
    task, modality : which recordings; ``modality`` is ``eeg`` or ``meg``.
    stimulus, concept : columns of ``events.tsv`` with the stimulus (its id, and its file below ``images``) and its
        concept; no concept: the stimulus itself. Events without a stimulus (``n/a``) are left out.
    window_s, rate_hz : the trial's window around onset and its sampling rate.
    band_hz : pass band (low, high) of a zero-phase filter over the whole run, or None.
    meg_type : ``mag`` or ``grad``, which sensors of a MEG.
    images, image_size_px : folder of the pictures or WAV files below ``root``, and the side that pictures get.
    bad_positions : what to do with channels that are constant, or not finite.
    texts : the stimulus column holds the text that was read.
    """

    def __init__(
        self,
        root: str,
        task: str,
        stimulus: str = "stim_file",
        concept: str | None = None,
        modality: Literal["eeg", "meg"] = "eeg",
        window_s: tuple[float, float] = (-0.2, 0.8),
        rate_hz: float = 250.0,
        band_hz: tuple[float, float] | None = (0.1, 100.0),
        meg_type: Literal["mag", "grad"] = "mag",
        images: str = "stimuli",
        image_size_px: int | None = None,
        bad_positions: BadPositions = "raise",
        texts: bool = False,
    ) -> None:
        super().__init__(root, task, stimulus, concept, images, image_size_px)
        self.texts = texts
        self.modality = modality
        self.window_s = window_s
        self.rate_hz = rate_hz
        self.band_hz = band_hz
        self.meg_type = meg_type
        self.bad_positions = bad_positions

    def trials(self, subject: str) -> Trials:
        """All trials of a subject.

        Raises
        ------
        DataError
            If a file is missing or cut, runs differ in channels, a channel is dead, or a trial leaves its run.
        """
        signals, events, times, names = [], [], np.empty(0), [""]
        dead: np.ndarray | None = None
        for path in self.runs(subject):
            data = self.recording(path)
            continuous, rate, channels = self._read(data)
            if dead is None:
                dead, names = np.zeros(len(channels), dtype=bool), channels
            if channels != names:
                raise DataError(f"{data}: its channels differ from those of the subject's first run")
            dead |= bad_positions(continuous.T)
            check_positions(dead, str(data), "channels", names, self.bad_positions)
            events.append(self.events(path))
            onsets = events[-1]["onset"].to_numpy()
            signal = resample(np.nan_to_num(continuous), rate, self.rate_hz)
            trials, times = cut(signal, self.rate_hz, onsets, self.window_s, True, str(data))
            signals.append(trials)
        space = Space(kind="channels", size=len(names), names=tuple(names))
        joined = Trials(
            subject=subject,
            signal=np.concatenate(signals),
            unit="V" if self.modality == "eeg" else "T",
            space=space,
            times_s=times,
            table=self.table(events),
        )
        return joined.select_space(~dead) if dead is not None and dead.any() else joined

    def recording(self, events: Path) -> Path:
        """The run's recording, in whichever format it is there."""
        stem = events.name.removesuffix("_events.tsv")
        for ending in RAW_ENDINGS[self.modality]:
            path = events.with_name(f"{stem}_{self.modality}{ending}")
            if path.exists():
                return path
        return events.with_name(f"{stem}_{self.modality}{RAW_ENDINGS[self.modality][0]}")

    def _read(self, path: Path) -> tuple[np.ndarray, float, list[str]]:
        import mne

        if not path.exists():
            raise DataError(f"{path}: the recording is missing; {REMEDY}")
        kind = "eeg" if self.modality == "eeg" else self.meg_type
        with reading(path, f"{self.modality.upper()} recording"):
            raw = mne.io.read_raw(path, preload=True, verbose="error")
            names = [name for name, of in zip(raw.ch_names, raw.get_channel_types()) if of == kind]
            if not names:
                raise DataError(f"{path}: no channel of type {kind}, found {sorted(set(raw.get_channel_types()))}")
            raw.pick(names)
            rate = float(raw.info["sfreq"])
            if self.band_hz is not None:
                low, high = self.band_hz
                raw.filter(low, high if high < rate / 2 else None, verbose="error")
            return raw.get_data(), rate, names


class BIDSFMRI(BIDSRuns):
    """fMRI trials float32 (trial, voxel, 1): the mean BOLD in a window after each event, percent of the run mean.

    Volumes and brain mask are fMRIPrep's, of one space. For fast designs use single-trial betas through
    `braindec.datasets.from_python.from_arrays`.

    Parameters
    ----------
    root, task, stimulus, concept, images, image_size_px : as in `BIDSMEEG`.
    derivatives : fMRIPrep's folder below ``root``.
    space : the ``space-`` entity of the volumes, with a ``_res-`` entity if they have one.
    window_s : seconds after onset, end excluded.
    """

    def __init__(
        self,
        root: str,
        task: str,
        stimulus: str = "stim_file",
        concept: str | None = None,
        derivatives: str = "derivatives/fmriprep",
        space: str = "T1w",
        window_s: tuple[float, float] = (4.0, 8.0),
        images: str = "stimuli",
        image_size_px: int | None = None,
    ) -> None:
        super().__init__(root, task, stimulus, concept, images, image_size_px)
        self.derivatives = derivatives
        self.space = space
        self.window_s = window_s

    def trials(self, subject: str) -> Trials:
        """All trials of a subject. Raises `DataError` on missing or cut files, other grids, or dead voxels."""
        runs = self.runs(subject)
        paths = [need_file(self.recording(path), "a run's preprocessed volumes", REMEDY) for path in runs]
        rates = {repetition_time(path) for path in paths}
        if len(rates) != 1:
            raise DataError(f"{self.root}/{subject}: its runs have different repetition times {sorted(rates)}")
        mask = outputs(Path(self.root), self.derivatives, runs[0], self.space)[1]
        need_file(mask, "the brain mask", REMEDY)
        events = [self.events(path) for path in runs]
        trials = from_images(
            paths,
            events,
            mask,
            repetition_time_s=rates.pop(),
            stimulus="stimulus_id",
            window_s=self.window_s,
            subject=subject,
        )
        return Trials(subject=subject, signal=trials.signal, unit="psc", space=trials.space, table=self.table(events))

    def recording(self, events: Path) -> Path:
        """fMRIPrep's volumes of the run."""
        return outputs(Path(self.root), self.derivatives, events, self.space)[0]


def write_fake(root: str | Path, seed: int = 0) -> None:
    """Write a BIDS folder with two subjects and two runs of task ``view``: BrainVision EEG and fMRIPrep volumes.

    Even stimuli raise the signal, 0.1 s (EEG) and 4 to 8 s (fMRI) after onset.
    """
    import nibabel
    import pybv
    from PIL import Image

    root = Path(root)
    rng = np.random.default_rng(seed)
    (root / "stimuli").mkdir(parents=True, exist_ok=True)
    for i in range(4):
        Image.fromarray(np.full((8, 8, 3), 60 * i, dtype=np.uint8)).save(root / "stimuli" / f"s{i}.png")
    for subject in ("sub-01", "sub-02"):
        for run in (1, 2):
            shown = rng.permutation(np.repeat(np.arange(4), 3))
            names = [f"s{i}.png" for i in shown]
            for kind, gap in (("eeg", 1.0), ("func", 12.0)):
                onset = 4.0 + gap * np.arange(len(shown))
                folder = root / subject / kind
                folder.mkdir(parents=True, exist_ok=True)
                events = pd.DataFrame({"onset": onset, "duration": 0.5, "stim_file": names, "kind": shown % 2})
                events.loc[len(events)] = [onset[-1] + gap, 0.5, "n/a", 0]
                stem = f"{subject}_task-{'view' if kind == 'eeg' else 'scan'}_run-{run:02d}"
                events.to_csv(folder / f"{stem}_events.tsv", sep="\t", index=False)
            signal = 1e-6 * rng.normal(size=(5, 500 * 20))
            for i, picture in enumerate(shown):
                signal[:, 500 * (4 + i) + 40 : 500 * (4 + i) + 60] += 5e-6 * (picture % 2 == 0)
            pybv.write_brainvision(
                data=signal, sfreq=500, ch_names=list("ABCDE"), fname_base=f"{subject}_task-view_run-{run:02d}_eeg",
                folder_out=str(root / subject / "eeg"), overwrite=True, resolution=0.01, unit="µV",
            )  # fmt: skip
            volumes = rng.normal(1000, 1, (4, 3, 2, 80))
            for i, picture in enumerate(shown):
                volumes[..., 4 + 6 * i : 6 + 6 * i] += 20 * (picture % 2 == 0)
            folder = root / "derivatives" / "fmriprep" / subject / "func"
            folder.mkdir(parents=True, exist_ok=True)
            stem = f"{subject}_task-scan_run-{run:02d}_space-T1w_desc"
            image = nibabel.Nifti1Image(volumes.astype(np.float32), np.eye(4))
            nibabel.save(image, folder / f"{stem}-preproc_bold.nii.gz")
            (folder / f"{stem}-preproc_bold.json").write_text('{"RepetitionTime": 2.0}')
            mask = np.ones((4, 3, 2), dtype=np.uint8)
            mask[0] = 0
            nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), folder / f"{stem}-brain_mask.nii.gz")
