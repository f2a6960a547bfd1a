"""One experiment trained and scored in many variants of its signal, each a run of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from braindec.artifacts import RunFolder
from braindec.compose import build
from braindec.evaluate import load_evaluation_fold
from braindec.train import Recording, train

if TYPE_CHECKING:
    from omegaconf import DictConfig


def variant_config(
    config: DictConfig, folder: str, own_keys: Sequence[str], transforms: Mapping[str, Any], first: bool = False
) -> DictConfig:
    """The training configuration of one variant: further transforms, no stage, no control, a run folder of its own.

    Parameters
    ----------
    folder : of the variant, beneath the configuration's ``run_dir``.
    own_keys : keys of the configuration that ``braindec train`` does not know.
    transforms : added by name; ``first`` puts them before the configuration's own.
    """
    from omegaconf import OmegaConf, open_dict

    one = config.copy()
    with open_dict(one):
        for key in own_keys:
            del one[key]
        one.run_dir = str(Path(config.run_dir) / folder)
        parts = (transforms, one.transforms) if first else (one.transforms, transforms)
        one.transforms = OmegaConf.merge(*parts)
        one.stages = {}
        one.controls = []
        one.noise_ceiling = False
    return one


def train_and_score(variant: DictConfig, recording: Recording) -> list[dict[str, Any]]:
    """Train a variant, or take it up, and score it."""
    return score_variant(train(variant, recording), variant, recording.stimuli)


def score_variant(run: RunFolder, config: DictConfig, stimuli: Any) -> list[dict[str, Any]]:
    """``metric, value, low, high, chance, n`` of every metric of a variant's predictions.

    ``low`` and ``high`` are the 95% bootstrap interval over stimuli (None where there is none).
    """
    from braindec.evaluation.evidence import build_evidence, test_ids
    from braindec.evaluation.scoring import score
    from braindec.metrics.summary import summarise

    galleries = {subject: stimuli.select(test_ids(run, subject)) for subject in run.manifest()["subjects"]}
    folds = [load_evaluation_fold(run, config, name, stimuli) for name in run.folds()]
    evidence = [one for fold in folds for one in build_evidence(run, "decoded", fold, galleries)]
    scores, _ = summarise(score(build(config.metrics), evidence), n_resamples=config.n_resamples, seed=config.seed)
    return [
        {
            "metric": name,
            "value": entry["value"],
            "low": (entry["ci95"] or (None, None))[0],
            "high": (entry["ci95"] or (None, None))[1],
            "chance": entry["chance"],
            "n": entry["n"],
        }
        for name, entry in scores["metrics"].items()
    ]
