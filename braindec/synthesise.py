"""``braindec synthesise``: what does a run decode from a brain in which one region alone is active?

    braindec synthesise run=outputs/first
    braindec synthesise run=outputs/first rois=[V1,faces,ecc1] contrasts=[faces-buildings] n_seeds=4
    braindec synthesise run=outputs/eeg 'rois={occipital: [O*, PO*]}' 'window_s=[0.08,0.12]'

Patterns are made in the units that the fitted decoders read (`braindec.signals.synthetic`), decoded, stretched to the
length of training embeddings and passed through the run's stages; no test trial is opened. Writes into the run's
``synthesis/``: pictures by pattern, ``table.csv``, ``concepts.csv`` (how much each pattern resembles the training
stimuli of each concept), ``nearest.csv``, ``contact_sheet.png`` and the page ``synthesis.html``. A killed command is
taken up by the same command; tables and page show the last command's patterns, pictures made before are used again.

Source: the ROI-optimal stimuli of Ozcelik & VanRullen 2023 (Brain-Diffuser).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from braindec.artifacts import RunFolder, array_hash, read_image, safe_name, text_hash, write_json, write_table
from braindec.compose import build, checked, parts_of, resolve_device, run_config
from braindec.console import progress
from braindec.contracts import Stage
from braindec.evaluate import check_run
from braindec.reconstruct import stage_context, stages_config
from braindec.signals.synthetic import Pattern, Regions, chosen_patterns, synthetic_trials, weights
from braindec.types import DataError, Trials

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from braindec.contracts import StageContext
    from braindec.metrics.synthesis import Resemblance
    from braindec.types import Fold

log = logging.getLogger(__name__)

Deviations = Mapping[str, Mapping[str, np.ndarray]]
"""Subject -> target -> what each pattern decodes to, less what rest decodes to (P, K, D)."""
SHEET_CAPTION = (
    "What a pattern decodes to in which one region lies above its mean (by a standard deviation, unless the command "
    "said otherwise) and everything else at its mean; contrasts: the first above, the second below. Pictures in one "
    "column share their noise."
)


@dataclass(frozen=True)
class Synthesis:
    """The schema of ``configs/synthesise.yaml``.

    Attributes
    ----------
    run : the run folder.
    rois : names of ROIs, or region -> channel names or shell patterns; None takes none where there are contrasts, else
        every ROI that all subjects have, but for those that are the whole recording.
    contrasts : ``A-B`` of two ROIs or regions.
    atlas, atlas_names : an atlas whose regions are the ROIs, as in `braindec.over_space.OverSpace`.
    amplitude : of active positions, in standard deviations of the training trials that the decoder saw.
    window_s : times at which a region is active, (start, stop) in seconds from onset; None: all.
    rescale : root mean square of each decoded deviation, in standard deviations of the training embeddings; None
        leaves predictions as they are.
    folds : decoders of so many folds are used, from the first.
    n_seeds : pictures a pattern, subject and fold; with 0 no stage runs.
    targets : targets whose resemblance to concepts is written; None takes all.
    stages : as in `braindec.reconstruct.Reconstruction`; none means the run's own.
    batch_size, device : None means the run's own.
    """

    run: str
    rois: dict[str, list[str]] | list[str] | None
    contrasts: list[str]
    atlas: str | None
    atlas_names: dict[int, str] | str | None
    amplitude: float
    window_s: tuple[float, float] | None
    rescale: float | None
    folds: int
    n_seeds: int
    targets: list[str] | None
    stages: dict[str, Stage]
    batch_size: int | None
    device: str | None


@dataclass
class _Made:
    """Rows of the tables, gathered over folds."""

    pictures: list[pd.DataFrame]
    concepts: list[pd.DataFrame]
    nearest: list[pd.DataFrame]
    positions: dict[str, list[int]]


def synthesise(config: DictConfig) -> RunFolder:
    """Synthesise as the configuration says; returns the run folder.

    Raises
    ------
    DataError
        If a region is unknown or empty, regions of a contrast overlap, the run holds no fitted decoder, its data
        changed, or a stage needs what synthetic patterns lack.
    """
    from omegaconf import OmegaConf

    from braindec.stages.synthetic import check_stages

    run = RunFolder.open(Path(config.run))
    original = run_config(run)
    config.stages = OmegaConf.create(stages_config(config.stages, original))
    checked(config, Synthesis)
    if config.folds < 1 or config.n_seeds < 0:
        raise DataError(f"synthesise: expected folds >= 1 and n_seeds >= 0, found {config.folds} and {config.n_seeds}")
    if config.amplitude == 0 or (config.rescale is not None and config.rescale <= 0):
        raise DataError(
            f"synthesise: expected an amplitude other than 0 and rescale > 0 (or null), found {config.amplitude} and "
            f"{config.rescale}; a negative amplitude puts regions below their mean"
        )
    names = run.folds()[: config.folds]
    unfitted = [name for name in names if not (run.decoder(name) / "fit.json").exists()]
    if unfitted:
        raise DataError(f"run={run.path}: holds no fitted decoder of fold {unfitted[0]!r}; run braindec train again")
    stages = build(config.stages) if config.n_seeds else {}
    check_stages(stages)
    dataset = build(original.dataset)
    stimuli = dataset.stimuli()
    trials, folds = check_run(run, original, dataset, stimuli)
    trials = _with_atlas(config, trials)
    regions, patterns = chosen_patterns(config.rois, config.contrasts, list(trials.values()))
    if len({safe_name(pattern.name) for pattern in patterns}) < len(patterns):
        raise DataError(f"synthesise: patterns need distinct names, found {[pattern.name for pattern in patterns]}")
    device = resolve_device(config.device or original.device)
    made = _Made([], [], [], {})
    for index, name in enumerate(progress(names, "folds")):
        context = stage_context(run, original, name, stimuli, device)
        own_folds = {subject: own[index] for subject, own in folds.items()}
        deviations = _decode(run, name, original, trials, own_folds, patterns, regions, config, made)
        _reconstruct(run, name, stages, patterns, deviations, context, config, original, made)
    _write(run, patterns, made, original)
    return run


def _with_atlas(config: DictConfig, trials: dict[str, Trials]) -> dict[str, Trials]:
    """The trials with the atlas' regions as their ROIs; as they are without an atlas."""
    if config.atlas is None:
        if config.atlas_names is not None:
            raise DataError("synthesise: atlas_names needs an atlas; say atlas=FILE, or leave the names out")
        return trials
    from braindec.datasets.atlas import atlas_rois

    names = config.atlas_names if isinstance(config.atlas_names, str | None) else dict(config.atlas_names)
    # A contrast may name any region; without contrasts those that are not asked for need not be in the recording.
    only = None if config.contrasts or config.rois is None else [str(name) for name in config.rois]
    return {subject: atlas_rois(own, config.atlas, names, only) for subject, own in trials.items()}


