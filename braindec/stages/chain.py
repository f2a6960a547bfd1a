"""Push predictions through a chain of stages in chunks, one PNG an item, resumable and shared chunk by chunk."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from braindec.artifacts import safe_name
from braindec.contracts import Stage, StageContext
from braindec.run_tables import read_reconstructions
from braindec.stages.inputs import WHOLE_FOLD
from braindec.stages.preview import Preview
from braindec.stages.sharing import Share
from braindec.stages.writing import ChunkWriter
from braindec.types import DataError, Predictions, Reconstructions

log = logging.getLogger(__name__)

_KEY_LENGTH = 16


def run_chain(stages: Mapping[str, Stage], predictions: Predictions, context: StageContext) -> Reconstructions:
    """Pass predictions through every stage in order."""
    made: Reconstructions | None = None
    for name, stage in stages.items():
        made = stage.run(predictions, made, context)
        if made.table["item_id"].tolist() != predictions.table["item_id"].tolist():
            raise DataError(f"stage {name!r}: returned other items than it was given, or in another order")
    if made is None:
        raise DataError("no stage was given; say stages=[NAME,...]")
    return made


@dataclass(frozen=True)
class Chunks:
    """The chunks of one source and fold, and their files under ``folder/parts/FOLD/KEY``.

    ``key`` is the hash of all that determines the result: what lies under another key is of another result.
    """

    folder: Path
    fold: str
    key: str
    n: int
    batch_size: int

    @property
    def place(self) -> Path:
        """Where the chunks' tables lie."""
        return self.folder / "parts" / safe_name(self.fold) / self.key[:_KEY_LENGTH]

    def rows(self) -> list[np.ndarray]:
        """Rows of each chunk."""
        starts = range(0, self.n, self.batch_size)
        return [np.arange(start, min(start + self.batch_size, self.n)) for start in starts]

    def path(self, rows: np.ndarray) -> Path:
        """Table of a chunk."""
        return self.place / f"{rows[0]:07d}-{rows[-1] + 1:07d}.csv"

    def is_done(self, rows: np.ndarray) -> bool:
        """Whether a chunk's table and all of its pictures are there."""
        path = self.path(rows)
        if not path.exists():
            return False
        names = read_reconstructions(path)["image"]
        return all((self.folder / name).exists() for name in names if name)

    def whole(self) -> pd.DataFrame | None:
        """All rows of the table in their order; None as long as a chunk is missing."""
        paths = [self.path(rows) for rows in self.rows()]
        if not all(path.exists() for path in paths):
            return None
        return pd.concat([read_reconstructions(path) for path in paths], ignore_index=True)

    def clear_stale(self) -> None:
        """Remove the tables of chunks that were made under other keys: their pictures are about to be overwritten."""
        for other in self.place.parent.glob("*"):
            if other != self.place:
                # Other processes of the same command may be at it too.
                shutil.rmtree(other, ignore_errors=True)


def reconstruct_fold(
    folder: Path,
    key: str,
    stages: Mapping[str, Stage],
    predictions: Predictions,
    context: StageContext,
    batch_size: int,
    share: Share | None = None,
    preview: Preview | None = None,
) -> pd.DataFrame | None:
    """Reconstruct every item of one source and fold; returns its rows of the table.

    Parameters
    ----------
    folder : where PNG files go; finished chunks are noted under ``folder/parts``.
    key : hash of all that determines the result; chunks noted under another key are not used.
    share : with several processes each makes every so-maniest chunk. All but the last to finish get None.
    preview : shows pictures as they come.
    """
    share = share or Share()
    fold = str(predictions.table["fold"].iloc[0])
    chunks = Chunks(folder, fold, key, len(predictions), batch_size)
    context = replace(context, options={**context.options, WHOLE_FOLD: predictions})
    own = [rows for number, rows in enumerate(chunks.rows()) if share.owns(number)]
    begun = False
    with ChunkWriter(folder, context.seed) as writer:
        for rows in context.progress(own, f"reconstructing {predictions.source} {fold}"):
            if chunks.is_done(rows):
                continue
            part = predictions.select(rows)
            made = run_chain(stages, part, context)
            if not begun:
                chunks.clear_stale()
                begun = True
            writer.add(chunks.path(rows), made, part)
            if preview is not None and share.rank == 0:
                preview.add(made)
    return chunks.whole()
