"""Small evidence for the metric tests: random stimuli, and reconstructions of chosen quality."""

from __future__ import annotations

import numpy as np
import pandas as pd

from braindec.types import Evidence, Stimuli


def prediction_table(stimulus_ids: list[str], subject: str = "s1", fold: str = "all") -> pd.DataFrame:
    n = len(stimulus_ids)
    return pd.DataFrame(
        {
            "item_id": [f"{subject}/{fold}/{row}" for row in range(n)],
            "subject": subject,
            "fold": fold,
            "stimulus_id": stimulus_ids,
            "n_repetitions": 1,
        }
    )


def make_evidence(
    n_gallery: int = 12,
    truth: np.ndarray | None = None,
    noise: float = 0.0,
    side: int = 10,
    dim: int = 16,
    seed: int = 0,
    subject: str = "s1",
    fold: str = "all",
) -> Evidence:
    """Images and an embedding ``e`` equal to the true ones plus ``noise`` standard deviations of noise."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n_gallery) if truth is None else np.asarray(truth)
    images = rng.integers(0, 256, (n_gallery, side, side, 3)).astype(np.uint8)
    embedding = rng.normal(size=(n_gallery, 2, dim)).astype(np.float32)
    noisy_images = images[truth] + noise * 74 * rng.normal(size=(len(truth), side, side, 3))
    noisy_embedding = embedding[truth] + noise * rng.normal(size=(len(truth), 2, dim))
    ids = tuple(f"stim{g:04d}" for g in range(n_gallery))
    concepts = tuple(f"concept{g % 3}" for g in range(n_gallery))
    captions = tuple((f"a {c} near number {g}", f"picture of {c}") for g, c in enumerate(concepts))
    return Evidence(
        table=prediction_table([ids[g] for g in truth], subject, fold),
        gallery=Stimuli(ids=ids, images=images, concepts=concepts, captions=captions),
        truth=truth,
        images=np.clip(noisy_images, 0, 255).astype(np.uint8),
        captions=tuple(captions[g][0] for g in truth),
        labels=tuple(concepts[g] for g in truth),
        embeddings={"e": noisy_embedding.astype(np.float32)},
        gallery_embeddings={"e": embedding},
    )