def _decode(
    run: RunFolder,
    fold: str,
    original: DictConfig,
    trials: Mapping[str, Trials],
    folds: Mapping[str, Fold],
    patterns: list[Pattern],
    regions: Regions,
    config: DictConfig,
    made: _Made,
) -> dict[str, dict[str, np.ndarray]]:
    """Each subject's `Deviations` of all patterns."""
    from braindec.training.folds import load_fold, training_trials
    from braindec.training.partition import Partition

    fitted = load_fold(run, fold, list(trials), parts_of(original))
    device = resolve_device(config.device or original.device)
    window = None if config.window_s is None else (float(config.window_s[0]), float(config.window_s[1]))
    found = {}
    for subject, own in trials.items():
        transforms = fitted.transforms[subject]
        training = training_trials(Partition(own, folds[subject]), transforms, original.average_train)
        synthetic = synthetic_trials(training, patterns, regions, config.amplitude, window)
        decoded = fitted.decoder.predict(synthetic, device)
        unknown = sorted(set(config.targets or ()) - set(decoded))
        if unknown:
            raise DataError(f"targets: {unknown} are not decoded by this run; it decodes {sorted(decoded)}")
        found[subject] = {target: values.astype(np.float64) - values[:1] for target, values in decoded.items()}
        for pattern in patterns:
            active = int((weights(training, pattern, regions) != 0).sum())
            made.positions.setdefault(pattern.name, []).append(active)
    return found


