"""THINGS-EEG2: EEG of ten people who saw 16,740 photographs of objects in rapid series.

Source: Gifford, Dwivedi, Roig & Cichy 2022, "A large and rich EEG dataset for modeling human visual object
recognition", NeuroImage 264:119754. Five on-disk dialects are in circulation; which one lies in ``root`` is found by
looking at the files (`braindec.datasets.things_eeg2.files`).

Legend: N trials, S channels, T time points.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from braindec.contracts import Progress
from braindec.datasets.cache import Block, assemble, finished, write_json
from braindec.datasets.cached import CachedReader
from braindec.datasets.files import BadPositions, ImageFiles, check_positions, fingerprint
from braindec.datasets.safe_pickle import load
from braindec.datasets.things_eeg2 import files
from braindec.types import DataError, Space, Stimuli, Trials, Unit

REMEDY = files.REMEDY
IMAGE_FOLDERS = {"train": "training_images", "test": "test_images"}
_ROW_BLOCK = 8192


class ThingsEEG2(CachedReader):
    """EEG trials float32 (trial, channel, time), training trials first, then test trials, each by picture.

    Published training part: 1654 concepts x 10 pictures x 4 showings; test part: 200 concepts x 1 picture x 80
    showings; no concept is in both. Stimulus ids are ``folder/file`` without ending, concepts the folder's name
    without its number. ``repetition`` counts from 0. ``session`` is 1-based, and 0 where the dialect lost it
    (preprocessed training trials are sorted by picture; each picture was shown in two of the four sessions). ``unit``
    is ``V`` for raw recordings and ``z`` for the preprocessed ones, whose noise was whitened by their publishers.

    Parameters
    ----------
    root : folder that holds ``sub-01`` .. (directly, or in one of the published folders), and the picture folders.
    images : folder of ``training_images`` and ``test_images``, relative to ``root``; None: found below ``root``.
    channels : ``posterior`` keeps the 17 occipital and parietal ones, ``all`` what the file holds.
    image_size_px : side to which pictures are resized; None keeps their own.
    cache_dir : where signals are kept for memory-mapping; None: they are read into memory each time.
    bad_positions : what to do with channels that are constant, or not finite.
    """

    name = "things_eeg2"
    leak_unit = "concept"

    def __init__(
        self,
        root: str,
        images: str | None = None,
        channels: str = "all",
        image_size_px: int | None = None,
        cache_dir: str | None = None,
        bad_positions: BadPositions = "raise",
    ) -> None:
        if channels not in ("all", "posterior"):
            raise DataError(f"things_eeg2: channels={channels!r}; expected 'all' or 'posterior'")
        self.root = root
        self.images = images
        self.channels = channels
        self.image_size_px = image_size_px
        self.cache_dir = cache_dir
        self.bad_positions = bad_positions

    def subjects(self) -> tuple[str, ...]:
        """``sub-01`` .. ``sub-10``, those on disk."""
        return files.find(Path(self.root))[1]

    def stimuli(self) -> Stimuli:
        """Every picture, training pictures first, decoded when asked for."""
        ids, concepts, paths = self._pictures()
        parts = ("train", "test")
        return Stimuli(
            ids=tuple(i for part in parts for i in ids[part]),
            concepts=tuple(c for part in parts for c in concepts[part]),
            images=ImageFiles([p for part in parts for p in paths[part]], self.image_size_px) if paths else None,
        )

    def version(self) -> str:
        """The dialect's name and 12 hexadecimal digits from the signal files of every subject."""
        dialect, subjects, _ = files.find(Path(self.root))
        paths = [path for subject in subjects for path in files.signal_files(Path(self.root), subject)]
        return f"{dialect}-{fingerprint(paths, self.channels)}"

    def _folder(self, cache_dir: Path, subject: str) -> Path:
        return cache_dir / f"things_eeg2-{subject}-{self.channels}"

    def _trials(self, subject: str, cache_dir: Path | None, progress: Progress) -> Trials:
        root = Path(self.root)
        where = f"{root} {subject}"
        ids, concepts, _ = self._pictures()
        pictures = hashlib.sha256(repr(sorted(ids.items())).encode()).hexdigest()[:12]
        source = {"files": fingerprint(files.signal_files(root, subject)), "pictures": pictures}
        folder = None if cache_dir is None else self._folder(cache_dir, subject)
        # A finished cache answers alone: the preprocessed files can only be read whole, which takes minutes.
        prepared = None if folder is None else finished(folder, source)
        unit: Unit
        if folder is None or prepared is None:
            recording = files.read(root, subject)
            parts = {split: recording.parts[split] for split in ("train", "test") if split in recording.parts}
            tables = [_table(where, part, split, ids[split], concepts[split]) for split, part in parts.items()]
            table = pd.concat(tables, ignore_index=True)
            picks = _pick(where, recording.channel_names, self.channels)
            names = [recording.channel_names[i] for i in picks]
            times = recording.times_s
            unit = "V" if recording.dialect == "raw" else "z"
            arrays = [part.signal for part in parts.values()]
            shape = (len(table), len(picks), len(times))
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                table.to_json(folder / "table.json", orient="split")
                write_json(folder / "axes.json", {"names": names, "times_s": times.tolist(), "unit": unit})
            signal, bad = assemble(folder, shape, _blocks(arrays, picks), source, progress, where)
        else:
            signal, bad = prepared
            table = pd.read_json(folder / "table.json", orient="split", dtype={"concept": str, "stimulus_id": str})
            axes = json.loads((folder / "axes.json").read_text())
            names, times, unit = axes["names"], np.array(axes["times_s"]), axes["unit"]
        kept = check_positions(bad, where, "channels", names, self.bad_positions)
        space = Space(kind="channels", size=len(names), names=tuple(names))
        trials = Trials(subject=subject, signal=signal, unit=unit, space=space, times_s=times, table=table)
        return trials if kept.all() else trials.select_space(kept)

    def _pictures(self) -> tuple[dict[str, list[str]], dict[str, list[str]], dict[str, list[Path]]]:
        """Ids, concepts and paths of the pictures by part, in the published order (no paths: no pictures on disk)."""
        folder = self._image_folder()
        if folder is None:
            return _pictures_from_metadata(Path(self.root))
        ids: dict[str, list[str]] = {}
        concepts: dict[str, list[str]] = {}
        paths: dict[str, list[Path]] = {}
        for part, name in IMAGE_FOLDERS.items():
            found = sorted(p for p in (folder / name).glob("*/*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
            if not found:
                raise DataError(f"{folder / name}: no pictures (expected NNNNN_concept/*.jpg); unpack {name}.zip there")
            paths[part] = found
            ids[part] = [picture_id(path) for path in found]
            concepts[part] = [concept_of(path.parent.name) for path in found]
        return ids, concepts, paths

    def _image_folder(self) -> Path | None:
        root = Path(self.root)
        if self.images is not None:
            return root / self.images
        candidates = [root, *sorted(p for p in root.iterdir() if p.is_dir())] if root.is_dir() else []
        return next((p for p in candidates if (p / IMAGE_FOLDERS["train"]).is_dir()), None)


def concept_of(folder: str) -> str:
    """``aardvark`` from ``00001_aardvark``."""
    return re.sub(r"^\d+_", "", folder)


def picture_id(path: Path | str) -> str:
    """``00001_aardvark/aardvark_01b`` from the picture's path, absolute or relative, in either slash."""
    parts = str(path).replace("\\", "/").split("/")
    if len(parts) < 2:
        raise DataError(f"things_eeg2: picture path {str(path)!r} has no concept folder")
    return f"{parts[-2]}/{parts[-1].rsplit('.', 1)[0]}"


def _pictures_from_metadata(root: Path) -> tuple[dict[str, list[str]], dict[str, list[str]], dict[str, list[Path]]]:
    path = next(iter(sorted(root.rglob("image_metadata.npy"))), None) if root.is_dir() else None
    if path is None:
        raise DataError(
            f"{root}: neither training_images/ and test_images/ nor image_metadata.npy is there; download the pictures "
            "from osf.io/3jk45 and unpack them, so that trials can be named"
        )
    content = load(path)
    ids, concepts = {}, {}
    for part in ("train", "test"):
        keys = (f"{part}_img_concepts", f"{part}_img_files")
        if not isinstance(content, dict) or any(key not in content for key in keys):
            raise DataError(f"{path}: expected the fields {keys}; is it THINGS-EEG2's image_metadata.npy?")
        folders, names = (list(map(str, content[key])) for key in keys)
        ids[part] = [picture_id(f"{folder}/{name}") for folder, name in zip(folders, names)]
        concepts[part] = [concept_of(folder) for folder in folders]
    return ids, concepts, {}


def _pick(where: str, names: Sequence[str], channels: str) -> np.ndarray:
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise DataError(f"{where}: the channel names {twice} occur more than once")
    keep = [i for i, name in enumerate(names) if channels == "all" or name[:1] in ("O", "P")]
    if not keep:
        raise DataError(f"{where}: no posterior channel (O*, P*) among {list(names)[:5]}...")
    return np.array(keep)


def _table(where: str, part: files.Part, split: str, ids: Sequence[str], concepts: Sequence[str]) -> pd.DataFrame:
    if part.paths is not None:
        known = {stimulus_id: row for row, stimulus_id in enumerate(ids)}
        named = [picture_id(path) for path in part.paths]
        unknown = [i for i in named if i not in known]
        if unknown:
            raise DataError(f"{where}: {len(unknown)} {split} trials name pictures that are not there: {unknown[:3]}")
        image = np.array([known[i] for i in named])
    else:
        image = part.image
    if image.min() < 0 or image.max() >= len(ids):
        raise DataError(
            f"{where}: {split} trials number pictures {image.min() + 1}..{image.max() + 1} (1-based), but there are "
            f"{len(ids)} {split} pictures; unpack the whole image archive"
        )
    return pd.DataFrame(
        {
            "stimulus_id": [ids[i] for i in image],
            "concept": [concepts[i] for i in image],
            "session": part.session,
            "run": part.run,
            "repetition": part.repetition,
            "split": split,
        }
    )


def _blocks(arrays: Sequence[np.ndarray], picks: np.ndarray) -> list[Block]:
    blocks: list[Block] = []
    offset = 0
    for array in arrays:
        for start in range(0, len(array), _ROW_BLOCK):
            end = min(start + _ROW_BLOCK, len(array))
            blocks.append((offset + start, offset + end, partial(_take, array, start, end, picks)))
        offset += len(array)
    return blocks


def _take(array: np.ndarray, start: int, end: int, picks: np.ndarray) -> np.ndarray:
    return np.asarray(array[start:end][:, picks], dtype=np.float32)
