"""``braindec maps``: which voxels, channels and times carry what a run decodes.

    braindec maps run=outputs/first
    braindec maps run=outputs/first targets=[concepts] style=glass_brain
    braindec maps run=outputs/first 'words={words: [face, house]}'

Reads the fitted decoders and their training trials; no test trial is opened. Every decoder has activation patterns
(`braindec.signals.patterns`), trained networks also gradient maps (`braindec.training.gradients`). Writes into the
run's ``maps/``: arrays, NIfTI volumes where voxels have a grid, pictures, and ``maps.csv`` with means over ROIs;
``braindec evaluate`` shows the pictures in the report. Drop maps, which score the decoder without a region, are made by
``braindec over_space``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from braindec.artifacts import RunFolder, atomic_write, safe_name, write_array, write_json, write_table
from braindec.compose import build, checked, parts_of, resolve_device, run_config
from braindec.console import progress
from braindec.evaluate import check_run
from braindec.report.brain_maps import Style
from braindec.types import DataError, Stimuli, Trials

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig

    from braindec.training.folds import FittedFold

log = logging.getLogger(__name__)

CAPTIONS = {
    "pattern": "Multiple correlation of the signal with all that is decoded (activation patterns, Haufe et al. 2014): "
    "0 where the decoder's output tells nothing of the signal, 1 where it tells all.",
    "gradient": "Sensitivity: how much a standard deviation of the signal moves the decoded target (root mean square "
    "over trials and values). It shows what the network uses, also to cancel noise.",
    "word": "Correlation of the signal with the decoded similarity to the word (activation pattern of that direction); "
    "0 where more than the threshold's share of permuted directions do as well, not corrected for many places.",
    "word_gradient": "How a standard deviation of the signal moves the decoded similarity to the word (gradient of the "
    "network); 0 where more than the threshold's share of permuted directions move it as much, not corrected for many "
    "places.",
    "value": "Activation pattern of one decoded value: how the signal changes with a standard deviation of it, the "
    "others held.",
}


@dataclass(frozen=True)
class Maps:
    """The schema of ``configs/maps.yaml``.

    Attributes
    ----------
    run : the run folder.
    targets : decoded targets that are mapped; None maps all.
    words : target that embeds captions -> words (or phrases) whose place is mapped, or None.
    n_permutations, p_threshold : of the words' maps; see `braindec.signals.patterns.localise`.
    n_gradient_trials : trials behind the words' gradient maps at most; see
        `braindec.training.gradients.similarity_gradients`.
    max_sources : a target of more values is reduced to so many principal components first; one of fewer has a map a
        value.
    n_probes : random sums of values behind each gradient map.
    n_values : a named value's map is drawn (and written as a volume) for the so many of strongest pattern.
    style : how volumes are drawn; ``glass_brain`` when they lie in MNI coordinates.
    device : where networks run.
    """

    run: str
    targets: list[str] | None
    words: dict[str, list[str]] | None
    n_permutations: int
    p_threshold: float
    n_gradient_trials: int
    max_sources: int
    n_probes: int
    n_values: int
    style: Style
    device: str


@dataclass
class Found:
    """Maps of one subject and target: name -> (S, T), and those of named values (C, S, T)."""

    whole: dict[str, np.ndarray]
    values: np.ndarray | None = None
    names: tuple[str, ...] = ()
    words: dict[str, np.ndarray] = field(default_factory=dict)
    word_p: dict[str, np.ndarray] = field(default_factory=dict)


def make_maps(config: DictConfig) -> pd.DataFrame:
    """Write a run's maps; one row a subject, target, map and ROI: ``mean`` is that of sizes over the ROI.

    Raises
    ------
    DataError
        If a setting is out of its range, the run's data changed, a target is not decoded, or folds read different
        positions.
    """
    import pandas as pd

    from braindec.training.folds import load_fold, training_trials
    from braindec.training.partition import Partition

    checked(config, Maps)
    _check_ranges(config)
    run = RunFolder.open(Path(config.run))
    original = run_config(run)
    dataset = build(original.dataset)
    trials, folds = check_run(run, original, dataset, dataset.stimuli())
    found: dict[tuple[str, str], list[Found]] = {}
    seen: dict[str, Trials] = {}
    for index, name in enumerate(progress(run.folds(), "folds")):
        fitted = load_fold(run, name, list(trials), parts_of(original))
        for subject, own in trials.items():
            partition = Partition(own, folds[subject][index])
            training = training_trials(partition, fitted.transforms[subject], original.average_train)
            _check_same_positions(run, seen.setdefault(subject, training), training, name)
            for target, maps in _fold_maps(fitted, training, config, original.seed):
                found.setdefault((subject, target), []).append(maps)
    rows: list[dict[str, Any]] = []
    pictures: list[dict[str, str]] = []
    for (subject, target), per_fold in found.items():
        rows += _write(run.path / "maps", seen[subject], target, _mean(per_fold), config, pictures)
    write_json(run.path / "maps" / "pictures.json", pictures)
    table = pd.DataFrame(rows)
    write_table(run.path / "maps" / "maps.csv", table)
    return table


def _check_ranges(config: DictConfig) -> None:
    """Every setting that no map can be made with, at once."""
    least = {"n_permutations": 1, "n_gradient_trials": 1, "max_sources": 1, "n_probes": 1, "n_values": 0}
    wrong = [f"{key} >= {low}, found {config[key]}" for key, low in least.items() if config[key] < low]
    if not 0 < config.p_threshold <= 1:
        wrong.append(f"p_threshold above 0 and at most 1, found {config.p_threshold}")
    if wrong:
        raise DataError(f"maps: expected {'; '.join(wrong)}")


def _check_same_positions(run: RunFolder, first: Trials, trials: Trials, fold: str) -> None:
    same = first.signal.shape[1:] == trials.signal.shape[1:] and np.array_equal(
        np.asarray(first.space.grid_index), np.asarray(trials.space.grid_index)
    )
    if not same or first.space.names != trials.space.names:
        raise DataError(
            f"{run.path}: fold {fold!r} reads other {trials.space.kind} of subject {trials.subject!r} than the first "
            "fold; maps are means over folds and need the same positions in all"
        )


def _fold_maps(fitted: FittedFold, training: Trials, config: DictConfig, seed: int) -> Iterator[tuple[str, Found]]:
    from braindec.models.classifier import ConceptClassifier
    from braindec.signals.patterns import activation_patterns
    from braindec.training.gradients import sensitivity
    from braindec.training.neural import NeuralDecoder

    decoder, device = fitted.decoder, resolve_device(config.device)
    if isinstance(decoder, ConceptClassifier):
        # Probabilities bend what is linear; scores are given up to a constant a trial.
        scores_NC = decoder.linear_scores(training)
        decoded = {decoder.target: (scores_NC - scores_NC.mean(axis=1, keepdims=True))[:, None]}
    else:
        decoded = decoder.predict(training, device)
    unknown = sorted({*(config.targets or ()), *(config.words or ())} - set(decoded))
    if unknown:
        raise DataError(f"targets: {unknown} are not decoded by this run; it decodes {sorted(decoded)}")
    features_NP = training.signal.reshape(len(training), -1)
    shape_ST = training.signal.shape[1:]
    for target in dict.fromkeys([*(config.targets or decoded), *(config.words or ())]):
        flat_NC = decoded[target].reshape(len(training), -1)
        patterns = activation_patterns(features_NP, flat_NC, config.max_sources, seed)
        maps = Found({"pattern": patterns.strength_P.reshape(shape_ST)})
        if isinstance(decoder, NeuralDecoder):
            maps.whole["gradient"] = sensitivity(decoder, training, target, device, config.n_probes, seed)
        named = getattr(fitted.targets[target], "value_names", None)
        if patterns.activation_CP is not None and named is not None:
            maps.values, maps.names = patterns.activation_CP.reshape(-1, *shape_ST), named()
        words = [str(word) for word in (config.words or {}).get(target, ())]
        if words:
            _add_words(maps, words, target, fitted, training, flat_NC, config, seed)
        yield target, maps


def _add_words(
    maps: Found,
    words: Sequence[str],
    target: str,
    fitted: FittedFold,
    training: Trials,
    decoded_NC: np.ndarray,
    config: DictConfig,
    seed: int,
) -> None:
    from braindec.signals.patterns import localise
    from braindec.training.gradients import similarity_gradients
    from braindec.training.neural import NeuralDecoder

    embeddings_WC = np.stack([_embedded(word, target, fitted) for word in words])
    features_NP, shape_ST = training.signal.reshape(len(training), -1), training.signal.shape[1:]
    for word, embedding_C in zip(words, embeddings_WC, strict=True):
        found = localise(features_NP, decoded_NC, embedding_C, config.n_permutations, seed)
        maps.words[f"word {word}"] = found.correlation_P.reshape(shape_ST)
        maps.word_p[f"word {word}"] = found.p_value_P.reshape(shape_ST)
    if isinstance(fitted.decoder, NeuralDecoder):
        limits, device = (config.n_permutations, config.n_gradient_trials), resolve_device(config.device)
        made = similarity_gradients(fitted.decoder, training, target, embeddings_WC, *limits, seed, device)
        for word, own in zip(words, made, strict=True):
            maps.words[f"gradient of {word}"] = own.gradient_ST
            maps.word_p[f"gradient of {word}"] = own.p_value_ST


def _embedded(word: str, target: str, fitted: FittedFold) -> np.ndarray:
    """A word's embedding (C,)."""
    try:
        embedding_KD = fitted.targets[target].embed(Stimuli((word,), captions=((word,),), texts=(word,)))[0]
    except DataError as error:
        raise DataError(
            f"words: the target {target!r} cannot embed the word {word!r} ({error}); name one that embeds captions, "
            "such as words or clip_text"
        ) from error
    if not np.any(embedding_KD):
        raise DataError(f"words: {word!r} is unknown to the target {target!r}: its embedding is 0; choose another")
    return np.asarray(embedding_KD).ravel()


