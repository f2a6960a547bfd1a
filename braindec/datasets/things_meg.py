"""THINGS-MEG: four people, twelve sessions, 22,248 photographs of 1854 object concepts.

Source: Hebart et al. 2023, "THINGS-data, a multimodal collection of large-scale datasets for investigating object
representations in human brain and behavior", eLife 12:e82580 (OpenNeuro ds004212, CC0).

Legend: N trials, S sensors, T time points.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from braindec.contracts import Progress
from braindec.datasets.cache import Block, assemble
from braindec.datasets.cached import CachedReader
from braindec.datasets.files import (
    BadPositions,
    ImageFiles,
    check_positions,
    fingerprint,
    need_file,
    number_repetitions,
    read_table,
    reading,
)
from braindec.types import DataError, Space, Stimuli, Trials

SUBJECTS = ("P1", "P2", "P3", "P4")
CATCH = 999_999
METADATA = ("trial_type", "session_nr", "run_nr", "things_category_nr", "things_image_nr", "image_path")
REMEDY = "download OpenNeuro ds004212 (CC0; 78 GB preprocessed), or set the data set's root to where it lies"
_BLOCK = 512


class ThingsMEG(CachedReader):
    """MEG trials float32 (trial, sensor, time) in tesla, from the published ``preprocessed_P1-epo.fif`` files.

    Test trials show 200 pictures twelve times each; their concepts all occur in training too, with other pictures.
    Catch trials (artificial pictures, 999999) are left out. Ids are ``concept/file`` without ending.

    Parameters
    ----------
    root : the BIDS folder, or a folder that holds the ``-epo.fif`` files.
    images : folder of the THINGS pictures (``concept/concept_01b.jpg``) below ``root``.
    zero_shot : move the training trials of the 200 test concepts to ``unused``, so that no test concept is trained.
    test_set : ``small`` the 200 repeated pictures; ``large`` the 2400 main pictures of their concepts, shown once
        (the repeated ones become ``unused``).
    image_size_px : side to which pictures are resized; None keeps their own.
    cache_dir : where signals are kept for memory-mapping; None: they are read into memory each time.
    bad_positions : what to do with sensors that are constant, or not finite.
    """

    name = "things_meg"
    leak_unit = "concept"

    def __init__(
        self,
        root: str,
        images: str = "images",
        zero_shot: bool = True,
        test_set: Literal["small", "large"] = "small",
        image_size_px: int | None = None,
        cache_dir: str | None = None,
        bad_positions: BadPositions = "raise",
    ) -> None:
        if test_set not in ("small", "large"):
            raise DataError(f"things_meg: test_set={test_set!r}; expected 'small' or 'large'")
        self.root = root
        self.images = images
        self.zero_shot = zero_shot
        self.test_set = test_set
        self.image_size_px = image_size_px
        self.cache_dir = cache_dir
        self.bad_positions = bad_positions

    def subjects(self) -> tuple[str, ...]:
        """``P1`` .. ``P4``: those on disk."""
        found = tuple(subject for subject in SUBJECTS if self._file(subject).is_file())
        if not found:
            raise DataError(f"{self._file('P1')}: missing, and so are those of P2, P3 and P4; {REMEDY}")
        return found

    def stimuli(self) -> Stimuli:
        """Every picture that any subject saw, decoded when asked for."""
        shown: dict[str, str] = {}
        for subject in self.subjects():
            table = self._table(subject, self._open(subject))[0]
            shown.update(zip(table["stimulus_id"], table["concept"]))
        ids = sorted(shown)
        folder = Path(self.root) / self.images
        images = ImageFiles([folder / f"{i}.jpg" for i in ids], self.image_size_px) if folder.is_dir() else None
        return Stimuli(ids=tuple(ids), concepts=tuple(shown[i] for i in ids), images=images)

    def version(self) -> str:
        """12 hexadecimal digits from every subject's files."""
        paths = [path for subject in self.subjects() for path in self._files(subject)]
        return fingerprint(paths, repr((self.zero_shot, self.test_set)))

    def _file(self, subject: str) -> Path:
        name = f"preprocessed_{subject}-epo.fif"
        published = Path(self.root) / "derivatives" / "preprocessed" / name
        return published if published.parent.is_dir() else Path(self.root) / name

    def _files(self, subject: str) -> list[Path]:
        first = self._file(subject)
        return sorted(first.parent.glob(f"{first.stem}.fif")) + sorted(first.parent.glob(f"{first.stem}-*.fif"))

    def _folder(self, cache_dir: Path, subject: str) -> Path:
        return cache_dir / f"things_meg-{subject}"

    def _open(self, subject: str) -> Any:
        import mne

        if subject not in SUBJECTS:
            raise DataError(f"things_meg: unknown subject {subject!r}; the subjects are {', '.join(SUBJECTS)}")
        path = need_file(self._file(subject), "the preprocessed trials", REMEDY)
        with reading(path, "FIF (or one of its parts -epo-1.fif ...)"):
            return mne.read_epochs(path, preload=False, proj=False, verbose="error")

    def _table(self, subject: str, epochs: Any) -> tuple[pd.DataFrame, np.ndarray]:
        """The trial table, and the rows of ``epochs`` that it keeps."""
        path = self._file(subject)
        attributes = epochs.metadata
        if attributes is None:
            source = Path(self.root) / "sourcedata" / f"sample_attributes_{subject}.csv"
            attributes = read_table(source, METADATA, "the trials' attributes", REMEDY, separator=",")
        missing = [column for column in METADATA if column not in attributes.columns]
        if missing or len(attributes) != len(epochs):
            raise DataError(
                f"{path}: expected the attributes {list(METADATA)} for {len(epochs)} trials, found no {missing} and "
                f"{len(attributes)} rows"
            )
        attributes = attributes.reset_index(drop=True)
        need_all(attributes["session_nr"], "sessions", path)
        kept = np.flatnonzero(attributes["trial_type"] != "catch")
        rows = attributes.iloc[kept].reset_index(drop=True)
        differs = epochs.events[kept, 2] != rows["things_image_nr"].to_numpy(dtype=np.int64)
        if differs.any():
            first = kept[int(np.flatnonzero(differs)[0])]
            raise DataError(
                f"{path}: trial {first + 1} has event {epochs.events[first, 2]} but things_image_nr "
                f"{attributes['things_image_nr'][first]}; its events or attributes are shuffled"
            )
        stems = stems_of(rows["image_path"])
        concepts = stems.map(concept_of)
        events = pd.DataFrame(
            {
                "trial_type": rows["trial_type"],
                "concept_number": rows["things_category_nr"],
                "session": rows["session_nr"],
                "run": rows["run_nr"],
                "stimulus_id": concepts + "/" + stems,
                "concept": concepts,
            }
        )
        return trial_table(events, self.zero_shot, self.test_set), kept

    def _trials(self, subject: str, cache_dir: Path | None, progress: Progress) -> Trials:
        path = self._file(subject)
        epochs = self._open(subject)
        table, kept = self._table(subject, epochs)
        names = list(epochs.ch_names)
        shape = (len(kept), len(names), len(epochs.times))
        blocks: list[Block] = [
            (start, min(start + _BLOCK, len(kept)), partial(_read, epochs, kept[start : start + _BLOCK], path))
            for start in range(0, len(kept), _BLOCK)
        ]
        folder = None if cache_dir is None else self._folder(cache_dir, subject)
        source = {"files": fingerprint(self._files(subject))}
        signal, bad = assemble(folder, shape, blocks, source, progress, f"things_meg {subject}")
        good = check_positions(bad, str(path), "sensors", names, self.bad_positions)
        positions = np.array([channel["loc"][:3] for channel in epochs.info["chs"]], dtype=np.float64)
        space = Space(
            kind="channels", size=len(names), names=tuple(names), positions_m=positions if positions.any() else None
        )
        times = np.asarray(epochs.times)
        trials = Trials(subject=subject, signal=signal, unit="T", space=space, times_s=times, table=table)
        return trials if good.all() else trials.select_space(good)


