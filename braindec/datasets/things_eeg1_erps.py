"""Category ERPs of THINGS-EEG1: one average a person and category, for decoding across people.

Source: derived from Grootswagers et al. 2022 (OpenNeuro ds003825, CC0).

Legend: N person-category pairs, S channels, T time points.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from braindec.datasets.files import fingerprint, need_file, reading
from braindec.types import DataError, Space, Stimuli, Trials

FILE = "things_eeg1_category_erps.npz"
GROUP = "group"
FIELDS = ("erp", "subjects", "categories", "ch_names", "times")
REMEDY = "copy it (from OpenNeuro ds003825, CC0; 15 MB) there, or set the data set's root to the folder that holds it"


class ThingsEEG1ERPs:
    """Category averages float32 (person x category, channel, time) in volt, all people in one table.

    The one subject is ``group``; ``session`` numbers the people from 1, so that a split over sessions leaves people
    out. A category is both stimulus and concept. No partition is published: ``split`` is ``train`` throughout.

    Parameters
    ----------
    root : folder that holds ``things_eeg1_category_erps.npz``.
    """

    name = "things_eeg1_erps"

    def __init__(self, root: str) -> None:
        self.root = root

    def subjects(self) -> tuple[str, ...]:
        """The one table, ``group``."""
        return (GROUP,)

    def trials(self, subject: str) -> Trials:
        """All people's averages. Raises `DataError` on a missing, cut or inconsistent file, or dead channels."""
        if subject != GROUP:
            raise DataError(f"things_eeg1_erps: unknown subject {subject!r}; the averages of all people are {GROUP!r}")
        content = self._read()
        erp, categories = content["erp"], content["categories"]
        n_people, n_categories, n_channels, n_times = erp.shape
        table = pd.DataFrame(
            {
                "stimulus_id": np.tile(categories, n_people),
                "concept": np.tile(categories, n_people),
                "session": np.repeat(np.arange(1, n_people + 1), n_categories),
                "run": 1,
                "repetition": np.repeat(np.arange(n_people), n_categories),
                "split": "train",
            }
        )
        signal = (erp.reshape(-1, n_channels, n_times) * np.float32(1e-6)).astype(np.float32)
        space = Space(kind="channels", size=n_channels, names=tuple(map(str, content["ch_names"])))
        return Trials(
            subject=GROUP, signal=signal, unit="V", space=space, times_s=content["times"].astype(float), table=table
        )

    def stimuli(self) -> Stimuli:
        """The categories; there are no pictures, each average is over many."""
        categories = tuple(map(str, self._read()["categories"]))
        return Stimuli(
            ids=categories, concepts=categories, captions=tuple((f"a photograph of a {c}",) for c in categories)
        )

    def version(self) -> str:
        """12 hexadecimal digits from the file."""
        return fingerprint([need_file(Path(self.root) / FILE, "the category averages", REMEDY)])

    def _read(self) -> dict[str, np.ndarray]:
        path = need_file(Path(self.root) / FILE, "the category averages", REMEDY)
        with reading(path, "npz"), np.load(path, allow_pickle=False) as file:
            missing = [name for name in FIELDS if name not in file]
            if missing:
                raise DataError(f"{path}: expected the arrays {list(FIELDS)}, found no {missing}")
            content = {name: file[name] for name in FIELDS}
        expected = tuple(len(content[name]) for name in FIELDS[1:])
        erp = content["erp"]
        if erp.shape != expected:
            raise DataError(
                f"{path}: erp must be (subjects, categories, ch_names, times) = {expected}, found {erp.shape}"
            )
        for name in ("subjects", "categories", "ch_names"):
            if len(set(content[name].tolist())) != len(content[name]):
                raise DataError(f"{path}: {name} holds an entry more than once")
        dead = ~np.isfinite(erp).all(axis=3) | (np.ptp(erp, axis=3) == 0)
        if dead.any():
            person, category, channel = np.argwhere(dead)[0]
            raise DataError(
                f"{path}: channel {content['ch_names'][channel]} of {content['subjects'][person]} is dead or not "
                f"finite in {content['categories'][category]} ({int(dead.sum())} such averages)"
            )
        return content


def write_fake(root: str | Path, n_people: int = 6, seed: int = 0) -> None:
    """Write averages of the true channels and times; each category has its own pattern from 0.1 s after onset."""
    rng = np.random.default_rng(seed)
    times = np.arange(276) / 250 - 0.1
    categories = np.array(["animal", "body", "food", "tool", "vehicle"])
    patterns = rng.normal(size=(5, 63, 1)) * np.exp(-(((times - 0.2) / 0.08) ** 2))
    erp = patterns + 0.5 * rng.normal(size=(n_people, 5, 63, 276))
    Path(root).mkdir(parents=True, exist_ok=True)
    np.savez(
        Path(root) / FILE,
        erp=erp.astype(np.float32),
        subjects=np.array([f"sub {i}" for i in range(n_people)]),
        categories=categories,
        ch_names=np.array([f"E{i + 1}" for i in range(63)]),
        times=times,
    )
