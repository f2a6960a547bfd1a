"""THINGS-MEG from its raw CTF recordings, cut as the published preprocessing does.

Source: Hebart et al. 2023, eLife 12:e82580, Methods, MEG preprocessing (0.1-40 Hz, -0.1 to 1.3 s, baseline, 200 Hz);
OpenNeuro ds004212, CC0.

Legend: N trials, S sensors, T time points.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from braindec.contracts import Progress
from braindec.datasets.cache import Block, assemble
from braindec.datasets.cached import CachedReader
from braindec.datasets.continuous import cut, resample
from braindec.datasets.ctf import write_ctf
from braindec.datasets.files import (
    BadPositions,
    ImageFiles,
    bad_positions,
    check_positions,
    fingerprint,
    read_table,
    reading,
)
from braindec.datasets.things_meg import concept_of, read_events, stems_of, trial_table
from braindec.types import DataError, Space, Stimuli, Trials

REMEDY = "download OpenNeuro ds004212 (CC0; 62 GB a person), or set the data set's root to where it lies"
RATE_HZ = 1200.0
_SENSORS_AT_ONCE = 64


class ThingsMEGRaw(CachedReader):
    """MEG trials float32 (trial, sensor, time) in tesla, from ``sub-BIGMEG1/ses-01/meg/*_meg.ds``.

    Partition, test sets and catch trials are those of `braindec.datasets.things_meg.ThingsMEG`. Pictures have their
    published names where ``sourcedata/sample_attributes_P1.csv`` lists them, else their THINGS numbers
    (``things00012``, concept ``concept0003``), and then no pixels.

    The sidecars type the 272 gradiometers as ``OTHER``: sensors are taken from the recording itself.

    Parameters
    ----------
    root : the BIDS folder.
    images, zero_shot, test_set, image_size_px, cache_dir : as in `braindec.datasets.things_meg.ThingsMEG`.
    window_s, rate_hz : the trial's window around onset (end excluded) and its sampling rate; the defaults give the 281
        samples of the published trials.
    band_hz : pass band (low, high) of a zero-phase filter over the whole run, or None.
    bad_sensors : sensors that are left out; the default is the one that the publishers drop.
    bad_positions : what to do with further sensors that are constant, or not finite.
    """

    name = "things_meg_raw"
    leak_unit = "concept"

    def __init__(
        self,
        root: str,
        images: str = "images",
        zero_shot: bool = True,
        test_set: Literal["small", "large"] = "small",
        window_s: tuple[float, float] = (-0.1, 1.305),
        rate_hz: float = 200.0,
        band_hz: tuple[float, float] | None = (0.1, 40.0),
        bad_sensors: Sequence[str] = ("MRO11-1609",),
        image_size_px: int | None = None,
        cache_dir: str | None = None,
        bad_positions: BadPositions = "raise",
    ) -> None:
        if test_set not in ("small", "large"):
            raise DataError(f"things_meg_raw: test_set={test_set!r}; expected 'small' or 'large'")
        self.root = root
        self.images = images
        self.zero_shot = zero_shot
        self.test_set: Literal["small", "large"] = test_set
        self.window_s = window_s
        self.rate_hz = rate_hz
        self.band_hz = band_hz
        self.bad_sensors = bad_sensors
        self.image_size_px = image_size_px
        self.cache_dir = cache_dir
        self.bad_positions: BadPositions = bad_positions

    def subjects(self) -> tuple[str, ...]:
        """``sub-BIGMEG1`` .. ``sub-BIGMEG4``: those whose events are on disk."""
        found = sorted({path.parts[-4] for path in Path(self.root).glob("sub-*/ses-*/meg/*_task-main_*events.tsv")})
        if not found:
            raise DataError(f"{self.root}: no sub-BIGMEG*/ses-*/meg/*_task-main_run-*_events.tsv; {REMEDY}")
        return tuple(found)

    def stimuli(self) -> Stimuli:
        """Every picture that any subject saw; decoded when asked for, where their names and files are known."""
        shown: dict[str, str] = {}
        named = True
        for subject in self.subjects():
            events, has_names = self._events(subject)
            named = named and has_names
            table = trial_table(events, self.zero_shot, self.test_set)
            shown.update(zip(table["stimulus_id"], table["concept"]))
        ids = sorted(shown)
        folder = Path(self.root) / self.images
        has_pictures = named and folder.is_dir()
        images = ImageFiles([folder / f"{i}.jpg" for i in ids], self.image_size_px) if has_pictures else None
        return Stimuli(ids=tuple(ids), concepts=tuple(shown[i] for i in ids), images=images)

    def version(self) -> str:
        """12 hexadecimal digits from every run's events and recording, and the options."""
        paths = [path for subject in self.subjects() for path in self._run_files(subject)]
        return fingerprint(paths, self._options())

    def _options(self) -> str:
        options = (self.zero_shot, self.test_set, self.window_s, self.rate_hz, self.band_hz, tuple(self.bad_sensors))
        return repr(options)

    def _folder(self, cache_dir: Path, subject: str) -> Path:
        options = repr((self.window_s, self.rate_hz, self.band_hz, tuple(self.bad_sensors)))
        return cache_dir / f"{self.name}-{subject}-{hashlib.sha256(options.encode()).hexdigest()[:10]}"

    def _recordings(self, subject: str) -> dict[tuple[int, int], Path]:
        """The ``.ds`` folder of each (session, run) that has events."""
        folders = {}
        for path in sorted((Path(self.root) / subject).glob("ses-*/meg/*_task-main_run-*_events.tsv")):
            session, run = (int(path.name.split(f"_{name}-")[1].split("_")[0]) for name in ("ses", "run"))
            folders[session, run] = path.with_name(path.name.replace("_events.tsv", "_meg.ds"))
        return folders

    def _run_files(self, subject: str) -> list[Path]:
        events = sorted((Path(self.root) / subject).glob("ses-*/meg/*_task-main_run-*_events.tsv"))
        signals = [path for folder in self._recordings(subject).values() for path in sorted(folder.glob("*.meg4"))]
        return [*events, *signals]

    def _events(self, subject: str) -> tuple[pd.DataFrame, bool]:
        """The events that are no catch trials, and whether pictures have their names."""
        events = read_events(Path(self.root), subject)
        events = events[events["trial_type"] != "catch"].reset_index(drop=True)
        source = Path(self.root) / "sourcedata" / f"sample_attributes_P{subject[-1]}.csv"
        if not source.is_file():
            return events, False
        attributes = read_table(source, ("things_image_nr", "image_path"), "the attributes", REMEDY, separator=",")
        names = dict(zip(attributes["things_image_nr"], stems_of(attributes["image_path"])))
        stem = events["image_number"].map(names)
        if stem.isna().any():
            number = events["image_number"][stem.isna()].iloc[0]
            raise DataError(f"{source}: no picture has the number {number:.0f}, which {subject}'s events name")
        concept = stem.map(concept_of)
        return events.assign(stimulus_id=concept + "/" + stem, concept=concept), True

    def _trials(self, subject: str, cache_dir: Path | None, progress: Progress) -> Trials:
        if subject not in self.subjects():
            raise DataError(f"{self.name}: unknown subject {subject!r}; {self.root} holds {', '.join(self.subjects())}")
        events = self._events(subject)[0]
        recordings = self._recordings(subject)
        names, positions = self._sensors(next(iter(recordings.values())))
        first, after = (round(end * self.rate_hz) for end in self.window_s)
        blocks: list[Block] = []
        for _, own in events.groupby(["session", "run"], sort=False):
            rows = own.index.to_numpy()
            path, onsets = recordings[int(own["session"].iloc[0]), int(own["run"].iloc[0])], own["onset_s"].to_numpy()
            blocks.append((int(rows[0]), int(rows[-1]) + 1, partial(self._run, path, names, onsets)))
        folder = None if cache_dir is None else self._folder(cache_dir, subject)
        source = {} if folder is None else {"files": fingerprint(self._run_files(subject))}
        shape = (len(events), len(names), after - first)
        signal, bad = assemble(folder, shape, blocks, source, progress, f"{self.name} {subject}")
        good = check_positions(bad, f"{self.root}/{subject}", "sensors", names, self.bad_positions)
        trials = Trials(
            subject=subject,
            signal=signal,
            unit="T",
            space=Space(kind="channels", size=len(names), names=tuple(names), positions_m=positions),
            times_s=np.arange(first, after) / self.rate_hz,
            table=trial_table(events, self.zero_shot, self.test_set),
        )
        return trials if good.all() else trials.select_space(good)

    def _open(self, path: Path) -> Any:
        import mne

        if not path.is_dir():
            raise DataError(f"{path}: the recording is missing, though its events are there; {REMEDY}")
        with reading(path, "CTF"):
            return mne.io.read_raw_ctf(path, preload=False, verbose="error")

    def _sensors(self, path: Path) -> tuple[list[str], np.ndarray]:
        raw = self._open(path)
        kept = [
            row
            for row, kind in enumerate(raw.get_channel_types())
            if kind == "mag" and raw.ch_names[row] not in self.bad_sensors
        ]
        if not kept:
            raise DataError(f"{path}: no gradiometer among its channels of type {sorted(set(raw.get_channel_types()))}")
        positions = np.array([raw.info["chs"][row]["loc"][:3] for row in kept], dtype=np.float64)
        return [raw.ch_names[row] for row in kept], positions

    def _run(self, path: Path, names: list[str], onsets_s: np.ndarray) -> np.ndarray:
        """One run's trials float32 (N, S, T), a few sensors at a time."""
        import mne

        raw = self._open(path)
        rate = float(raw.info["sfreq"])
        missing = sorted(set(names) - set(raw.ch_names))
        if missing or rate != RATE_HZ:
            raise DataError(
                f"{path}: expected {len(names)} sensors at {RATE_HZ:g} Hz as in the first run, found no {missing[:3]} "
                f"and {rate:g} Hz"
            )
        parts = []
        for start in range(0, len(names), _SENSORS_AT_ONCE):
            some = names[start : start + _SENSORS_AT_ONCE]
            with reading(path, "CTF"):
                signal = raw.get_data(picks=some)
            check_positions(bad_positions(signal.T), str(path), "sensors", some, self.bad_positions)
            if self.band_hz is not None:
                signal = mne.filter.filter_data(signal, rate, *self.band_hz, verbose="error")
            signal = resample(signal, rate, self.rate_hz)
            parts.append(cut(signal, self.rate_hz, onsets_s, self.window_s, True, str(path))[0])
        return np.concatenate(parts, axis=1)


def write_fake(
    root: str | Path, n_sessions: int = 2, n_runs: int = 2, n_sensors: int = 272, named: bool = True, seed: int = 0
) -> None:
    """Write CTF runs with the published names, sidecar types and events: four concepts with two pictures each, two of
    them with a test picture that every run shows twice, a catch trial a run. A picture's colour drives the sensors
    0.1 s after onset; the sensor that the publishers drop is silent.
    """
    from PIL import Image

    root = Path(root)
    rng = np.random.default_rng(seed)
    main = [f"thing_{letter}_{number:02d}b" for letter in "abcd" for number in range(1, n_sessions * n_runs + 1)]
    test = ["thing_a_99s", "thing_b_99s"]
    numbers = {stem: 24_000 + i for i, stem in enumerate(main + test)}
    colours = {stem: rng.uniform(0, 255, 3) for stem in numbers}
    for stem, colour in colours.items():
        path = root / "images" / concept_of(stem) / f"{stem}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((10, 10, 3), colour, dtype=np.uint8)).save(path)
    sensors = [*(f"ML{i:03d}-1609" for i in range(n_sensors - 1)), "MRO11-1609"]
    weights = rng.normal(size=(3, n_sensors))
    bump = np.exp(-(((np.arange(400) / RATE_HZ - 0.1) / 0.03) ** 2))
    if named:
        table = pd.DataFrame({"things_image_nr": list(numbers.values())})
        table["image_path"] = [f"images_meg/{stem}.jpg" for stem in numbers]
        (root / "sourcedata").mkdir(parents=True)
        table.to_csv(root / "sourcedata" / "sample_attributes_P1.csv", index=False)
    order = iter(rng.permutation(main).tolist())
    for session in range(1, n_sessions + 1):
        for run in range(1, n_runs + 1):
            shown = [next(order) for _ in range(4)] + test * 2 + [""]
            shown = [shown[i] for i in rng.permutation(len(shown))]
            samples = 1800 + 1500 * np.arange(len(shown)) + rng.integers(0, 200, len(shown))
            signal = 1e-13 * rng.normal(size=(n_sensors, samples[-1] + 3000))
            for sample, stem in zip(samples, shown):
                drive = (colours[stem] / 255 - 0.5) @ weights if stem else np.zeros(n_sensors)
                signal[:, sample : sample + 400] += 4e-13 * drive[:, None] * bump
            signal[-1] = 0.0
            stem = f"sub-BIGMEG1_ses-{session:02d}_task-main_run-{run:02d}"
            folder = root / "sub-BIGMEG1" / f"ses-{session:02d}" / "meg"
            write_ctf(folder / f"{stem}_meg.ds", signal, sensors, RATE_HZ, ["BG1-1609", "BG2-1609"])
            _write_sidecars(folder / stem, shown, samples, numbers, sensors)


def _write_sidecars(
    stem: Path, shown: Sequence[str], samples: np.ndarray, numbers: dict[str, int], sensors: Sequence[str]
) -> None:
    kinds = ["catch" if not name else "test" if name.endswith("s") else "exp" for name in shown]
    events = pd.DataFrame(
        {
            "onset": samples / RATE_HZ,
            "duration": 0.5,
            "trial_type": kinds,
            "things_category_nr": [float(ord(name[6]) - 96) if name else np.nan for name in shown],
            "value": [float(numbers[name]) if name else np.nan for name in shown],
            "sample": samples,
        }
    )
    events.to_csv(stem.with_name(f"{stem.name}_events.tsv"), sep="\t", index=False, na_rep="n/a")
    channels = pd.DataFrame({"name": sensors, "type": "OTHER", "units": "T", "status": "good"})
    channels.to_csv(stem.with_name(f"{stem.name}_channels.tsv"), sep="\t", index=False)
