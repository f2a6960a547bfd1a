"""What is trained, on what, and when: stages, their dependencies and the share of the time that each may use."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

SIZE = 64
TRAIN_SEED = 910_001
HELD_OUT_SEED = 910_002
TEXT_LENGTH = 32


@dataclass(frozen=True)
class Stage:
    """One network: when it may begin and must end training, as shares of the whole time.

    Networks that others need have the device nearly to themselves at first.
    """

    name: str
    begin: float
    end: float


STAGES = {
    stage.name: stage
    for stage in (
        Stage("clip", 0.0, 0.37),
        Stage("vae", 0.0, 0.35),
        Stage("judge", 0.0, 0.24),
        Stage("vdvae", 0.31, 0.66),
        Stage("git", 0.37, 0.62),
        Stage("depth", 0.37, 0.58),
        Stage("diffusion", 0.0, 0.84),
        Stage("controlnet", 0.0, 0.945),
    )
}
"""In the order of their start; the figures of a stage take the few seconds after its end."""

FOLDERS = {name: f"tiny_{name}" for name in STAGES} | {"controlnet": "tiny_diffusion"}


@dataclass(frozen=True)
class Run:
    """What a stage is given.

    Attributes
    ----------
    work : scratch folder: rendered scenes, networks, curves, sheets.
    base : folder of networks that were trained before, for stages that are not trained now.
    started : wall clock (`time.time`) at which the command began.
    seconds : length of the whole run.
    device, compiled, warm : where it runs; whether ``torch.compile`` is used; whether it goes on from ``base``.
    batch : factor on every batch size (small on a CPU).
    """

    work: Path
    base: Path | None
    started: float
    seconds: float
    device: str
    compiled: bool
    warm: bool
    batch: float
    seed: int

    @property
    def networks(self) -> Path:
        """Where trained networks are written."""
        return self.work / "networks"

    def ends(self, name: str) -> float:
        """Wall clock at which a stage must stop training."""
        return self.started + self.seconds * STAGES[name].end

    def wait_for_turn(self, name: str) -> None:
        """Sleep until a stage may begin."""
        time.sleep(max(0.0, self.started + self.seconds * STAGES[name].begin - time.time()))

    def batch_of(self, size: int) -> int:
        """A batch size, scaled to this machine."""
        return max(4, int(size * self.batch))

    def judged_on(self, n: int) -> int:
        """How many held-out scenes figures are of: fewer where there is no GPU."""
        return n if self.device.startswith("cuda") else max(16, n // 20)

    def folder(self, name: str) -> Path:
        """A trained network: of this run if there is one, else of ``base``."""
        own = self.networks / FOLDERS[name]
        return own if (own / "DONE").exists() or self.base is None else self.base / FOLDERS[name]

    def start_from(self, name: str) -> Path | None:
        """Weights to go on from, or None to start afresh."""
        if not self.warm or self.base is None:
            return None
        folder = self.base / FOLDERS[name]
        return folder if folder.is_dir() else None


def clock(run: Run) -> str:
    """Seconds since the command began, for logs."""
    return f"[{time.time() - run.started:6.1f} s]"
