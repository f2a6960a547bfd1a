"""Which share of the work is this process's, as torchrun or SLURM say it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from braindec.types import DataError

_LAUNCHERS = (("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"))


@dataclass(frozen=True)
class Share:
    """Process ``rank`` (from 0) of ``world``; ``local_rank`` counts the processes of this machine."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise DataError(f"rank {self.rank} of {self.world} processes; expected 0 to {self.world - 1}")

    def owns(self, number: int) -> bool:
        """Whether the piece of work with this number is this process's."""
        return number % self.world == self.rank

    def device(self, device: str) -> str:
        """``cuda`` with the number of this process's own GPU, where several share a machine."""
        return f"cuda:{self.local_rank}" if device == "cuda" and self.world > 1 else device


def share_of(environment: Mapping[str, str] = os.environ) -> Share:
    """The share that torchrun (``RANK``, ``WORLD_SIZE``) or SLURM's srun sets; else all of the work.

    Raises
    ------
    DataError
        If a variable is not a number, or the rank is not below the number of processes.
    """
    for names in _LAUNCHERS:
        if names[0] in environment and names[1] in environment:
            try:
                rank, world, local = (int(environment.get(name, "0")) for name in names)
            except ValueError as error:
                found = {name: environment.get(name) for name in names}
                raise DataError(f"expected whole numbers in {found}; start with torchrun or srun") from error
            # A step of a batch script that is not under srun sees the job's variables, but there is one of it.
            if names[0] == "SLURM_PROCID" and "SLURM_STEP_ID" not in environment:
                continue
            return Share(rank, world, local)
    return Share()
