"""Training curves: a table that survives a kill, and optionally TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from braindec.artifacts import read_table, write_table

FILE_NAME = "curves.csv"


class Curves:
    """Rows of ``curves.csv``: epoch, step (updates done), then one column a curve.

    Parameters
    ----------
    folder : where ``curves.csv`` (and ``tensorboard/``) lie.
    step : updates done by the checkpoint that is taken up; later rows of a killed run are dropped.
    tensorboard : also write event files.
    """

    def __init__(self, folder: Path, step: int, tensorboard: bool) -> None:
        self.path = folder / FILE_NAME
        self.rows: list[dict[str, float]] = []
        if step and self.path.exists():
            table = read_table(self.path)
            kept = table[table["step"] <= step]
            self.rows = [{str(k): v for k, v in row.items() if pd.notna(v)} for row in kept.to_dict("records")]
        self._writer = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def add(self, epoch: int, step: int, values: Mapping[str, float]) -> None:
        """Append a row, or complete the last one when it has the same step."""
        if self.rows and self.rows[-1]["step"] == step:
            self.rows[-1].update(values)
        else:
            self.rows.append({"epoch": epoch, "step": step, **values})
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

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


def read_curves(folder: Path) -> pd.DataFrame | None:
    """The curves of a fit whose folder this is, or None where it wrote none."""
    path = folder / FILE_NAME
    if not path.exists():
        return None
    return read_table(path)
