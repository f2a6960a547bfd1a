"""Partitions of sentences by the hash of their unit: the same on every machine, for every subject, in every order."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd

from braindec.types import DataError, Fold


def unit_number(name: str, salt: str) -> float:
    """A number in [0, 1) from a unit's name, by SHA-256; Python's own ``hash`` differs between processes."""
    return int.from_bytes(hashlib.sha256(f"{salt}|{name}".encode()).digest()[:8], "big") / 2**64


def by_hashed_unit(
    table: pd.DataFrame,
    test_fraction: float,
    validation_fraction: float = 0.1,
    salt: str = "braindec",
    column: str = "unit",
) -> tuple[Fold, ...]:
    """One fold: a unit (passage of sentences, or sentence) is in the part that its hashed name says.

    A unit's part depends on its name alone: not on which other units or subjects there are. Shares are therefore those
    asked for only on average.

    Parameters
    ----------
    table : trial table with the column ``column``; rows whose split is ``unused`` are left out.
    test_fraction, validation_fraction : shares of the units, their sum below 1.
    salt : another salt is another partition.

    Raises
    ------
    DataError
        If the column is missing, the fractions are not shares, or a part that is asked for is empty.
    """
    if column not in table.columns:
        raise DataError(
            f"by_hashed_unit: the trial table has no column {column!r}, found {list(table.columns)}; this split is for "
            "speech and text"
        )
    if not 0 < test_fraction < 1 or not 0 <= validation_fraction < 1 or test_fraction + validation_fraction >= 1:
        raise DataError(
            "by_hashed_unit: expected 0 < test_fraction, 0 <= validation_fraction and a sum below 1, found "
            f"{test_fraction} and {validation_fraction}"
        )
    units = table[column].astype(str)
    numbers = {name: unit_number(name, salt) for name in units.unique()}
    number = units.map(numbers).to_numpy(dtype=np.float64)
    usable = (table["split"] != "unused").to_numpy()
    test = usable & (number < test_fraction)
    validation = usable & ~test & (number < test_fraction + validation_fraction)
    train = usable & ~test & ~validation
    wanted = {"train": train, "test": test} | ({"validation": validation} if validation_fraction else {})
    empty = [name for name, rows in wanted.items() if not rows.any()]
    if empty:
        raise DataError(
            f"by_hashed_unit: no trial in {' and '.join(empty)} of {len(numbers)} units; give shorter passages, larger "
            "fractions or another salt"
        )
    return (Fold("by_unit", np.flatnonzero(train), np.flatnonzero(validation), np.flatnonzero(test)),)
