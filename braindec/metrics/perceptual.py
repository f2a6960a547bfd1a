"""Perceptual distances between pictures in the features of frozen networks.

Legend: N predictions, D dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from braindec.metrics.caption_similarity import Encoder, directions, identity
from braindec.metrics.memo import Memo
from braindec.types import Evidence, Scores

_PAIRS_AT_ONCE = 64


class PairNetwork(Protocol):
    """A network that compares pictures pair by pair, such as `braindec.frozen.lpips.Lpips`."""

    def distance(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Float (N,) of two stacks of uint8 pictures (N, H, W, 3), which may differ in size."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """What identifies the distances."""
        ...


class PairDistance:
    """Distance of each picture from its stimulus as a comparing network gives it (LPIPS); lower is better.

    Parameters
    ----------
    network : compares the pictures.
    name : name in the results.
    """

    pairwise = True

    def __init__(self, network: PairNetwork, name: str = "lpips") -> None:
        self.network = network
        self.name = name

    def scores(self, evidence: Evidence) -> tuple[Scores, ...]:
        """One value a prediction, 0 for identical pictures; chance has no closed form."""
        if evidence.images is None or evidence.gallery.images is None:
            return ()
        values = np.full(len(evidence.table), np.nan)
        for start in range(0, len(values), _PAIRS_AT_ONCE):
            rows = slice(start, start + _PAIRS_AT_ONCE)
            shown = np.asarray(evidence.gallery.images[evidence.truth[rows]])
            values[rows] = self.network.distance(shown, np.asarray(evidence.images[rows]))
        preprocessing = dict(self.network.describe().get("preprocessing", {}))
        flags = tuple(f"{key}: {value}" for key, value in preprocessing.items())
        return (Scores(self.name, values, "lower", flags=(*flags, identity(self.network))),)


class EnsembleDistance:
    """Cosine distance of picture and stimulus in the joined embeddings of several networks; lower is better.

    The construction of DreamSim (each network's embedding divided by its norm, then joined) without its fine-tuning on
    human judgements: values must not stand beside DreamSim's own unless the networks hold its weights.

    Parameters
    ----------
    networks : image networks.
    name : name in the results.

    Source: Fu et al. 2023, section 4.
    """

    def __init__(self, networks: Mapping[str, Encoder], name: str = "dreamsim_style") -> None:
        self.networks = networks
        self.name = name
        self._stimuli = Memo()
        self._decoded = Memo()

    def scores(self, evidence: Evidence) -> tuple[Scores, ...]:
        """One value in [0, 2] a prediction; chance has no closed form."""
        if evidence.images is None or evidence.gallery.images is None:
            return ()
        true_GD = self._stimuli.of(evidence.gallery, lambda: self._joined(evidence.gallery.images))
        decoded_ND = self._decoded.rows(evidence, lambda one: self._joined(one.images))
        assert decoded_ND is not None
        values = 1 - np.einsum("nd,nd->n", true_GD[evidence.truth], decoded_ND)
        flags = ("no fine-tuning", *(identity(network) for network in self.networks.values()))
        return (Scores(self.name, values, "lower", flags=flags),)

    def _joined(self, images: Any) -> np.ndarray:
        parts: Sequence[np.ndarray] = [directions(network.encode(images)) for network in self.networks.values()]
        return np.concatenate(parts, axis=1) / np.sqrt(len(parts))
