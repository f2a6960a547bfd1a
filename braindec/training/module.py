"""One forward pass of training: mix, predict, gather over processes, weigh the objectives.

Legend: B trials of a batch, N trials of a subject, K tokens, D dimensions.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from braindec.models.network import BrainNetwork, Outputs, PseudoTrials
from braindec.objectives.schedules import Progress
from braindec.objectives.view import Mix, StepView
from braindec.objectives.weighted import WeightedSum
from braindec.training.batches import Batch

TUNED = ("adapters.", "builders.")
"""Names of the parts that are a subject's own."""


class _Gather(torch.autograd.Function):
    """Concatenate over processes; the gradient of a process's part is the sum of all processes' gradients of it.

    A loss of gathered tensors is the same on every process, and data-parallel training averages over processes: the sum
    makes the average the gradient of that one loss.
    """

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, values.contiguous())
        ctx.n_own = len(values)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        gradient = gradients[0].contiguous()
        dist.all_reduce(gradient)
        start = dist.get_rank() * ctx.n_own
        return gradient[start : start + ctx.n_own]


def gather(values: torch.Tensor) -> torch.Tensor:
    """Values of all processes (equally many each), rank by rank, differentiable."""
    return _Gather.apply(values)


class TrainingModule(nn.Module):
    """Network and objectives as one module, so that data-parallel training sees all their parameters.

    With ``shared_fixed`` batch norms of the parts that subjects share use their statistics as they are: they would
    otherwise move towards a new subject's, although no weight there is trained.
    """

    def __init__(self, network: BrainNetwork, objectives: WeightedSum, shared_fixed: bool = False) -> None:
        super().__init__()
        self.network = network
        self.objectives = objectives
        self.shared_fixed = shared_fixed

    def train(self, mode: bool = True) -> TrainingModule:
        """Training mode, but for statistics that are to stay."""
        super().train(mode)
        if mode and self.shared_fixed:
            for name, part in self.network.named_modules():
                if isinstance(part, nn.modules.batchnorm._BatchNorm) and not name.startswith(TUNED):
                    part.eval()
        return self

    def forward(
        self, batch: Batch, progress: Progress, mix: Mix | None, cycle: tuple[str, str] | None, distributed: bool
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Total loss and each objective's."""
        signals = batch.signals if mix is None else mix_signals(batch.signals, mix)
        outputs = self.network(signals, batch.targets, cycle)
        view = view_of(outputs, batch, progress, mix)
        # Similarities divided by a temperature of 0.005 do not survive bfloat16.
        with torch.autocast(batch.stimulus_B.device.type, enabled=False):
            return self.objectives(view, gathered(view) if distributed else None)


def mix_signals(signals: dict[str, torch.Tensor], mix: Mix) -> dict[str, torch.Tensor]:
    """Mixed signals; partners are trials of the same subject."""
    mixed, start = {}, 0
    for subject, signal_NST in signals.items():
        stop = start + len(signal_NST)
        share = mix.share_B[start:stop, None, None].to(signal_NST.dtype)
        mixed[subject] = share * signal_NST + (1 - share) * signal_NST[mix.partner_B[start:stop] - start]
        start = stop
    return mixed


def view_of(outputs: Outputs, batch: Batch, progress: Progress, mix: Mix | None) -> StepView:
    """What the objectives see of this process's trials."""
    return StepView(
        value=outputs.value,
        contrast=outputs.contrast,
        targets=batch.targets,
        stimulus_B=batch.stimulus_B,
        progress=progress,
        mix=mix,
        rebuilt=outputs.rebuilt,
        cycled=outputs.cycled,
        prior_errors=outputs.prior_errors,
        pseudo=None if outputs.pseudo is None else _pseudo_view(outputs.pseudo, batch, progress, mix),
    )


def _pseudo_view(pseudo: PseudoTrials, batch: Batch, progress: Progress, mix: Mix | None) -> StepView:
    """Pseudo-trials beside the targets of the trials that they came from, mixed as those were."""
    rows = pseudo.rows
    targets = {name: values[rows] for name, values in batch.targets.items()}
    # Partners are trials of the same subject, so that they lie within the same rows.
    own = None if mix is None else Mix(mix.partner_B[rows] - rows.start, mix.share_B[rows])
    return StepView(pseudo.value, pseudo.contrast, targets, batch.stimulus_B[rows], progress, own)


def gathered(view: StepView) -> StepView:
    """The view of all processes' trials; only what a comparison of trials needs."""
    mix = view.mix
    if mix is not None:
        offset = dist.get_rank() * len(mix.partner_B)
        mix = Mix(gather(mix.partner_B + offset), gather(mix.share_B))
    value = {name: gather(v) for name, v in view.value.items()}
    contrast = {name: value[name] if v is view.value[name] else gather(v) for name, v in view.contrast.items()}
    return StepView(
        value=value,
        contrast=contrast,
        targets={name: gather(v) for name, v in view.targets.items()},
        stimulus_B=gather(view.stimulus_B),
        progress=view.progress,
        mix=mix,
    )
