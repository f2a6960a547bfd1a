"""Trials that are already in memory, as a data set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from braindec.types import DataError, Stimuli, Trials


class ArrayDataset:
    """A `Dataset` of trials in memory, so that a notebook decodes without writing a file.

    Parameters
    ----------
    trials : one or several subjects' trials (`braindec.datasets.from_python` makes them of arrays, ``mne.Epochs`` and
        nibabel images).
    stimuli : what was shown; None makes one of every stimulus id in the trials, with the concept of its trials.
    name : name of the data set.

    Raises
    ------
    DataError
        If two subjects have one name, a trial shows an unknown stimulus, or a stimulus has several concepts.
    """

    def __init__(self, trials: Trials | Sequence[Trials], stimuli: Stimuli | None = None, name: str = "arrays") -> None:
        given = (trials,) if isinstance(trials, Trials) else tuple(trials)
        self._trials = {one.subject: one for one in given}
        if len(self._trials) != len(given) or not given:
            raise DataError(f"ArrayDataset: expected subjects of different names, found {[t.subject for t in given]}")
        self._stimuli = stimuli_of(given) if stimuli is None else stimuli
        for one in given:
            self._stimuli.rows(sorted(set(one.table["stimulus_id"])))
        self.name = name

    def subjects(self) -> tuple[str, ...]:
        """Subject names, in the order given."""
        return tuple(self._trials)

    def trials(self, subject: str) -> Trials:
        """A subject's trials. Raises `DataError` on an unknown name."""
        if subject not in self._trials:
            raise DataError(f"{self.name}: unknown subject {subject!r}; the subjects are {self.subjects()}")
        return self._trials[subject]

    def stimuli(self) -> Stimuli:
        """Every stimulus."""
        return self._stimuli

    def version(self) -> str:
        """12 hexadecimal digits of signals and tables."""
        import hashlib

        digest = hashlib.sha256()
        for one in self._trials.values():
            digest.update(f"{one.subject} {one.unit} {one.signal.shape}".encode())
            digest.update(one.table.to_csv(index=False).encode())
            for row in one.signal:
                digest.update(np.ascontiguousarray(row).tobytes())
        return digest.hexdigest()[:12]


def stimuli_of(trials: Sequence[Trials]) -> Stimuli:
    """Stimuli without pictures: every id that the trials show, with its concept, in alphabetical order.

    Raises
    ------
    DataError
        If a stimulus has several concepts.
    """
    concept_of: dict[str, str] = {}
    for one in trials:
        for stimulus_id, concept in zip(one.table["stimulus_id"], one.table["concept"]):
            if concept_of.setdefault(stimulus_id, concept) != concept:
                raise DataError(
                    f"stimulus {stimulus_id!r} has the concepts {concept_of[stimulus_id]!r} and {concept!r}; give each "
                    "picture an id of its own"
                )
    ids = tuple(sorted(concept_of))
    return Stimuli(ids=ids, concepts=tuple(str(concept_of[i]) for i in ids))
