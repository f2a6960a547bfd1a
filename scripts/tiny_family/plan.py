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
    """One network. ``end`` is when its training must stop, as a share of the whole time; ``needs`` come before it."""

    name: str
    end: float
    needs: tuple[str, ...] = ()


STAGES = {
    stage.name: stage
    for stage in (
        Stage("clip", 0.36),
        Stage("vae", 0.34),
        Stage("judge", 0.27),
        Stage("depth", 0.33),
        Stage("vdvae", 0.66),
        Stage("git", 0.54),
        Stage("diffusion", 0.83, ("clip", "vae", "judge")),
        Stage("controlnet", 0.94, ("diffusion", "depth")),
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

    def batch_of(self, size: int) -> int:
        """A batch size, scaled to this machine."""
        return max(4, int(size * self.batch))

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
