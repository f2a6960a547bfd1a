"""Forward and backward passes of one update: launched kernel by kernel, or recorded once and replayed as a CUDA graph.

Small networks on a GPU wait for Python: a step of some hundred kernels takes as long as their launches. A CUDA graph
launches all of them at once. It reads its inputs at fixed addresses, so batches are copied there, and it takes no new
Python numbers, so schedules are read through a `Dial`. Random numbers follow the generator's seed at each replay.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from braindec.objectives.schedules import Dial, Progress
from braindec.objectives.view import Mix
from braindec.training.batches import Batch
from braindec.training.module import TrainingModule

log = logging.getLogger(__name__)

WARM_UPS = 3
"""Times that a kind of step runs in the ordinary way before it is recorded: libraries allocate and compile then."""
MOST_GRAPHS = 12
"""Kinds of steps that are recorded: each keeps its gradients (12 are the pairs of four subjects in a cycle loss)."""


@dataclass(frozen=True)
class StepInputs:
    """What one update is made of: its batches, how each is mixed, and the subjects of the round trip."""

    batches: tuple[Batch, ...]
    mixes: tuple[Mix | None, ...]
    cycle: tuple[str, str] | None

    def tensors(self) -> list[torch.Tensor]:
        """All tensors, in a fixed order."""
        found: list[torch.Tensor] = []
        for batch, mix in zip(self.batches, self.mixes):
            found += [*batch.signals.values(), *batch.targets.values(), batch.stimulus_B]
            found += [] if mix is None else [mix.partner_B, mix.share_B]
        return found

    def copy(self) -> StepInputs:
        """The same in memory of its own."""
        batches = tuple(
            Batch(
                {name: v.clone() for name, v in batch.signals.items()},
                {name: v.clone() for name, v in batch.targets.items()},
                batch.stimulus_B.clone(),
            )
            for batch in self.batches
        )
        mixes = tuple(None if m is None else replace(m, partner_B=m.partner_B.clone(), share_B=m.share_B.clone())
                      for m in self.mixes)  # fmt: skip
        return StepInputs(batches, mixes, self.cycle)


@dataclass(frozen=True)
class Losses:
    """Names of losses and their values (as many), summed over the batches of an update."""

    names: tuple[str, ...]
    values: torch.Tensor


class Passes:
    """Forward and backward passes in the ordinary way; gradients are left in the parameters.

    Parameters
    ----------
    module : network and objectives.
    wrapped : the same as accelerate prepared it.
    accelerator : of `braindec.training.engine.make_accelerator`.
    """

    def __init__(self, module: TrainingModule, wrapped: Any, accelerator: Any) -> None:
        self.module, self.wrapped, self.accelerator = module, wrapped, accelerator
        self.parameters = [p for p in module.parameters() if p.requires_grad]

    def __call__(self, inputs: StepInputs, progress: Progress) -> Losses:
        """Losses of an update at ``progress`` of training."""
        for parameter in self.parameters:
            parameter.grad = None
        distributed = self.accelerator.num_processes > 1
        n_batches = len(inputs.batches)
        values: torch.Tensor | None = None
        names: tuple[str, ...] = ()
        for position, (batch, mix) in enumerate(zip(inputs.batches, inputs.mixes)):
            waits = position + 1 < n_batches
            with self.accelerator.no_sync(self.wrapped) if waits else contextlib.nullcontext():
                total, losses = self.wrapped(batch, progress, mix, inputs.cycle, distributed)
                self.accelerator.backward(total if n_batches == 1 else total / n_batches)
            names = ("loss", *losses)
            found = torch.stack([total, *losses.values()]).detach().float()
            values = found if values is None else values + found
        assert values is not None, "an update has at least one batch"
        return Losses(names, values)


Record = Callable[[Callable[[], Losses]], tuple[Losses, Callable[[], None]]]
"""Records what a function does on the device, without doing it: what it returned, and a function that does it."""


@dataclass(frozen=True)
class _Recorded:
    inputs: StepInputs
    losses: Losses
    gradients: list[torch.Tensor | None]
    replay: Callable[[], None]


class RecordedPasses:
    """`Passes` that are recorded once for each kind of step and then replayed.

    A step's kind is what decides which kernels run: the shapes, which objectives take part, whether trials are mixed,
    and the round trip's subjects. A step that cannot be recorded runs in the ordinary way, with a warning.

    Parameters
    ----------
    passes : what to record.
    device : where.
    record : how; None records CUDA graphs.
    """

    def __init__(self, passes: Passes, device: torch.device, record: Record | None = None) -> None:
        self.passes, self.device = passes, device
        self.record = record
        self.dial = Dial(device)
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.pool: Any = None
        self.possible = True
        self.phase: tuple[Any, ...] = ()
        self.recorded: dict[Any, _Recorded] = {}
        self.seen: dict[Any, int] = {}

    def __call__(self, inputs: StepInputs, progress: float) -> Losses:
        """Losses of an update; they are overwritten by the next one of its kind."""
        self.dial.turn(progress)
        phase = (self.passes.module.objectives.active(progress), tuple(mix is None for mix in inputs.mixes))
        if phase != self.phase:
            self._forget(phase)
        kind = (inputs.cycle, tuple((tuple(t.shape), t.dtype) for t in inputs.tensors()))
        found = self.recorded.get(kind)
        if found is None:
            self.seen[kind] = self.seen.get(kind, 0) + 1
            if not self.possible or self.seen[kind] <= WARM_UPS or len(self.recorded) >= MOST_GRAPHS:
                return self._run(inputs)
            found = self._recorded(inputs)
            if found is None:
                return self._run(inputs)
            self.recorded[kind] = found
        torch._foreach_copy_(found.inputs.tensors(), inputs.tensors())
        for parameter, gradient in zip(self.passes.parameters, found.gradients):
            parameter.grad = gradient
        found.replay()
        return found.losses

    def _forget(self, phase: tuple[Any, ...]) -> None:
        """Phases of training do not come back: their memory is given to the next one's graphs."""
        self.phase = phase
        self.recorded, self.seen, self.pool = {}, {}, None
        for parameter in self.passes.parameters:
            parameter.grad = None

    def _run(self, inputs: StepInputs) -> Losses:
        with self._beside():
            return self.passes(inputs, self.dial)

    @contextlib.contextmanager
    def _beside(self) -> Iterator[None]:
        """On the stream that records: libraries keep workspaces a stream, which must exist before the recording."""
        if self.stream is None:
            yield
            return
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            yield
        current.wait_stream(self.stream)

    def _recorded(self, inputs: StepInputs) -> _Recorded | None:
        static = inputs.copy()
        for parameter in self.passes.parameters:
            parameter.grad = None
        try:
            record = self.record or self._record_graph
            losses, replay = record(lambda: self.passes(static, self.dial))
        except RuntimeError as error:
            log.warning("engine.cuda_graph: this step cannot be recorded (%s); it runs kernel by kernel", error)
            self.possible = False
            self._start_over()
            return None
        return _Recorded(static, losses, [p.grad for p in self.passes.parameters], replay)

    def _record_graph(self, run: Callable[[], Losses]) -> tuple[Losses, Callable[[], None]]:
        if self.pool is None:
            self.pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        # The outer context restores the stream if recording fails. Batches may be read by another thread meanwhile,
        # whose calls must not count as part of the recording: hence the mode.
        with (
            torch.cuda.stream(torch.cuda.current_stream(self.device)),
            torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"),
        ):
            losses = run()
        return losses, graph.replay

    def _start_over(self) -> None:
        """Random numbers as they were before a recording that failed."""
        if self.device.type == "cuda":
            # A generator that was recorded and never released refuses to draw; its place is taken by a new one.
            torch.cuda.synchronize(self.device)
            index = torch.cuda.current_device() if self.device.index is None else self.device.index
            fresh = torch.Generator(self.device)
            torch.cuda.default_generators[index].graphsafe_set_state(fresh.graphsafe_get_state())
        torch.manual_seed(torch.initial_seed())
