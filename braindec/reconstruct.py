"""``braindec reconstruct``: pictures and words from a run's predictions.

    braindec reconstruct run=outputs/my_run
    braindec reconstruct run=outputs/my_run stage=[decode_target] ids=[subj01_scene-000017]

Writes ``reconstructions/``: PNG files named by item, and ``table.csv``. A killed command is taken up by
the same command; no image is lost, doubled or half-written.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from braindec.artifacts import RunFolder, array_hash, text_hash, write_table
from braindec.compose import build, checked, load_config, parts_of, resolve_device
from braindec.console import progress
from braindec.contracts import Stage
from braindec.types import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from omegaconf import DictConfig

    from braindec.contracts import StageContext

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reconstruction:
    """The schema of ``configs/reconstruct.yaml``.

    Attributes
    ----------
    run : the run folder that ``train`` wrote.
    stages : stages in order; none means those of the run's own configuration.
    ids : item ids to reconstruct; empty means all.
    controls : whether the controls' predictions are reconstructed too (evaluation needs them).
    batch_size, device : as in training; None means the run's own.
    """

    run: str
    stages: dict[str, Stage]
    ids: list[str]
    controls: bool
    batch_size: int | None
    device: str | None


def reconstruct(config: DictConfig) -> RunFolder:
    """Reconstruct as the configuration says; returns the run folder."""
    from omegaconf import OmegaConf

    from braindec.run_tables import CURVE, flags_of

    checked(config, Reconstruction)
    run = RunFolder.open(Path(config.run))
    original = load_config(run.path / "config.yaml")
    stages_config = config.stages or original.stages
    stages = build(stages_config)
    if not stages:
        raise DataError(f"run={run.path}: its configuration names no stage; say stage=[NAME,...]")
    chain_text = OmegaConf.to_yaml(stages_config)
    batch_size = config.batch_size or original.batch_size
    # A repetition curve is of predicted embeddings: reconstructing it would multiply the work of the stages.
    sources = [s for s in run.sources() if not s.startswith(CURVE)] if config.controls else ["decoded"]
    if "decoded" not in run.sources():
        raise DataError(f"run={run.path}: holds no predictions; run braindec train with the same run_dir first")
    flags: set[str] = set()
    contexts = {fold: _context(run, original, fold, config.device or original.device) for fold in run.folds()}
    for source in sources:
        made = [
            _reconstruct_fold(run, source, fold, stages, chain_text, contexts[fold], batch_size, list(config.ids))
            for fold in run.folds()
        ]
        tables = [table for table in made if table is not None]
        if not tables:
            raise DataError(f"ids={list(config.ids)}: none of them is an item of the run {run.path}")
        flags.update(*(flags_of(table) for table in tables))
        folder = run.reconstructions(source)
        if not config.ids:
            write_table(folder / "table.csv", pd.concat(tables, ignore_index=True))
    run.update_manifest(chain=list(stages), stages_hash=text_hash(chain_text), reconstruction_flags=sorted(flags))
    return run


def _reconstruct_fold(
    run: RunFolder,
    source: str,
    fold: str,
    stages: Mapping[str, Stage],
    chain_text: str,
    context: StageContext,
    batch_size: int,
    ids: list[str],
) -> pd.DataFrame | None:
    from braindec.run_tables import read_predictions
    from braindec.stages.chain import reconstruct_fold

    predictions = read_predictions(run.predictions(source, fold), source, list(context.targets))
    if ids:
        predictions = predictions.select(predictions.table["item_id"].isin(ids).to_numpy())
        if not len(predictions):
            return None
    key = text_hash(f"{chain_text}|{context.seed}|{batch_size}|{ids}|{array_hash(dict(predictions.embeddings))}")
    return reconstruct_fold(run.reconstructions(source), key, stages, predictions, context, batch_size)


def _context(run: RunFolder, original: DictConfig, fold: str, device: str) -> StageContext:
    from braindec.contracts import StageContext
    from braindec.training.folds import load_targets, training_ids
    from braindec.training.predict import embed_training

    targets = load_targets(run, fold, parts_of(original).targets())
    training = build(original.dataset).stimuli().view(training_ids(run, fold))
    cache_dir = None if original.cache_dir is None else Path(original.cache_dir)
    embeddings = embed_training(targets, training, cache_dir, progress)
    return StageContext(targets, training, embeddings, original.seed, resolve_device(device), progress)


def run(config: DictConfig) -> None:
    """What ``braindec reconstruct`` does."""
    folder = reconstruct(config)
    log.info("pictures are in %s; next: braindec evaluate run=%s", folder.path / "reconstructions", folder.path)
