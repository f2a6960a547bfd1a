"""The processes of one run, as torchrun or accelerate launch started them: who writes, and who waits for whom.

All processes walk through a run together. Each fits the same transforms and targets for itself; a trainable decoder
shares its batches; only the main one writes the run folder and predicts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from braindec.types import DataError

LONGEST_WAIT = timedelta(hours=24)
"""Others may wait for the main process while it reads a data set or embeds its stimuli."""


@dataclass(frozen=True)
class Processes:
    """This process among all of a run.

    Attributes
    ----------
    rank, world : number of this process (0 is the main one) and of all.
    local_rank : number of this process on its machine.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def device(self, device: str) -> str:
        """The device of this process: each has a GPU of its own."""
        return f"cuda:{self.local_rank}" if device == "cuda" and self.world > 1 else device

    def wait(self) -> None:
        """Until every process has come here."""
        self.share(None)

    def share(self, value: Any) -> Any:
        """The main process's value (text, numbers, lists of them, or None), on all processes."""
        if self.world == 1:
            return value
        import torch.distributed as dist

        shared = [value]
        dist.broadcast_object_list(shared, src=0, device=_host())
        # Nobody goes on before everybody has the value, so that a wait is one in both directions.
        everyone = [None] * self.world
        dist.all_gather_object(everyone, None)
        return shared[0]

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """The others enter when the main process has left."""
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()


def _host() -> Any:
    import torch

    return torch.device("cpu")


def joined(device: str) -> Processes:
    """Join the other processes, where ``RANK`` and ``WORLD_SIZE`` say that there are some.

    Raises
    ------
    DataError
        If the surroundings name several processes but not this one's number, or fewer GPUs are here than processes.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Processes()
    if "RANK" not in os.environ:
        raise DataError(
            f"WORLD_SIZE={world} but RANK is not set; start with: torchrun --nproc-per-node N -m braindec.cli train ..."
        )
    import torch
    import torch.distributed as dist

    processes = Processes(int(os.environ["RANK"]), world, int(os.environ.get("LOCAL_RANK", os.environ["RANK"])))
    cuda = device.startswith("cuda")
    if cuda and processes.local_rank >= torch.cuda.device_count():
        raise DataError(
            f"process {processes.local_rank} of this machine has no GPU: {torch.cuda.device_count()} are here; start "
            "no more processes a machine than it has GPUs"
        )
    if cuda:
        torch.cuda.set_device(processes.local_rank)
    if not dist.is_initialized():
        # Waits and shared values go over the host: a wait of hours must not keep a GPU busy.
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=LONGEST_WAIT)
    return processes


def leave() -> None:
    """Leave the other processes at the end of a run."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
