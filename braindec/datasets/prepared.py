"""What ``braindec prepare`` keeps beside a cached signal for the leak check: hashes of trials and of stimuli."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from braindec.contracts import Dataset
from braindec.signals.content import KnownContent, content_hashes, trial_hashes
from braindec.types import Stimuli, Trials

FOLDER = "hashes"


def write_hashes(cache_dir: Path, version: str, trials: Trials, stimuli: Stimuli) -> None:
    """Keep the hashes that the leak check needs: training from this cache need not read all signals and pictures."""
    ids = sorted(set(trials.table["stimulus_id"][trials.table["split"] != "unused"].astype(str)))
    content = content_hashes(stimuli, ids)
    kept = {
        "version": np.array(version),
        "trials": np.frombuffer(b"".join(trial_hashes(trials.signal)), dtype=np.uint8).reshape(len(trials), -1),
        "stimulus_ids": np.array(list(content)),
        "stimuli": np.array(list(content.values())),
    }
    path = cache_dir / FOLDER / f"{trials.subject}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp.npz")
    np.savez_compressed(temporary, **kept)  # type: ignore[arg-type]
    temporary.replace(path)


def read_hashes(dataset: Dataset, version: str, subjects: Sequence[str]) -> KnownContent:
    """The hashes in the data set's own cache that are of this version of its files; none where it was not prepared."""
    trials: dict[str, list[bytes]] = {}
    stimuli: dict[str, str] = {}
    cache_dir = getattr(dataset, "cache_dir", None)
    for subject in subjects if cache_dir is not None else ():
        path = Path(str(cache_dir)) / FOLDER / f"{subject}.npz"
        try:
            with np.load(path, allow_pickle=False) as kept:
                if str(kept["version"]) == version:
                    trials[subject] = [row.tobytes() for row in kept["trials"]]
                    stimuli.update(zip(kept["stimulus_ids"].tolist(), kept["stimuli"].tolist()))
        except (OSError, ValueError, KeyError):
            continue
    return KnownContent(trials, stimuli)
