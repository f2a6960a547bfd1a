"""The features on which identification and retrieval compare what was shown with what was decoded.

Legend: G gallery entries, N predictions, F features.
"""

from __future__ import annotations

import numpy as np

from braindec.metrics.pixels import common_shape, resized_stack
from braindec.metrics.similarity import Similarity, flattened, similarity_matrix
from braindec.types import Evidence

PIXELS = "pixels"


def paired_features(evidence: Evidence, name: str, size: int | None = None) -> tuple[np.ndarray, np.ndarray] | None:
    """True features of the gallery (G, F) and of what was decoded (N, F).

    Parameters
    ----------
    evidence : what was decoded, and the gallery.
    name : ``pixels`` compares the reconstructed images, any other name that embedding.
    size : for pixels, the side to which both are resized, or None for the stimuli's own size.

    Returns
    -------
    None when the evidence lacks the images or the embedding on either side.
    """
    if name == PIXELS:
        if evidence.images is None or evidence.gallery.images is None:
            return None
        shape = common_shape(evidence.gallery.images, size)
        true_GHWC = resized_stack(evidence.gallery.images, np.arange(len(evidence.gallery)), shape)
        decoded_NHWC = resized_stack(evidence.images, np.arange(len(evidence.images)), shape)
        return flattened(true_GHWC, PIXELS), flattened(decoded_NHWC, PIXELS)
    if name not in evidence.embeddings or name not in evidence.gallery_embeddings:
        return None
    return (
        flattened(evidence.gallery_embeddings[name], f"gallery embedding {name!r}"),
        flattened(evidence.embeddings[name], f"predicted embedding {name!r}"),
    )


def decoded_similarity(evidence: Evidence, name: str, size: int | None, kind: Similarity) -> np.ndarray | None:
    """Similarity float64 (N, G) of every prediction with every gallery stimulus; see `paired_features`."""
    pair = paired_features(evidence, name, size)
    return None if pair is None else similarity_matrix(*pair, kind).T
