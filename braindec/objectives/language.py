"""The loss of a frozen language model that reads what was predicted.

Legend: B trials, K tokens read, D dimensions, P paraphrases, L tokens written.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch

from braindec.objectives.view import Objective, StepView
from braindec.types import DataError


class LanguageModel(Protocol):
    """What this objective needs of a frozen sequence-to-sequence network."""

    device: str

    def to(self, device: str) -> Any:
        """Move to a device."""
        ...

    def loss(self, states_NKD: torch.Tensor, ids_NL: torch.Tensor) -> torch.Tensor:
        """Mean cross entropy of texts given states, differentiable in the states."""
        ...


class LanguageModelLoss(Objective):
    """Cross entropy of a paraphrase given the predicted states; each step draws one paraphrase a trial.

    True tokens before each one are given in training only: texts are generated without them
    (`braindec.stages.generate_text.GenerateText`). The language model's own weights are never trained.

    Parameters
    ----------
    network : e.g. `braindec.frozen.seq2seq.Seq2Seq`.
    states : target whose predicted value (B, K, D) the network reads.
    tokens : target that holds the paraphrases' tokens, see `braindec.targets.token_ids.TokenIds`.

    Source: GLIM (EEG-to-text with a frozen Flan-T5); its objective as described, the code is ours.
    """

    def __init__(self, network: LanguageModel, states: str, tokens: str) -> None:
        super().__init__()
        self.network = network
        self.states = states
        self.tokens = tokens

    def forward(self, view: StepView) -> torch.Tensor:
        """A scalar. Raises `DataError` when one of the two targets is missing."""
        missing = [n for n, own in ((self.states, view.value), (self.tokens, view.targets)) if n not in own]
        if missing:
            raise DataError(f"objective LanguageModelLoss: no target {missing}; found {sorted(view.targets)}")
        states_BKD = view.value[self.states]
        device = str(states_BKD.device)
        if str(self.network.device) != device:
            self.network.to(device)
        ids_BPL = view.targets[self.tokens]
        drawn = torch.randint(ids_BPL.shape[1], (len(ids_BPL),), device=ids_BPL.device)
        ids_BL = ids_BPL[torch.arange(len(ids_BPL), device=ids_BPL.device), drawn].round().long()
        return self.network.loss(states_BKD, ids_BL)
