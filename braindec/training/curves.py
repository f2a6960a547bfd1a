"""Training curves: a table that survives a kill, and optionally TensorBoard and Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from braindec.artifacts import read_table, write_table
from braindec.types import DataError

FILE_NAME = "curves.csv"


class Curves:
    """Rows of ``curves.csv``: epoch, step (updates done), then one column a curve.

    Parameters
    ----------
    folder : where ``curves.csv`` (and ``tensorboard/``) lie.
    step : updates done by the checkpoint that is taken up; later rows of a killed run are dropped.
    tensorboard : also write event files.
    wandb : name of a Weights & Biases project that gets the curves too; None for none. Without a network say
        ``WANDB_MODE=offline``.

    Raises
    ------
    DataError
        If a package that is asked for is not installed.
    """

    def __init__(self, folder: Path, step: int, tensorboard: bool = False, wandb: str | None = None) -> None:
        self.path = folder / FILE_NAME
        self.rows: list[dict[str, float]] = []
        if step and self.path.exists():
            table = read_table(self.path)
            kept = table[table["step"] <= step]
            self.rows = [{str(k): v for k, v in row.items() if pd.notna(v)} for row in kept.to_dict("records")]
        self._writer: Any = None
        self._run: Any = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise DataError(
                    "engine.tensorboard: the package tensorboard is not installed (pip install 'braindec[train]')"
                ) from error
            self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step)
        if wandb is not None:
            try:
                import wandb as weights_and_biases
            except ImportError as error:
                raise DataError(
                    f"engine.wandb={wandb}: the package wandb is not installed (pip install wandb), or leave it out"
                ) from error
            folder.mkdir(parents=True, exist_ok=True)
            self._run = weights_and_biases.init(project=wandb, dir=str(folder))

    def add(self, epoch: int, step: int, values: Mapping[str, float]) -> None:
        """Append a row, or complete the last one when it has the same step."""
        if self.rows and self.rows[-1]["step"] == step:
            self.rows[-1].update(values)
        else:
            self.rows.append({"epoch": epoch, "step": step, **values})
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)
        if self._run is not None:
            self._run.log(dict(values), step=step)

    def table(self) -> pd.DataFrame:
        """All rows."""
        return pd.DataFrame(self.rows)

    def save(self) -> None:
        """Write ``curves.csv``, whole or not at all."""
        if self.rows:
            table = self.table().astype({"epoch": int, "step": int})
            write_table(self.path, table.astype(object).where(table.notna(), "nan"))
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """End what was opened beside the table."""
        if self._writer is not None:
            self._writer.close()
        if self._run is not None:
            self._run.finish()


def read_curves(folder: Path) -> pd.DataFrame | None:
    """The curves of a fit whose folder this is, or None where it wrote none."""
    path = folder / FILE_NAME
    if not path.exists():
        return None
    return read_table(path)
