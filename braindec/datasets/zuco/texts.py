"""Labels and paraphrases that belong to ZuCo's sentences."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from braindec.datasets.files import read_table, reading
from braindec.signals.passages import sentence_key
from braindec.types import DataError

REMEDY = "copy the folder task_materials of the data set beside its tasks"
SENTIMENT = {"-1": "negative", "0": "neutral", "1": "positive"}


def read_labels(folder: Path, kind: str) -> dict[str, str]:
    """Sentence key -> label, of files whose name holds ``kind`` (``sentiment_labels_task1.csv``); empty without any.

    Several relations of a sentence are kept as the first one named.

    Raises
    ------
    DataError
        If a file has no column ``sentence`` or none for the label.
    """
    labels: dict[str, str] = {}
    for path in sorted(folder.glob(f"*{kind}*.csv")):
        with reading(path, "text table"):
            # The published files begin some lines with a comment sign and quote sentences that hold the separator.
            table = pd.read_csv(path, sep=";", dtype=str, keep_default_na=False, engine="python")
        names = [str(column).lstrip("#").strip().lower() for column in table.columns]
        table.columns = pd.Index(names)
        column = next((name for name in names if kind in name), None)
        if "sentence" not in names or column is None:
            raise DataError(f"{path}: expected the columns sentence and *{kind}*, separated by ';', found {names}")
        for sentence, label in zip(table["sentence"], table[column], strict=True):
            first = label.replace(",", " ").split()[0].lower() if label.strip() else ""
            if first:
                labels.setdefault(sentence_key(sentence.split()), SENTIMENT.get(first, first))
    return labels


def read_paraphrases(path: Path) -> dict[str, tuple[str, ...]]:
    """Sentence key -> its paraphrases. Raises `DataError` on an empty one."""
    table = read_table(path, ("sentence", "paraphrase"), "the table of paraphrases", REMEDY)
    found: dict[str, list[str]] = {}
    for sentence, paraphrase in zip(table["sentence"].astype(str), table["paraphrase"], strict=True):
        if not isinstance(paraphrase, str) or not paraphrase.strip():
            raise DataError(f"{path}: an empty paraphrase of {sentence[:60]!r}")
        found.setdefault(sentence_key(sentence.split()), []).append(paraphrase.strip())
    return {key: tuple(texts) for key, texts in found.items()}