def stems_of(image_paths: pd.Series) -> pd.Series:
    """Names of pictures without folder and ending, from paths of either system."""
    files = image_paths.astype(str).str.replace("\\", "/", regex=False).str.split("/").str[-1]
    return files.str.rsplit(".", n=1).str[0]


def concept_of(stem: str) -> str:
    """``bow_tie`` from a THINGS picture's name ``bow_tie_01b``."""
    return re.sub(r"_\d+[a-z]*$", "", stem)


def read_events(root: Path, participant: str) -> pd.DataFrame:
    """All ``events.tsv`` of a participant's raw runs: session, run, trial type, concept and picture numbers, onset.

    Columns ``trial_type`` (exp, test, catch), ``concept_number``, ``image_number`` (NaN on catch trials),
    ``onset_s``, ``session``, ``run``.

    Raises
    ------
    DataError
        If no file is there, a run is missing between others, or a column is missing.
    """
    paths = sorted(root.glob(f"{participant}/ses-*/meg/{participant}_ses-*_task-main_run-*_events.tsv"))
    if not paths:
        raise DataError(f"{root / participant}: no ses-XX/meg/*_events.tsv; {REMEDY}")
    tables = []
    for path in paths:
        match = re.search(r"ses-(\d+)_task-main_run-(\d+)_events", path.name)
        if match is None:
            raise DataError(f"{path}: expected a name like sub-X_ses-01_task-main_run-01_events.tsv")
        columns = ("onset", "trial_type", "things_category_nr", "value")
        events = read_table(path, columns, "the events", REMEDY)
        if not events["trial_type"].isin(["exp", "test", "catch"]).all():
            raise DataError(f"{path}: trial_type must be exp, test or catch, found {set(events['trial_type'])}")
        if not (events["onset"].diff().dropna() > 0).all():
            raise DataError(f"{path}: onset must increase from row to row; the events are shuffled")
        tables.append(
            pd.DataFrame(
                {
                    "trial_type": events["trial_type"],
                    "concept_number": events["things_category_nr"],
                    "image_number": events["value"],
                    "onset_s": events["onset"],
                    "session": int(match[1]),
                    "run": int(match[2]),
                }
            )
        )
    joined = pd.concat(tables, ignore_index=True)
    need_all(joined["session"], "sessions", root / participant)
    for session, runs in joined.groupby("session")["run"]:
        need_all(runs, f"session {session}: runs", root / participant)
    return joined


