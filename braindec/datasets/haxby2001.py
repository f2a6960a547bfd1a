"""Haxby et al. 2001: BOLD of people who saw blocks of faces, houses, cats, and five kinds of things.

Source: Haxby, Gobbini, Furey, Ishai, Schouten & Pietrini 2001, "Distributed and overlapping representations of faces
and objects in ventral temporal cortex", Science 293:2425-2430, in the OpenfMRI layout (data CC BY-SA 3.0).

Legend: N blocks, S voxels, V volumes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from braindec.datasets.files import BadPositions, check_positions, fingerprint, need_file, read_table, reading
from braindec.types import DataError, Space, Stimuli, Trials

CATEGORIES = ("bottle", "cat", "chair", "face", "house", "scissors", "scrambledpix", "shoe")
N_RUNS = 12
REMEDY = (
    "download it in the OpenfMRI layout (ds000105, or the PyMVPA tutorial data; 0.3 GB for subject 1), or set the data "
    "set's root to where it lies"
)


class Haxby2001:
    """One trial a block: the mean BOLD of its volumes, percent of the voxel's run mean, float32 (block, voxel, 1).

    Each run shows each of the eight categories in one block of 22.5 s. A run's linear trend is removed and its mean is
    the 100 percent; runs are the natural split unit, so no statistic crosses it. The stimulus of a block is its
    category: the files do not say which pictures were shown. ``run`` and ``repetition`` count the twelve runs, from 1
    and from 0. No partition is published: ``split`` is ``train`` throughout, to be divided by a split over runs or
    repetitions.

    Parameters
    ----------
    root : folder that holds ``sub001``.
    bold : file name of a run's volumes, ``bold.nii.gz`` or ``bold_1slice.nii.gz``.
    delay_s : blocks are taken this much later than their stated onset. One volume: the events state each block's first
        labelled volume, at which the response averaged over all blocks is already up.
    brain_threshold : voxels whose first run's mean is below this share of its 98th percentile are not brain.
    bad_positions : what to do with brain voxels that are constant over a run, or not finite.
    """

    name = "haxby2001"

    def __init__(
        self,
        root: str,
        bold: str = "bold.nii.gz",
        delay_s: float = 2.5,
        brain_threshold: float = 0.2,
        bad_positions: BadPositions = "raise",
    ) -> None:
        self.root = root
        self.bold = bold
        self.delay_s = delay_s
        self.brain_threshold = brain_threshold
        self.bad_positions = bad_positions

    def subjects(self) -> tuple[str, ...]:
        """``sub001`` .. ``sub006``: those on disk."""
        found = tuple(sorted(path.parent.name for path in Path(self.root).glob("sub[0-9]*/BOLD")))
        if not found:
            raise DataError(f"{self.root}: no sub001/BOLD; {REMEDY}")
        return found

    def trials(self, subject: str) -> Trials:
        """All blocks of a subject.

        Raises
        ------
        DataError
            If a run is missing or cut, runs differ in grid, a run lacks a category, or a block runs past its run.
        """
        runs = self._runs(subject)
        repetition_time = self._repetition_time()
        volumes = {run: self._volumes(path) for run, path in runs.items()}
        shapes = {data.shape[:3] for data, _ in volumes.values()}
        if len(shapes) != 1:
            raise DataError(f"{self.root}/{subject}: its runs have different grids {sorted(shapes)}")
        first, affine = volumes[min(volumes)]
        mean = np.nan_to_num(first.mean(axis=3))
        mask = mean > self.brain_threshold * np.percentile(mean, 98)
        blocks, tables, bad = [], [], np.zeros(int(mask.sum()), dtype=bool)
        for run, path in runs.items():
            signal_vs = volumes[run][0][mask].T.astype(np.float64)
            bad |= ~np.isfinite(signal_vs).all(axis=0) | (signal_vs.std(axis=0) == 0)
            events = _events(path.with_name("bold_events.tsv"))
            blocks.append(self._blocks(path, percent_of_mean(signal_vs), events, repetition_time))
            tables.append(pd.DataFrame({"stimulus_id": events["trial_type"], "run": run}))
        kept = check_positions(bad, f"{self.root}/{subject}", "brain voxels", None, self.bad_positions)
        table = pd.concat(tables, ignore_index=True).assign(session=1, split="train")
        table["concept"] = table["stimulus_id"]
        table["repetition"] = table["run"].map({run: i for i, run in enumerate(runs)})
        index = np.argwhere(mask)
        space = Space(
            kind="voxels",
            size=len(index),
            positions_m=(index @ affine[:3, :3].T + affine[:3, 3]) / 1000,
            grid_index=index,
            grid_shape=(mask.shape[0], mask.shape[1], mask.shape[2]),
            affine=affine,
        )
        signal = np.concatenate(blocks).astype(np.float32)[:, :, None]
        trials = Trials(subject=subject, signal=signal, unit="psc", space=space, table=table)
        return trials if kept.all() else trials.select_space(kept)

    def stimuli(self) -> Stimuli:
        """The eight categories; reads no file. There are no pictures: a block's were not recorded."""
        captions = tuple(
            (f"a photograph of a {c}" if c != "scrambledpix" else "a scrambled picture",) for c in CATEGORIES
        )
        return Stimuli(ids=CATEGORIES, concepts=CATEGORIES, captions=captions)

    def version(self) -> str:
        """12 hexadecimal digits from every run's volumes and events."""
        paths = [p for subject in self.subjects() for run in self._runs(subject).values()
                 for p in (run, run.with_name("bold_events.tsv"))]  # fmt: skip
        return fingerprint([p for p in paths if p.is_file()], repr((self.delay_s, self.brain_threshold)))

    def _runs(self, subject: str) -> dict[int, Path]:
        if subject not in self.subjects():
            raise DataError(f"haxby2001: unknown subject {subject!r}; {self.root} holds {', '.join(self.subjects())}")
        folders = sorted((Path(self.root) / subject / "BOLD").glob("task001_run*"))
        numbers = [int(re.sub(r".*run", "", folder.name)) for folder in folders]
        # Subject 5 of the published set has eleven runs; a hole in the numbering is a missing run.
        if numbers != list(range(1, len(numbers) + 1)) or not numbers:
            raise DataError(f"{self.root}/{subject}/BOLD: runs {numbers} are there, one is missing; {REMEDY}")
        return {number: folder / self.bold for number, folder in zip(numbers, folders)}

    def _repetition_time(self) -> float:
        path = need_file(Path(self.root) / "scan_key.txt", "the scan's description", REMEDY)
        match = re.search(r"TR\s+([\d.]+)", path.read_text())
        if match is None:
            raise DataError(f"{path}: expected a line like 'TR 2.5', found {path.read_text()[:40]!r}")
        return float(match[1])

    def _volumes(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        import nibabel

        need_file(path, "a run's volumes", REMEDY)
        with reading(path, "NIfTI"):
            image: Any = nibabel.load(path)
            volumes = np.asarray(image.dataobj)
        if volumes.ndim != 4:
            raise DataError(f"{path}: expected volumes (x, y, z, time), found shape {volumes.shape}")
        return volumes, np.asarray(image.affine, dtype=np.float64)

    def _blocks(self, path: Path, signal_vs: np.ndarray, events: pd.DataFrame, repetition_time: float) -> np.ndarray:
        means = []
        for onset, duration in zip(events["onset"], events["duration"]):
            start = round((onset + self.delay_s) / repetition_time)
            end = start + round(duration / repetition_time)
            if end > len(signal_vs):
                raise DataError(f"{path}: the block at {onset} s needs volume {end}, the run has {len(signal_vs)}")
            means.append(signal_vs[start:end].mean(axis=0))
        return np.stack(means)


def percent_of_mean(signal_vs: np.ndarray) -> np.ndarray:
    """Signal (V, S) without its linear trend, in percent of each voxel's mean; dead voxels give 0."""
    from scipy.signal import detrend

    mean = signal_vs.mean(axis=0)
    return 100 * np.divide(
        detrend(np.nan_to_num(signal_vs), axis=0), mean, out=np.zeros_like(signal_vs), where=np.nan_to_num(mean) != 0
    )


def _events(path: Path) -> pd.DataFrame:
    events = read_table(path, ("onset", "duration", "trial_type"), "a run's events", REMEDY)
    if sorted(events["trial_type"]) != list(CATEGORIES):
        raise DataError(f"{path}: expected one block of each of {CATEGORIES}, found {sorted(events['trial_type'])}")
    return events.sort_values("onset", ignore_index=True)


def write_fake(
    root: str | Path, subjects: tuple[str, ...] = ("sub001",), bold: str = "bold.nii.gz", seed: int = 0
) -> None:
    """Write twelve runs of 121 volumes in the OpenfMRI layout; each category has its own pattern over the voxels."""
    import nibabel

    root = Path(root)
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True, exist_ok=True)
    (root / "scan_key.txt").write_text("TR 2.5\n")
    shape = (8, 6, 2)
    for subject in subjects:
        patterns = rng.normal(size=(len(CATEGORIES), *shape))
        for run in range(1, N_RUNS + 1):
            order = rng.permutation(len(CATEGORIES))
            onsets = 15.0 + 35.0 * np.arange(len(CATEGORIES))
            volumes = 1000 + 15 * rng.normal(size=(*shape, 121)) + np.linspace(0, 30, 121)
            for category, onset in zip(order, onsets):
                start = round((onset + 5) / 2.5)
                volumes[..., start : start + 9] += 12 * patterns[category][..., None]
            volumes[0] = 5 + rng.normal(size=(*shape[1:], 121))
            folder = root / subject / "BOLD" / f"task001_run{run:03d}"
            folder.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(volumes.astype(np.int16), np.diag([3.5, 3.75, 3.75, 1.0])), folder / bold)
            names = [CATEGORIES[i] for i in order]
            events = pd.DataFrame({"onset": onsets, "duration": 22.5, "trial_type": names})
            events.to_csv(folder / "bold_events.tsv", sep="\t", index=False)
