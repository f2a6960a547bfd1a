"""Plausible report content, made from a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from braindec.report.content import ReportContent

CONTROLS = ("shuffled_brain", "noise_input", "mean_training_stimulus", "nearest_training_stimulus")
CONCEPTS = ("lighthouse", "sailing boat", "red kite", "old barn")
METRICS = {
    "pixel_correlation": ("higher", 0.0, 0.42, 0.16),
    "ssim": ("higher", None, 0.31, 0.09),
    "two_way_identification": ("higher", 0.5, 0.84, 0.15),
    "efficientnet_distance": ("lower", None, 0.71, 0.08),
}
# How far each control falls short of the decoded mean, in standard deviations of single items.
SHORTFALL = {
    "shuffled_brain": 1.9,
    "noise_input": 2.2,
    "mean_training_stimulus": 0.9,
    "nearest_training_stimulus": 0.1,
}
CONFIG_YAML = """\
dataset:
  _target_: braindec.datasets.simulated.Simulated
  n_subjects: 2
split:
  _target_: braindec.signals.split.by_stimulus
  validation_share: 0.1
transforms:
  scale:
    _target_: braindec.signals.normalise.ZScore
targets:
  pixels:
    _target_: braindec.targets.pixels.Pixels
decoder:
  _target_: braindec.models.ridge.RidgeDecoder
  alphas: [1, 10, 100]