def _mean(per_fold: Sequence[Found]) -> Found:
    """The mean over folds; values that are not the same ones in every fold (a vocabulary) are left out."""
    first = per_fold[0]
    whole, words, word_p = (
        {name: np.mean([getattr(maps, kind)[name] for maps in per_fold], axis=0) for name in getattr(first, kind)}
        for kind in ("whole", "words", "word_p")
    )
    mean = Found(whole, words=words, word_p=word_p)
    if first.values is not None and all(maps.names == first.names for maps in per_fold):
        mean.values = np.mean([maps.values for maps in per_fold if maps.values is not None], axis=0)
        mean.names = first.names
    return mean


def _write(
    folder: Path, trials: Trials, target: str, found: Found, config: DictConfig, pictures: list[dict[str, str]]
) -> list[dict[str, Any]]:
    """Write a subject's and target's maps; adds to ``pictures`` and returns rows of the table."""
    from braindec.datasets.nifti import write_map
    from braindec.report.brain_maps import draw_map

    shown = [(name, name, values) for name, values in found.whole.items()]
    stem = safe_name(f"{trials.subject}_{target}")
    if found.values is not None:
        write_array(folder / f"{stem}_values.npy", found.values.astype(np.float32))
        write_json(folder / f"{stem}_values.json", list(found.names))
        size_C = (found.values.astype(np.float64) ** 2).sum(axis=(1, 2))
        strongest = np.argsort(-size_C, kind="stable")[: config.n_values]
        shown += [(found.names[i], "value", found.values[i]) for i in sorted(strongest)]
    for name, values_ST in found.words.items():
        p_ST = found.word_p[name]
        write_array(folder / f"{stem}_{safe_name(name)}_all.npy", values_ST.astype(np.float32))
        write_array(folder / f"{stem}_{safe_name(name)}_p.npy", p_ST)
        kind = "word" if name.startswith("word ") else "word_gradient"
        shown.append((name, kind, np.where(p_ST <= config.p_threshold, values_ST, 0)))
    rows = []
    for name, kind, values_ST in shown:
        file = f"{stem}_{safe_name(name)}"
        if kind != "value":
            write_array(folder / f"{file}.npy", values_ST.astype(np.float32))
        if trials.space.grid_index is not None:
            volume = values_ST[:, 0] if values_ST.shape[1] == 1 else values_ST
            write_map(folder / f"{file}.nii.gz", volume, trials.space)
        title = f"{trials.subject}, {target}: {name}"
        picture = draw_map(values_ST, trials.space, trials.times_s, trials.rois, title, config.style)
        with atomic_write(folder / f"{file}.png") as out:
            out.write(picture)
        pictures.append({"title": title, "file": f"{file}.png", "caption": CAPTIONS[kind]})
        size_S = np.abs(values_ST).mean(axis=1)
        masks = {"everywhere": np.ones(trials.space.size, dtype=bool), **trials.rois}
        rows += [
            {"subject": trials.subject, "target": target, "map": name, "roi": roi, "n_positions": int(mask.sum()),
             "mean": float(size_S[mask].mean())}
            for roi, mask in masks.items() if mask.any()
        ]  # fmt: skip
    return rows


def run(config: DictConfig) -> None:
    """What ``braindec maps`` does."""
    table = make_maps(config)
    words = {
        f"{kind} {word}" for own in (config.words or {}).values() for word in own for kind in ("word", "gradient of")
    }
    shown = table[table["map"].isin([*CAPTIONS, *words])]
    print(shown.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    log.info("maps: %s; braindec evaluate run=%s shows them in its report", Path(config.run) / "maps", config.run)
