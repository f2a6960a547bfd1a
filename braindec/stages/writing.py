"""Files of reconstructed items, written while the next items are being made."""

from __future__ import annotations

import json
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pandas as pd

from braindec.artifacts import image_hash, safe_name, write_image
from braindec.artifacts import write_table as write_csv
from braindec.run_tables import FLAG_SEPARATOR
from braindec.stages.seeds import item_seeds
from braindec.types import PREDICTION_COLUMNS, Predictions, Reconstructions

_MOST_THREADS = 8
_COMPRESSION = 1
"""A quarter of the default's time for files a tenth larger."""


class ChunkWriter:
    """Writes each chunk's PNG files by threads, and its table once all of them are on disk.

    Compressing pictures of 512 px takes a tenth of the time of sampling them on a fast GPU; here it takes none of it.
    At most one chunk waits, so that memory stays bounded.

    Parameters
    ----------
    folder : where PNG files go.
    seed : the run's seed, for the table.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.seed = seed
        self._pool = ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1))
        self._waiting: tuple[Path, pd.DataFrame, list[Future[str]]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finish what waits, also after an error of the next chunk; that error is the one that is raised."""
        try:
            self._finish()
        except Exception:
            if error is None:
                raise
        finally:
            self._pool.shutdown()

    def add(self, path: Path, made: Reconstructions, predictions: Predictions) -> pd.DataFrame:
        """Begin to write a chunk whose table goes to ``path``; returns its rows without the files' hashes.

        Raises
        ------
        ArtifactError
            If the chunk before could not be written, e.g. because the disk is full.
        """
        self._finish()
        table = made.table[list(PREDICTION_COLUMNS)].copy()
        names = [""] * len(table)
        writes: list[Future[str]] = []
        if made.images is not None:
            names = [f"{safe_name(item)}.png" for item in table["item_id"]]
            writes = [
                self._pool.submit(_written, self.folder / name, image)
                for name, image in zip(names, made.images, strict=True)
            ]
        table["image"] = names
        table["caption"] = list(made.captions) if made.captions is not None else ""
        table["label"] = list(made.labels) if made.labels is not None else ""
        if made.answers is not None:
            table["answers"] = [_plain(dict(own)) for own in made.answers]
        table["seed"] = self.seed
        table["chain"] = " > ".join(made.chain)
        table["flags"] = FLAG_SEPARATOR.join(made.flags)
        table["item_seed"] = item_seeds(predictions, self.seed)
        for name, values in made.notes.items():
            table[name] = [_plain(value) for value in values]
        self._waiting = path, table, writes
        return table

    def _finish(self) -> None:
        if self._waiting is None:
            return
        (path, table, writes), self._waiting = self._waiting, None
        table["image_sha256"] = [write.result() for write in writes] or ""
        write_csv(path, table)


def _written(path: Path, image: np.ndarray) -> str:
    write_image(path, image, _COMPRESSION)
    return image_hash(image)


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | tuple | dict) else value