def need_all(numbers: pd.Series, what: str, where: Path) -> None:
    """Refuse a gap: ``numbers`` (of sessions, or of a session's runs) must be all of 1 ... their largest."""
    present = sorted(set(numbers.astype(int)))
    if present != list(range(1, present[-1] + 1)):
        raise DataError(f"{where}: {what} {present} are there, one is missing; {REMEDY}")


def trial_table(events: pd.DataFrame, zero_shot: bool, test_set: Literal["small", "large"]) -> pd.DataFrame:
    """The trial table of events with ``trial_type``, ``concept_number``, ``session``, ``run`` and, where known,
    ``stimulus_id`` and ``concept`` (else THINGS numbers stand for them)."""
    events = events[events["trial_type"] != "catch"].reset_index(drop=True)
    is_test = (events["trial_type"] == "test").to_numpy()
    of_test_concept = events["concept_number"].isin(set(events["concept_number"][is_test])).to_numpy()
    split = np.where(is_test, "test", "train").astype(object)
    if test_set == "large":
        split[is_test] = "unused"
        split[~is_test & of_test_concept] = "test"
    elif zero_shot:
        split[~is_test & of_test_concept] = "unused"
    if "stimulus_id" in events:
        ids, concepts = events["stimulus_id"], events["concept"]
    else:
        ids = events["image_number"].astype(int).map("things{:05d}".format)
        concepts = events["concept_number"].astype(int).map("concept{:04d}".format)
    return pd.DataFrame(
        {
            "stimulus_id": ids,
            "concept": concepts,
            "session": events["session"].astype(int),
            "run": events["run"].astype(int),
            "repetition": number_repetitions(ids.tolist()),
            "split": split,
        }
    )


