"""Two-way identification of pictures by the features of any frozen network.

Legend: N predictions, G gallery entries, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from braindec.metrics import ranking
from braindec.metrics.image import CONSTANT_FLAG
from braindec.metrics.memo import Memo
from braindec.metrics.similarity import flattened, similarity_matrix
from braindec.types import Evidence, Scores


class ImageEncoder(Protocol):
    """A network that turns pictures into features, such as `braindec.frozen.clip.ClipVision`."""

    def encode(self, images: Any) -> np.ndarray:
        """Float (N, K, D) of uint8 images (N, H, W, 3)."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """What identifies the features: weights and their hash, preprocessing."""
        ...


class NetworkTwoWay:
    """The share of other stimuli whose features correlate less with a reconstruction's than its own stimulus' do.

    As `braindec.metrics.identification.TwoWay`, on a network's features of the pictures: strictly, a tie is a failure,
    and a picture whose features do not vary scores chance, flagged.

    Parameters
    ----------
    network : what looks at both pictures; all of its values are laid end to end.
    name : name in the results.

    Source: Brain-Diffuser (Ozcelik & VanRullen 2023), two-way identification.
    """

    def __init__(self, network: ImageEncoder, name: str) -> None:
        self.network = network
        self.name = name
        self._galleries = Memo()
        self._similarities = Memo()

    def scores(self, evidence: Evidence) -> tuple[Scores, ...]:
        """One share in [0, 1] a prediction; chance 0.5; empty without pictures."""
        if evidence.images is None or evidence.gallery.images is None:
            return ()
        similarity_NG = self._similarities.rows(evidence, self._similarity)
        assert similarity_NG is not None
        values = ranking.two_way(ranking.compete(similarity_NG, evidence.truth), ties=0.0)
        described = dict(self.network.describe())
        flags = [f"weights: {described['weights']} ({str(described.get('sha256'))[:12]})"]
        blind_N = np.isnan(similarity_NG).all(axis=1)
        if blind_N.any():
            flags.append(CONSTANT_FLAG)
            values[blind_N & ~np.isnan(values)] = 0.5
        return (Scores(self.name, values, "higher", 0.5, len(evidence.gallery), tuple(flags)),)

    def _similarity(self, evidence: Evidence) -> np.ndarray:
        gallery = evidence.gallery
        true_GF = self._galleries.of(gallery, lambda: flattened(self.network.encode(gallery.images), self.name))
        return similarity_matrix(true_GF, flattened(self.network.encode(evidence.images), self.name), "correlation").T