"""


def scene(rng: np.random.Generator, kind: int, side: int) -> np.ndarray:
    """A small landscape, uint8 (side, side, 3): sky, ground and one shape that depends on ``kind``."""
    y, x = np.mgrid[0:side, 0:side] / side
    sky, ground = rng.uniform(0.45, 0.95, 3), rng.uniform(0.1, 0.6, 3)
    horizon = rng.uniform(0.5, 0.75)
    image = np.where((y > horizon)[..., None], ground * (0.6 + 0.4 * y[..., None]), sky * (1.1 - 0.5 * y[..., None]))
    cx, cy, r = rng.uniform(0.3, 0.7), rng.uniform(0.35, 0.6), rng.uniform(0.1, 0.22)
    shapes = (
        (np.abs(x - cx) < r / 2.5) & (y > cy - r) & (y < horizon + 0.05),
        (y > cy - r) & (y < cy + r) & (np.abs(x - cx) < (y - cy + r) / 2),
        np.abs(x - cx) + np.abs(y - cy) < r,
        (x - cx) ** 2 + (y - cy) ** 2 < r**2,
    )
    image = np.where(shapes[kind % 4][..., None], rng.uniform(0, 1, 3), image)
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


def blurred(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """What a decoder might make of a picture: blurred and noisy by ``strength`` in [0, 1]."""
    from scipy.ndimage import gaussian_filter

    side = image.shape[0]
    smooth = gaussian_filter(image.astype(float), (side * (0.03 + 0.09 * strength),) * 2 + (0,))
    noise = gaussian_filter(rng.normal(size=image.shape), (side * 0.04,) * 2 + (0,))
    noise *= 60 * strength / noise.std()
    return np.clip(smooth + noise, 0, 255).astype(np.uint8)


def build(
    n_items: int = 40,
    side: int = 64,
    subjects: tuple[str, ...] = ("subj01", "subj02"),
    seed: int = 0,
    title: str = "Ridge decoding of seen landscapes",
) -> ReportContent:
    """Content of a run with ``n_items`` items a subject and four controls."""
    rng = np.random.default_rng(seed)
    scenes = np.random.default_rng(99)
    stimuli = [f"s{i:03d}" for i in range(n_items)]
    truth = {s: scene(scenes, i, side) for i, s in enumerate(stimuli)}
    rows, decoded, captions, labels = [], {}, {}, {}
    control_images: dict[str, dict[str, np.ndarray]] = {name: {} for name in CONTROLS[:3]}
    mean_picture = np.mean(list(truth.values()), axis=0).astype(np.uint8)
    for subject in subjects:
        for i, stimulus in enumerate(stimuli):
            item = f"{subject}-{stimulus}"
            skill = rng.normal()
            decoded[item] = blurred(truth[stimulus], rng, float(np.clip(0.5 - 0.25 * skill, 0.05, 1)))
            control_images["shuffled_brain"][item] = blurred(truth[stimuli[(i * 7 + 3) % n_items]], rng, 0.5)
            control_images["noise_input"][item] = rng.integers(0, 255, (side, side, 3), dtype=np.uint8)
            control_images["mean_training_stimulus"][item] = mean_picture
            captions[item] = f"a blurry {CONCEPTS[(i + (skill < -0.6)) % 4]} under the sky"
            labels[item] = CONCEPTS[(i + (skill < -0.6)) % 4]
            for metric, (direction, _, mean, spread) in METRICS.items():
                sign = 1 if direction == "higher" else -1
                for source in ("decoded", *CONTROLS):
                    shift = skill if source == "decoded" else rng.normal() - SHORTFALL[source]
                    value = mean + sign * spread * (0.9 * shift + 0.3 * rng.normal())
                    rows.append((item, subject, "fold0", stimulus, metric, min(value, 1.0), source))
    items = pd.DataFrame(rows, columns=["item_id", "subject", "fold", "stimulus_id", "metric", "value", "source"])
    epochs = np.arange(1, 31)
    return ReportContent(
        title=title,
        scores=scores_of(items, subjects),
        items=items,
        truth_images=truth,
        decoded_images=decoded,
        truth_captions={s: f"a {CONCEPTS[i % 4]} seen from afar, number {i}" for i, s in enumerate(stimuli)},
        decoded_captions=captions,
        truth_concepts={s: CONCEPTS[i % 4] for i, s in enumerate(stimuli)},
        decoded_labels=labels,
        control_images=control_images,
        training_curves=pd.concat(
            pd.DataFrame(
                {
                    "epoch": epochs,
                    "subject": subject,
                    "training_loss": np.exp(-epochs / 9) + 0.1 + 0.01 * rng.normal(size=30),
                    "validation_loss": np.exp(-epochs / 8) + 0.2 + 0.002 * epochs + 0.02 * rng.normal(size=30),
                }
            )
            for subject in subjects
        ),
        fit_report={"alpha": {"subj01": 10.0, "subj02": 100.0}, "validation_r2": 0.213, "n_features": 1200},
        manifest={
            "git_revision": "8ff3b01",
            "data_version": "simulated-1",
            "split_hash": "c0ffee12",
            "weights_hash": "5ca1ab1e",
            "selected_on": "validation trials",
            "seeds": [0, 1],
            "flags": [],
            "library_versions": {"numpy": "2.3.1", "torch": "2.15.0"},
        },
        config_yaml=CONFIG_YAML,
    )


def scores_of(items: pd.DataFrame, subjects: tuple[str, ...]) -> dict:
    """The content of scores.json that these items would give, with normal intervals."""

    def entry(values: pd.Series) -> dict:
        half = 1.96 * float(values.std()) / np.sqrt(len(values))
        mean = float(values.mean())
        return {"value": mean, "ci95": [mean - half, mean + half], "n": len(values)}

    def of(source: str, metric: str) -> pd.DataFrame:
        return items[(items["source"] == source) & (items["metric"] == metric)]

    metrics: dict[str, dict] = {}
    for name, (direction, chance, _, _) in METRICS.items():
        rows = of("decoded", name)
        metrics[name] = entry(rows["value"]) | {
            "chance": chance,
            "direction": direction,
            "ceiling": 0.62 if name == "pixel_correlation" else None,
            "flags": [],
            "gallery_size": 40 if name == "two_way_identification" else None,
            "n_undefined": 0,
            "per_subject": {s: entry(rows[rows["subject"] == s]["value"]) for s in subjects},
        }
    controls = {c: {name: entry(of(c, name)["value"]) for name in METRICS} for c in CONTROLS}
    return {"schema_version": 1, "metrics": metrics, "controls": controls, "verdicts": {}}


@pytest.fixture(scope="session")
def make_content() -> Callable[..., ReportContent]:
    return build


@pytest.fixture(scope="session")
def content() -> ReportContent:
    built = build()
    return replace(built, warnings=["Only two subjects were scored: the interval over subjects is wide."])