def _read(epochs: Any, rows: np.ndarray, path: Path) -> np.ndarray:
    with reading(path, "FIF (or one of its parts -epo-1.fif ...)"):
        return epochs[rows].get_data(copy=False, verbose="error").astype(np.float32)


def write_fake(
    root: str | Path,
    subjects: tuple[str, ...] = ("P1",),
    n_concepts: int = 6,
    n_test: int = 2,
    split_size: str = "2MB",
    seed: int = 0,
) -> None:
    """Write split ``-epo.fif`` files in the published form: 271 sensors, 281 samples at 200 Hz, 12 pictures a concept,
    ``n_test`` test pictures shown twelve times, catch trials. A picture's colour drives the sensors at 0.1 s."""
    import mne
    from PIL import Image

    root = Path(root)
    rng = np.random.default_rng(seed)
    concepts = [f"thing_{chr(97 + i)}" for i in range(n_concepts)]
    main = [(i, f"{c}_{k + 1:02d}b", "exp") for i, c in enumerate(concepts) for k in range(12)]
    test = [(i, f"{c}_14s", "test") for i, c in enumerate(concepts[:n_test])]
    numbers = {stem: 100 + k for k, (_, stem, _) in enumerate(main + test)}
    colours = {stem: rng.uniform(0, 255, 3) for stem in numbers}
    for concept, stem, _ in main + test:
        path = root / "images" / concepts[concept] / f"{stem}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((10, 10, 3), colours[stem], dtype=np.uint8)).save(path)
    info = mne.create_info([f"ML{i:03d}-1609" for i in range(271)], 200.0, "mag")
    times = np.arange(281) / 200 - 0.1
    bump = np.exp(-(((times - 0.1) / 0.05) ** 2))
    weights = rng.normal(size=(3, 271))
    (root / "derivatives" / "preprocessed").mkdir(parents=True, exist_ok=True)
    for subject in subjects:
        shown: list[tuple[int, str, str]] = main + test * 12 + [(-1, "catch", "catch")] * 8
        shown = [shown[i] for i in rng.permutation(len(shown))]
        drive = np.stack([colours.get(stem, np.full(3, 127.5)) for _, stem, _ in shown]) / 255 - 0.5
        signal = 1e-13 * ((drive @ weights)[:, :, None] * bump + 0.7 * rng.normal(size=(len(shown), 271, 281)))
        metadata = pd.DataFrame(
            {
                "trial_type": [kind for _, _, kind in shown],
                "session_nr": np.arange(len(shown)) * 12 // len(shown) + 1,
                "run_nr": np.arange(len(shown)) % 10 + 1,
                "things_category_nr": [float(concept + 1) if concept >= 0 else CATCH for concept, _, _ in shown],
                "things_image_nr": [float(numbers.get(stem, CATCH)) for _, stem, _ in shown],
                "image_path": [f"images_meg/{stem}.jpg" for _, stem, _ in shown],
            }
        )
        codes = metadata["things_image_nr"].astype(int).to_numpy()
        events = np.column_stack([np.arange(len(shown)) * 300, np.zeros_like(codes), codes])
        epochs = mne.EpochsArray(signal, info, events, tmin=-0.1, metadata=metadata, baseline=None, verbose="error")
        path = root / "derivatives" / "preprocessed" / f"preprocessed_{subject}-epo.fif"
        epochs.save(path, split_size=split_size, overwrite=True, verbose="error")
