"""``braindec reconstruct``: pictures and words from a run's predictions.

    braindec reconstruct run=outputs/my_run
    braindec reconstruct run=outputs/my_run n_samples=4 stages.latent_diffusion.rank_by=clip_vision ids=[ITEM,ITEM]
    torchrun --nproc-per-node 8 -m braindec.cli reconstruct run=outputs/my_run

Writes ``reconstructions/``: PNG files named by item, ``table.csv`` and ``contact_sheet.png``, and while it runs a
``preview.png`` of the newest pictures. A killed command is taken up by the same command; no image is lost, doubled or
half-written. Several processes share the work; the last to finish writes the tables.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from braindec.artifacts import RunFolder, array_hash, read_table, text_hash, write_table
from braindec.compose import build, checked, parts_of, resolve_device, run_config
from braindec.console import progress
from braindec.contracts import Stage
from braindec.locations import configs_folder
from braindec.types import DataError, Predictions, Stimuli

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from braindec.contracts import StageContext
    from braindec.stages.chain import Chunks
    from braindec.stages.sharing import Share

log = logging.getLogger(__name__)

_SHOWN = 48


@dataclass(frozen=True)
class Reconstruction:
    """The schema of ``configs/reconstruct.yaml``.

    Attributes
    ----------
    run : the run folder that ``train`` wrote.
    stages : stages in order; none means those of the run's own configuration. Single values (``stages.NAME.steps=20``)
        change the run's own.
    ids : item ids to reconstruct; empty means all. Their pictures and table lie in ``reconstructions/selected`` and
        leave those of all items, and what the manifest says of them, as they are.
    n_samples : samples an item, for the stages that draw several and keep one; None means as configured.
    controls : whether the controls' predictions are reconstructed too (evaluation needs them).
    batch_size, device : as in training; None means the run's own.
    """

    run: str
    stages: dict[str, Stage]
    ids: list[str]
    n_samples: int | None
    controls: bool
    batch_size: int | None
    device: str | None


def reconstruct(config: DictConfig) -> RunFolder:
    """Reconstruct as the configuration says; returns the run folder."""
    from omegaconf import OmegaConf

    from braindec.stages.selection import with_samples
    from braindec.stages.sharing import share_of

    run = RunFolder.open(Path(config.run))
    original = run_config(run)
    chosen = stages_config(config.stages, original)
    if not chosen:
        raise DataError(f"run={config.run}: its configuration names no stage; say stages=[NAME,...]")
    config.stages = OmegaConf.create(chosen if config.n_samples is None else with_samples(chosen, config.n_samples))
    checked(config, Reconstruction)
    if config.batch_size is not None and config.batch_size < 1:
        raise DataError(f"batch_size={config.batch_size}: expected items of a chunk, at least 1")
    if "decoded" not in run.sources():
        raise DataError(f"run={run.path}: holds no predictions; run braindec train with the same run_dir first")
    check_ids(run, list(config.ids))
    work = _Work(run, original, config, share_of(), OmegaConf.to_yaml(config.stages))
    stages = build(config.stages)
    truth_of = sorted({name for stage in stages.values() for name in getattr(stage, "uses_truth", ())})
    places = [place for fold in run.folds() for place in work.reconstruct_fold(fold, stages, truth_of)]
    tables = [(source, chunks.whole()) for source, chunks in places]
    if any(table is None for _, table in tables):
        log.info("process %d of %d is done; the last one writes the tables", work.share.rank + 1, work.share.world)
        return run
    flags = work.write_tables([(source, table) for source, table in tables if table is not None])
    if not config.ids:
        stages_hash = text_hash(work.chain_text)
        made = {**run.manifest().get("reconstructed", {}), **dict.fromkeys(dict(tables), stages_hash)}
        run.update_manifest(chain=list(stages), stages_hash=stages_hash, reconstruction_flags=flags, reconstructed=made)
    return run


def check_ids(run: RunFolder, ids: list[str]) -> None:
    """Raise `DataError` where an id names no item that the run predicted."""
    from difflib import get_close_matches

    known: dict[str, None] = {}
    for fold in run.folds():
        table = read_table(run.predictions("decoded", fold) / "table.csv", ("item_id",))
        known.update(dict.fromkeys(table["item_id"]))
    unknown = [one for one in ids if one not in known]
    if unknown:
        near = [one for one in known if one.endswith(unknown[0])] or get_close_matches(unknown[0], known, n=1)
        raise DataError(
            f"ids: {len(unknown)} of {len(ids)} are no items of the run {run.path}, e.g. {unknown[0]!r}; "
            f"did you mean {(near or list(known))[0]!r}? All {len(known)} items are the column item_id of "
            f"{run.predictions('decoded', run.folds()[0]) / 'table.csv'}"
        )


def stages_config(given: Any, original: DictConfig) -> dict[str, Any]:
    """Configurations of a run's stages, its own values beneath those of the command line (``given``)."""
    from omegaconf import OmegaConf

    from braindec.stages.selection import chosen_stages

    def plain(node: Any) -> dict[str, Any]:
        return dict(OmegaConf.to_container(node, resolve=True) or {})  # type: ignore[arg-type]

    wanted = plain(given)
    files = {name: configs_folder() / "stage" / f"{name}.yaml" for name in wanted}
    defaults = {name: plain(OmegaConf.load(file)) for name, file in files.items() if file.exists()}
    return dict(chosen_stages(plain(original.stages), wanted, defaults))