def _reconstruct(
    run: RunFolder,
    fold: str,
    stages: Mapping[str, Stage],
    patterns: list[Pattern],
    deviations: Deviations,
    context: StageContext,
    config: DictConfig,
    original: DictConfig,
    made: _Made,
) -> None:
    """Pictures, captions and resemblances of one fold's patterns."""
    from omegaconf import OmegaConf

    from braindec.metrics.synthesis import resemblance
    from braindec.stages.chain import reconstruct_fold
    from braindec.stages.rescaling import mean_and_sd
    from braindec.stages.synthetic import seed_items, stretched

    embeddings: dict[str, dict[str, np.ndarray]] = {subject: {} for subject in deviations}
    for target, training in context.training_embeddings.items():
        mean_KD, sd_KD = mean_and_sd(training.values)
        for subject, own in deviations.items():
            if target not in own:
                continue
            embeddings[subject][target] = stretched(own[target], mean_KD, sd_KD, config.rescale)
            if context.training_stimuli.concepts is not None and target in (config.targets or own):
                found = resemblance(own[target], training.values, mean_KD, sd_KD, context.training_stimuli.concepts)
                about = {"subject": subject, "fold": fold, "target": target}
                _add_resemblance(found, patterns, about, context, made)
    batch_size = int(config.batch_size or original.batch_size)
    chain = OmegaConf.to_yaml(config.stages)
    for row, pattern in enumerate(progress(patterns, "patterns") if stages else []):
        one = {subject: {t: values[row] for t, values in targets.items()} for subject, targets in embeddings.items()}
        predictions = seed_items(one, pattern.name, fold, config.n_seeds)
        key = text_hash(f"{chain}|{original.seed}|{batch_size}|{array_hash(dict(predictions.embeddings))}")
        folder = run.path / "synthesis" / safe_name(pattern.name)
        table = reconstruct_fold(folder, key, stages, predictions, context, batch_size)
        assert table is not None, "one process makes all chunks"
        image = [f"{folder.name}/{name}" if name else "" for name in table["image"]]
        made.pictures.append(table.assign(image=image).rename(columns={"stimulus_id": "pattern"}))


def _add_resemblance(
    found: Resemblance, patterns: list[Pattern], about: Mapping[str, str], context: StageContext, made: _Made
) -> None:
    """Rows of ``concepts.csv`` and ``nearest.csv`` of one subject, fold and target, for all patterns but rest."""
    stimuli = context.training_stimuli
    for row, pattern in enumerate(patterns):
        similarity_C = found.similarity_PC[row]
        if np.isnan(similarity_C).any():
            continue
        rank_C = pd.Series(-similarity_C).rank(method="average").to_numpy()
        of = {"pattern": pattern.name, **about}
        made.concepts.append(
            pd.DataFrame({**of, "concept": found.concepts, "similarity": similarity_C, "rank": rank_C})
        )
        ids = [stimuli.ids[i] for i in found.nearest_Pk[row]]
        concepts = [(stimuli.concepts or ())[i] for i in found.nearest_Pk[row]]
        made.nearest.append(
            pd.DataFrame({**of, "place": range(1, len(ids) + 1), "stimulus_id": ids, "concept": concepts})
        )


def _write(run: RunFolder, patterns: list[Pattern], made: _Made, original: DictConfig) -> None:
    """Tables, contact sheet, page, and the entry of the report."""
    from braindec.report.contact_sheet import write_labelled_sheet
    from braindec.report.synthesis import write_synthesis
    from braindec.stages.synthetic import with_change

    folder = run.path / "synthesis"
    table = pd.concat(made.pictures, ignore_index=True) if made.pictures else pd.DataFrame()
    concepts, nearest = (pd.concat(rows, ignore_index=True) if rows else None for rows in (made.concepts, made.nearest))
    images: dict[str, list[np.ndarray]] = {}
    shown = table
    if len(table):
        table = with_change(folder, table)
        write_table(folder / "table.csv", table)
        # Stages that draw no noise make the same of every seed, which is shown once.
        shown = table.drop_duplicates(["pattern", "subject", "fold", "image_sha256", "caption", "label"])
        if (shown["image"] != "").all():
            rows = {pattern.name: shown.loc[shown["pattern"] == pattern.name, "image"] for pattern in patterns}
            images = {name: [read_image(folder / file) for file in files] for name, files in rows.items()}
    # What an earlier command of other patterns or targets wrote would be taken for this one's.
    for name, written in (("table.csv", len(table)), ("concepts.csv", concepts is not None)):
        if not written:
            (folder / name).unlink(missing_ok=True)
    if concepts is not None and nearest is not None:
        write_table(folder / "concepts.csv", concepts)
        write_table(folder / "nearest.csv", nearest)
    positions = {name: float(np.mean(counts)) for name, counts in made.positions.items()}
    title = f"{original.name}: what single regions decode to"
    write_synthesis(folder / "synthesis.html", title, positions, shown, images, concepts)
    entries = []
    if images:
        write_labelled_sheet(folder / "contact_sheet.png", images)
        entries = [{"title": "What single regions decode to", "file": "contact_sheet.png", "caption": SHEET_CAPTION}]
    write_json(folder / "pictures.json", entries)


def run(config: DictConfig) -> None:
    """What ``braindec synthesise`` does."""
    from braindec.report.synthesis import summary

    folder = synthesise(config).path / "synthesis"
    print(summary(folder).to_string(index=False, float_format=lambda value: f"{value:.2f}"))
    log.info("page: %s", folder / "synthesis.html")
