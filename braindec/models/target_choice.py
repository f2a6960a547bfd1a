"""Choosing which target to predict by how well held-out stimuli are found from it.

Legend: N trials, G gallery, F features of a flattened embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from braindec.contracts import Decoder, FitContext, State, TrainingData
from braindec.types import DataError, TargetEmbeddings, Trials


class TargetChoice:
    """A `Decoder` of several targets that predicts the one from which validation stimuli are best retrieved.

    One decoder learns all targets at once, or each in turn where it can learn only one. The mean rank of the true
    stimulus among all validation stimuli, by cosine of embeddings less the training mean, decides; with validation
    concepts that no training trial shows, the choice is one for unseen concepts. Test trials play no part.

    Fitted attribute: ``chosen_``, name of the target that is predicted.

    Parameters
    ----------
    decoder : learns all targets.
    targets : candidates; None takes all. The others are learnt but never predicted.

    Source: choice of an intermediate layer, as in Shallow Alignment (arXiv 2601.21948), which chose on test trials.
    """

    def __init__(self, decoder: Decoder, targets: list[str] | None = None) -> None:
        self.decoder = decoder
        self.targets = targets

    def fit(self, data: TrainingData, context: FitContext) -> Mapping[str, Any]:
        """Fit, then choose; the report holds every candidate's score (mean share of stimuli that rank behind).

        Raises
        ------
        DataError
            If there are no validation trials, or a candidate is not among the targets.
        """
        names = list(data.targets) if self.targets is None else self.targets
        unknown = [name for name in names if name not in data.targets]
        if unknown or not names:
            raise DataError(f"TargetChoice.targets: unknown {unknown}; the targets are {sorted(data.targets)}")
        validation = {subject: trials for subject, trials in data.validation.items() if len(trials)}
        if not validation:
            raise DataError("TargetChoice: no validation trials to choose by; use split=published_concept")
        report = dict(self.decoder.fit(data, context))
        predicted = {subject: self.decoder.predict(trials, context.device) for subject, trials in validation.items()}
        training = [i for trials in data.train.values() for i in dict.fromkeys(trials.table["stimulus_id"])]
        scores = {}
        for name in names:
            target = data.targets[name]
            mean_F = target.of(training).reshape(len(training), -1).mean(axis=0)
            each = [rank_share(predicted[s][name], trials, target, mean_F) for s, trials in validation.items()]
            scores[name] = float(np.mean(each))
        self.chosen_ = max(names, key=lambda name: scores[name])
        return {**report, "validation_rank": scores, "chosen_target": self.chosen_}

    def predict(self, trials: Trials, device: str) -> dict[str, np.ndarray]:
        """The chosen target's predictions. Raises `DataError` when nothing is fitted."""
        return {self._chosen(): self.decoder.predict(trials, device)[self._chosen()]}

    def state(self) -> State:
        """The decoder's state under ``decoder/``, and the chosen name."""
        own = {f"decoder/{key}": array for key, array in self.decoder.state().items()}
        return {"chosen": np.array([self._chosen()]), **own}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what `state` gave."""
        self.chosen_ = str(state["chosen"][0])
        self.decoder.load_state({k.removeprefix("decoder/"): v for k, v in state.items() if k.startswith("decoder/")})

    def _chosen(self) -> str:
        if not hasattr(self, "chosen_"):
            raise DataError("TargetChoice is not fitted: call fit or load_state first")
        return self.chosen_


def rank_share(predicted_NKD: np.ndarray, trials: Trials, target: TargetEmbeddings, mean_F: np.ndarray) -> float:
    """Mean over trials of the share of other shown stimuli less similar to the prediction; chance 0.5, best 1."""
    shown = trials.table["stimulus_id"].astype(str).tolist()
    ids = list(dict.fromkeys(shown))
    if len(ids) < 2:
        raise DataError(f"TargetChoice: subject {trials.subject!r} has one validation stimulus; expected two or more")
    own_N = np.array([ids.index(i) for i in shown])
    gallery_GF = target.of(ids).reshape(len(ids), -1) - mean_F
    predicted_NF = predicted_NKD.reshape(len(shown), -1) - mean_F
    gallery_GF = gallery_GF / np.linalg.norm(gallery_GF, axis=1, keepdims=True).clip(min=1e-12)
    similarity_NG = predicted_NF @ gallery_GF.T
    own = similarity_NG[np.arange(len(shown)), own_N][:, None]
    behind = (similarity_NG < own).sum(axis=1) + ((similarity_NG == own).sum(axis=1) - 1) / 2
    return float((behind / (len(ids) - 1)).mean())