def stage_context(run: RunFolder, original: DictConfig, fold: str, stimuli: Stimuli, device: str) -> StageContext:
    """What the stages of a fold may use: its fitted targets, its training stimuli and their embeddings."""
    from braindec.contracts import StageContext
    from braindec.stages.inputs import QUESTIONS
    from braindec.training.folds import load_targets, training_ids
    from braindec.training.predict import embed_training

    targets = load_targets(run, fold, parts_of(original).targets())
    training = stimuli.view(training_ids(run, fold))
    cache_dir = None if original.cache_dir is None else Path(original.cache_dir)
    embeddings = embed_training(targets, training, cache_dir, progress)
    # Stages may ask the questions of what was presented, and never see the answers.
    listed = zip(stimuli.ids, stimuli.questions or (), strict=False)
    options = {QUESTIONS: {stimulus_id: tuple(q.question for q in own) for stimulus_id, own in listed}}
    return StageContext(targets, training, embeddings, original.seed, device, progress, options, run.stages(fold))


@dataclass(frozen=True)
class _Work:
    """One command's share of the work."""

    run: RunFolder
    original: DictConfig
    config: DictConfig
    share: Share
    chain_text: str

    @property
    def sources(self) -> tuple[str, ...]:
        from braindec.run_tables import CURVE

        # A repetition curve is of predicted embeddings: reconstructing it would multiply the work of the stages.
        everything = tuple(source for source in self.run.sources() if not source.startswith(CURVE))
        return everything if self.config.controls else ("decoded",)

    @property
    def batch_size(self) -> int:
        return int(self.config.batch_size or self.original.batch_size)

    def reconstruct_fold(self, fold: str, stages: Mapping[str, Stage], truth_of: list[str]) -> list[tuple[str, Chunks]]:
        """This process's chunks of every source of a fold; where all of its chunks lie, by source."""
        from braindec.questions import with_questions
        from braindec.stages.chain import Chunks, reconstruct_fold
        from braindec.stages.preview import Preview

        stimuli = with_questions(build(self.original.dataset).stimuli(), self.original.get("questions"))
        device = self.share.device(resolve_device(self.config.device or self.original.device))
        context = stage_context(self.run, self.original, fold, stimuli, device)
        places = []
        for source in self.sources:
            predictions = self._predictions(source, fold, list(context.targets))
            if not len(predictions):
                continue
            own = _with_truth(context, predictions, stimuli, truth_of)
            folder = self._folder(source)
            preview = Preview(folder / "preview.png") if source == "decoded" else None
            key = self._key(predictions, own.seed)
            reconstruct_fold(folder, key, stages, predictions, own, self.batch_size, self.share, preview)
            places.append((source, Chunks(folder, fold, key, len(predictions), self.batch_size)))
        return places

    def write_tables(self, tables: list[tuple[str, pd.DataFrame]]) -> list[str]:
        """The table of each source, folds one after another, and the contact sheet; returns the flags of all."""
        from braindec.run_tables import flags_of

        for source in dict.fromkeys(source for source, _ in tables):
            whole = pd.concat([table for own, table in tables if own == source], ignore_index=True)
            folder = self._folder(source)
            write_table(folder / "table.csv", whole)
            if source == "decoded":
                self._write_contact_sheet(folder, whole)
            (folder / "preview.png").unlink(missing_ok=True)
        return sorted({flag for _, table in tables for flag in flags_of(table)})

    def _folder(self, source: str) -> Path:
        """Chosen items have their own: other settings must not change pictures that the table of all items names."""
        folder = self.run.reconstructions(source)
        return folder / "selected" if self.config.ids else folder

    def _write_contact_sheet(self, folder: Path, table: pd.DataFrame) -> None:
        """What was shown over what was decoded, for the first items."""
        from braindec.artifacts import read_image
        from braindec.report.contact_sheet import write_contact_sheet

        shown = table[table["image"] != ""].head(_SHOWN)
        if not len(shown):
            return
        decoded = [read_image(folder / name) for name in shown["image"]]
        ids = shown["stimulus_id"].tolist()
        stimuli = build(self.original.dataset).stimuli()
        truth: list[Any] = [None] * len(ids)
        if stimuli.images is not None:
            truth = [stimuli.images[row] for row in stimuli.rows(ids)]
        write_contact_sheet(folder / "contact_sheet.png", truth, decoded)

    def _predictions(self, source: str, fold: str, targets: list[str]) -> Predictions:
        from braindec.run_tables import read_predictions

        predictions = read_predictions(self.run.predictions(source, fold), source, targets)
        ids = list(self.config.ids)
        return predictions.select(predictions.table["item_id"].isin(ids).to_numpy()) if ids else predictions

    def _key(self, predictions: Predictions, seed: int) -> str:
        values = array_hash(dict(predictions.embeddings))
        return text_hash(f"{self.chain_text}|{seed}|{self.batch_size}|{list(self.config.ids)}|{values}")


def _with_truth(context: StageContext, predictions: Predictions, stimuli: Stimuli, truth_of: list[str]) -> StageContext:
    """The context, with embeddings of the presented stimuli for the stages that say that they look at them."""
    from dataclasses import replace

    from braindec.stages.inputs import PRESENTED, target_with
    from braindec.types import TargetEmbeddings

    if not truth_of:
        return context
    log.warning("oracle: samples are chosen by looking at what was presented; every score of them is flagged")
    ids = tuple(dict.fromkeys(predictions.table["stimulus_id"]))
    presented = stimuli.select(ids)
    found = {
        name: TargetEmbeddings(name, ids, target_with(context, name, "embed", "oracle").embed(presented))
        for name in truth_of
    }
    return replace(context, options={**context.options, PRESENTED: found})


def run(config: DictConfig) -> None:
    """What ``braindec reconstruct`` does."""
    folder = reconstruct(config).path
    if config.ids:
        log.info("pictures are in %s", folder / "reconstructions" / "selected")
    else:
        log.info("pictures are in %s; next: braindec evaluate run=%s", folder / "reconstructions", folder)
