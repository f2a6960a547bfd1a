"""Weights from one network to another, strictly: what does not fit is an error, never skipped in silence."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from braindec.models.network import BrainNetwork
from braindec.types import DataError

OF_SUBJECTS = ("adapters.", "builders.", "stem.places.", "stem.features.")
"""Names of weights that belong to one subject."""


def copy_weights(network: BrainNetwork, weights: Mapping[str, np.ndarray], source: str, strict: bool = False) -> int:
    """Copy weights by name into a network; returns how many arrays.

    Weights of subjects that only one of the two knows are left out; with ``strict`` nothing is.

    Raises
    ------
    DataError
        If a shared weight is missing, unknown or of another shape, or nothing matches at all; ``source`` is named.
    """
    own = network.state_dict()
    matched = [name for name in own if name in weights]
    if not matched:
        raise DataError(f"{source}: none of its {len(weights)} weights is in this network; wrong decoder config?")
    missing = [name for name in own if name not in weights and (strict or not name.startswith(OF_SUBJECTS))]
    unknown = [name for name in weights if name not in own and (strict or not name.startswith(OF_SUBJECTS))]
    if missing or unknown:
        raise DataError(
            f"{source}: lacks {len(missing)} weights of this network (e.g. {missing[:2]}) and has {len(unknown)} that "
            f"it does not know (e.g. {unknown[:2]}); use the decoder config that it was fitted with"
        )
    for name in matched:
        if tuple(own[name].shape) != tuple(weights[name].shape):
            raise DataError(
                f"{source}: the weight {name} has shape {tuple(weights[name].shape)}, this network needs "
                f"{tuple(own[name].shape)}; the sizes in the decoder config, the data or the targets differ"
            )
    with torch.no_grad():
        for name in matched:
            own[name].copy_(torch.from_numpy(np.array(weights[name])))
    return len(matched)
