"""Cross-validated decoding of concepts in memory: what a notebook calls.

from braindec.classify import cross_validate
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from braindec.contracts import Decoder, FitContext, Split, TrainingData, Transform
from braindec.models.discriminant import LinearDiscriminant
from braindec.signals.leak import check_folds, raise_on_leaks
from braindec.targets.cache import load_or_compute
from braindec.targets.concepts import ConceptOneHot
from braindec.types import Stimuli, Trials


def cross_validate(
    trials: Trials,
    stimuli: Stimuli,
    split: Split,
    decoder: Decoder | None = None,
    transforms: Mapping[str, Transform] | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> pd.DataFrame:
    """Predicted concept of every test trial of every fold; transforms and decoder are fitted on its training trials.

    Parameters
    ----------
    split : a function of `braindec.signals.split`.
    decoder : of the one-hot target ``concepts``; None: linear discriminant analysis with Ledoit-Wolf shrinkage.
    transforms : fitted on each fold's training trials and applied in order.

    Returns
    -------
    One row a test trial: ``fold``, ``row`` in the trial table, ``concept``, ``predicted`` and whether it is ``right``.

    Raises
    ------
    DataError
        If the split lets something of a test part into training, or a part cannot be fitted.
    """
    decoder = LinearDiscriminant() if decoder is None else decoder
    folds = split(trials.table)
    raise_on_leaks(check_folds({trials.subject: folds}, {trials.subject: trials}, stimuli))
    rows = []
    for fold in folds:
        parts = {name: trials.select(getattr(fold, name)) for name in ("train", "validation", "test")}
        for transform in (transforms or {}).values():
            transform.fit(parts["train"])
            parts = {name: transform.apply(part) if len(part) else part for name, part in parts.items()}
        target = ConceptOneHot()
        seen = tuple(dict.fromkeys([*parts["train"].table["stimulus_id"], *parts["validation"].table["stimulus_id"]]))
        target.fit(stimuli.select(tuple(dict.fromkeys(parts["train"].table["stimulus_id"]))))
        embeddings = load_or_compute(target, stimuli.select(seen), None, "concepts")
        with tempfile.TemporaryDirectory() as folder:
            data = TrainingData(
                {trials.subject: parts["train"]}, {trials.subject: parts["validation"]}, {"concepts": embeddings}
            )
            decoder.fit(data, FitContext(seed, device, Path(folder)))
            named = target.labels(decoder.predict(parts["test"], device)["concepts"])
        concepts = [stimuli.concepts[i] for i in stimuli.rows(parts["test"].table["stimulus_id"].tolist())]  # type: ignore[index]
        rows.append(pd.DataFrame({"fold": fold.name, "row": fold.test, "concept": concepts, "predicted": named}))
    table = pd.concat(rows, ignore_index=True)
    return table.assign(right=table["concept"] == table["predicted"])
