"""Several decoders as one: the mean of their predictions.

Legend: M members, N trials, K tokens, D embedding dimensions.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from braindec.artifacts import safe_name
from braindec.contracts import Decoder, FitContext, State, TrainingData
from braindec.types import DataError, Trials


class Ensemble:
    """A `Decoder` that fits its members on the same trials and averages what they predict.

    Decoder number i is fitted with seed + i, so that copies of one configuration start from different weights.

    Parameters
    ----------
    members : name -> decoder; all must predict the same targets.
    copies : so many decoders of each member's configuration, named ``NAME_1``, ``NAME_2``, ...
    alike : give every member the same say: each one's embedding of a trial is first scaled to the members' mean length
        there. A ridge regression shrinks what it is not sure of; a network trained by contrast has a length of its own.

    Source: Hansen & Salamon 1990; Lakshminarayanan et al. 2017 (networks that differ by their seed).
    """

    def __init__(self, members: dict[str, Decoder], copies: int = 1, alike: bool = False) -> None:
        if not members or any("/" in name for name in members) or copies < 1:
            raise DataError(
                f"Ensemble: expected members whose names hold no '/' and at least one copy, found {sorted(members)} "
                f"and copies={copies}"
            )
        self.members = {f"{n}_{k + 1}": copy.deepcopy(member) for n, member in members.items() for k in range(copies)}
        self.alike = alike

    def fit(self, data: TrainingData, context: FitContext) -> Mapping[str, Any]:
        """Fit every member; the report holds theirs by name, and the training curves of the first that has some."""
        reports: dict[str, Any] = {}
        for number, (name, member) in enumerate(self.members.items()):
            own = replace(context, seed=context.seed + number, folder=context.folder / safe_name(name))
            reports[name] = dict(member.fit(data, own))
        curves = [str(report["curves"]) for report in reports.values() if "curves" in report]
        return {"members": reports, **({"curves": f"{context.folder.name}/{curves[0]}"} if curves else {})}

    def predict(self, trials: Trials, device: str) -> dict[str, np.ndarray]:
        """Mean over members. Raises `DataError` when members predict different targets."""
        made = [member.predict(trials, device) for member in self.members.values()]
        if any(set(values) != set(made[0]) for values in made):
            raise DataError(f"Ensemble: members predict different targets: {[sorted(values) for values in made]}")
        stacked = {target: np.stack([values[target] for values in made]) for target in made[0]}
        return {t: (_alike(v) if self.alike else v).mean(axis=0, dtype=np.float32) for t, v in stacked.items()}

    def state(self) -> State:
        """Members' states under their names."""
        return {f"{name}/{key}": array for name, m in self.members.items() for key, array in m.state().items()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what `state` gave. Raises `DataError` when it is of other members."""
        found = {key.split("/", 1)[0] for key in state}
        if found != set(self.members):
            raise DataError(f"Ensemble: state of the members {sorted(found)}; these are {sorted(self.members)}")
        for name, member in self.members.items():
            own = {key: array for key, array in state.items() if key.startswith(f"{name}/")}
            member.load_state({key.removeprefix(f"{name}/"): array for key, array in own.items()})


def _alike(values_MNKD: np.ndarray) -> np.ndarray:
    """Members' embeddings, each trial's with the mean of their lengths; those of length 0 stay so."""
    length_MN11 = np.linalg.norm(values_MNKD, axis=(2, 3), keepdims=True)
    mean_1N11 = length_MN11.mean(axis=0, keepdims=True)
    return values_MNKD * np.divide(mean_1N11, length_MN11, out=np.zeros_like(length_MN11), where=length_MN11 > 0)
