"""A run's predictions and reconstructions as `Evidence`, one a subject and fold, test stimuli opened here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from braindec.artifacts import RunFolder, image_hash, read_image, read_table, safe_name
from braindec.contracts import Target
from braindec.run_tables import CURVE, answers_of, read_predictions, read_reconstructions
from braindec.targets.cache import load_or_compute
from braindec.types import DataError, Evidence, Stimuli, TargetEmbeddings


@dataclass(frozen=True)
class FittedMaterial:
    """What one fold fitted, as evaluation needs it.

    Attributes
    ----------
    name : the fold's name.
    targets : fitted on the fold's training stimuli.
    training : those stimuli; ``training_embeddings`` their target embeddings.
    cache_dir : where target embeddings are kept, or None.
    """

    name: str
    targets: Mapping[str, Target]
    training: Stimuli
    training_embeddings: Mapping[str, TargetEmbeddings]
    cache_dir: Path | None = None


def test_ids(run: RunFolder, subject: str) -> tuple[str, ...]:
    """Distinct stimuli that any fold tests for a subject: its gallery."""
    found: dict[str, None] = {}
    for fold in run.folds():
        table = read_table(run.path / "folds" / safe_name(fold) / f"{safe_name(subject)}.csv", ("stimulus_id", "part"))
        found.update(dict.fromkeys(table.loc[table["part"] == "test", "stimulus_id"]))
    return tuple(found)


def build_evidence(
    run: RunFolder, source: str, fold: FittedMaterial, galleries: Mapping[str, Stimuli]
) -> list[Evidence]:
    """Evidence of one source (``decoded`` or a control) and fold, one entry a subject.

    Parameters
    ----------
    galleries : subject -> its test stimuli.

    Raises
    ------
    DataError
        When reconstructions are missing, doubled, or of other items than the predictions.
    """
    predictions = read_predictions(run.predictions(source, fold.name), source, list(fold.targets))
    rows = _reconstruction_rows(run, source, fold.name, predictions.table)
    made = []
    for subject in predictions.table["subject"].unique():
        mine = np.flatnonzero((predictions.table["subject"] == subject).to_numpy())
        table = predictions.table.iloc[mine].reset_index(drop=True)
        gallery = galleries[str(subject)]
        embeddings = {name: np.asarray(values[mine]) for name, values in predictions.embeddings.items()}
        own = None if rows is None else rows.iloc[mine]
        made.append(
            Evidence(
                table=table,
                gallery=gallery,
                truth=gallery.rows(table["stimulus_id"].tolist()),
                images=None if own is None else _images(run.reconstructions(source), own),
                captions=None if own is None else _texts(own["caption"]),
                labels=None if own is None else _texts(own["label"]),
                answers=None if own is None else answers_of(own, run.reconstructions(source) / "table.csv"),
                embeddings=embeddings,
                gallery_embeddings={name: _true_embeddings(fold, name, gallery) for name in embeddings},
            )
        )
    return made


def _true_embeddings(fold: FittedMaterial, name: str, gallery: Stimuli) -> np.ndarray:
    return load_or_compute(fold.targets[name], gallery, fold.cache_dir, name).values.astype(np.float32, copy=False)


def _reconstruction_rows(run: RunFolder, source: str, fold: str, table: pd.DataFrame) -> pd.DataFrame | None:
    path = run.reconstructions(source) / "table.csv"
    if not path.exists():
        # Where nothing was reconstructed, embeddings alone are scored, of controls and halves too.
        if source.startswith(CURVE) or not (run.reconstructions("decoded") / "table.csv").exists():
            return None
        raise DataError(f"{path}: control {source!r} was not reconstructed; run braindec reconstruct run={run.path}")
    if not run.made_alike(source):
        raise DataError(
            f"{path}: {source!r} was reconstructed by other stages or settings than the decoded items and cannot be "
            f"compared with them; run braindec reconstruct run={run.path} without controls=false"
        )
    rows = read_reconstructions(path)
    rows = rows[rows["fold"] == fold]
    if rows["item_id"].duplicated().any():
        twice = rows.loc[rows["item_id"].duplicated(), "item_id"].iloc[0]
        raise DataError(f"{path}: item {twice!r} occurs twice; run braindec reconstruct again")
    missing = [item for item in table["item_id"] if item not in set(rows["item_id"])]
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of {len(table)} items are missing, e.g. {missing[0]!r}; "
            f"run braindec reconstruct run={run.path}"
        )
    return rows.set_index("item_id").loc[table["item_id"]].reset_index()


def _images(folder: Path, rows: pd.DataFrame) -> np.ndarray | None:
    names = rows["image"].tolist()
    if not any(names):
        return None
    images = [read_image(folder / name) for name in names]
    for name, image, wanted in zip(names, images, rows.get("image_sha256", ()), strict=False):
        if image_hash(image) != wanted:
            raise DataError(
                f"{folder / name}: is not the picture that {folder / 'table.csv'} lists (another hash): a "
                "reconstruction with other settings was begun and not finished; run braindec reconstruct again"
            )
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        raise DataError(f"{folder}: pictures of different sizes {sorted(shapes)[:3]}; run braindec reconstruct again")
    return np.stack(images)


def _texts(column: pd.Series) -> tuple[str, ...] | None:
    texts = tuple(str(text) for text in column)
    return texts if any(texts) else None
