"""Push predictions through a chain of stages in chunks, one PNG an item, resumable at every chunk."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from braindec.artifacts import read_json, safe_name, write_image, write_json
from braindec.artifacts import write_table as write_csv
from braindec.contracts import Stage, StageContext
from braindec.run_tables import FLAG_SEPARATOR, read_reconstructions
from braindec.stages.inputs import WHOLE_FOLD
from braindec.types import PREDICTION_COLUMNS, DataError, Predictions, Reconstructions

log = logging.getLogger(__name__)


def run_chain(stages: Mapping[str, Stage], predictions: Predictions, context: StageContext) -> Reconstructions:
    """Pass predictions through every stage in order."""
    made: Reconstructions | None = None
    for name, stage in stages.items():
        made = stage.run(predictions, made, context)
        if made.table["item_id"].tolist() != predictions.table["item_id"].tolist():
            raise DataError(f"stage {name!r}: returned other items than it was given, or in another order")
    if made is None:
        raise DataError("no stage was given; say stage=[NAME,...]")
    return made


def reconstruct_fold(
    folder: Path,
    key: str,
    stages: Mapping[str, Stage],
    predictions: Predictions,
    context: StageContext,
    batch_size: int,
) -> pd.DataFrame:
    """Reconstruct every item of one source and fold; returns its rows of the table.

    Parameters
    ----------
    folder : where PNG files go; finished chunks are noted under ``folder/parts``.
    key : hash of all that determines the result; chunks noted under another key are made anew.
    """
    fold = str(predictions.table["fold"].iloc[0])
    parts = folder / "parts" / safe_name(fold)
    key_file = parts / "key.json"
    if key_file.exists() and read_json(key_file)["key"] != key:
        for stale in parts.glob("*"):
            stale.unlink()
    write_json(key_file, {"key": key})
    context = replace(context, options={**context.options, WHOLE_FOLD: predictions})
    tables = []
    starts = range(0, len(predictions), batch_size)
    for start in context.progress(starts, f"reconstructing {predictions.source} {fold}"):
        rows = np.arange(start, min(start + batch_size, len(predictions)))
        done = parts / f"{start:07d}-{rows[-1] + 1:07d}.csv"
        if done.exists():
            tables.append(read_reconstructions(done))
            continue
        made = run_chain(stages, predictions.select(rows), context)
        table = _save_items(folder, made, context.seed)
        write_csv(done, table)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _save_items(folder: Path, made: Reconstructions, seed: int) -> pd.DataFrame:
    table = made.table[list(PREDICTION_COLUMNS)].copy()
    images = [""] * len(table)
    if made.images is not None:
        images = [f"{item}.png" for item in table["item_id"]]
        for name, image in zip(images, made.images, strict=True):
            write_image(folder / name, image)
    table["image"] = images
    table["caption"] = list(made.captions) if made.captions is not None else ""
    table["label"] = list(made.labels) if made.labels is not None else ""
    table["seed"] = seed
    table["chain"] = " > ".join(made.chain)
    table["flags"] = FLAG_SEPARATOR.join(made.flags)
    return table
