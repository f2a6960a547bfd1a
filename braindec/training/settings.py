"""How a network is trained: everything that is not the network or its objectives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from braindec.types import DataError


def _check(name: str, found: Any, expected: str, good: bool) -> None:
    if not good:
        raise DataError(f"{name}: expected {expected}, found {found}")


@dataclass(frozen=True)
class MixSettings:
    """Mixing of trials within a subject (MixCo).

    Attributes
    ----------
    until : share of training after which nothing is mixed any more.
    alpha : both parameters of the Beta distribution of a trial's own share.
    probability : share of the trials that are mixed.
    """

    until: float = 1 / 3
    alpha: float = 0.15
    probability: float = 0.5

    def __post_init__(self) -> None:
        _check("engine.mix.until", self.until, "a share in (0, 1]", 0 < self.until <= 1)
        _check("engine.mix.alpha", self.alpha, "a number above 0", self.alpha > 0)
        _check("engine.mix.probability", self.probability, "a share in [0, 1]", 0 <= self.probability <= 1)


@dataclass(frozen=True)
class EngineSettings:
    """Optimisation, batches, precision and bookkeeping.

    Attributes
    ----------
    epochs : passes over the subject with most trials; subjects with fewer start over.
    batch_size : trials a step over all subjects (equally many of each) and all processes.
    learning_rate, weight_decay, adam_betas : of AdamW; biases, norms and temperatures do not decay.
    schedule : ``one_cycle`` (up over ``warmup``, then down to 1/2500 of the peak), ``cosine`` (to 0 after a linear
        ``warmup``) or ``constant`` (after a linear ``warmup``).
    warmup : share of training.
    precision : ``bf16`` computes in bfloat16 where that is safe and keeps float32 weights.
    accumulate : batches whose gradients are summed into one update.
    clip_norm : largest norm of the gradient, or None.
    ema_decay : keep an exponential average of the weights, use it for validation and prediction; None for none.
    keep : weights of the ``last`` epoch, or of the ``best`` one by validation.
    monitor : what ``best`` means on validation trials: lowest ``loss`` or highest ``retrieval``.
    patience : stop after so many epochs without improvement; needs ``keep: best``.
    one_per_stimulus : an epoch shows each stimulus once, in one of its repetitions at random.
    mix : mixing of trials, or None.
    checkpoint_every : updates between checkpoints within an epoch; None for none.
    checkpoint_seconds : an epoch's end is a checkpoint when the last one is older; the last epoch's always is.
    log_every : updates between rows of the curves; None: once an epoch.
    check_every : updates between looks at the loss for NaN (on a GPU each look waits for it).
    data_on_device : keep all data in the device's memory: ``auto`` where it fits, ``always``, or ``never``.
    compile : compile the network's parts with torch.compile, 15 to 55 s once. Without effect on a CPU, where it would
        take longer than it saves.
    cuda_graph : record an update's forward and backward passes as one CUDA graph and replay it, which spares small
        networks the wait for Python; the same numbers to rounding. Without effect on a CPU or with several processes.
    wide_gradients : with bf16, make the weight gradients of linear maps in float32 at once instead of copying them
        there; with ``compile``, those of large maps only.
    tensorboard : also write curves for TensorBoard.
    wandb : name of a Weights & Biases project that gets the curves too, or None.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.01
    adam_betas: tuple[float, float] = (0.9, 0.999)
    schedule: Literal["one_cycle", "cosine", "constant"] = "one_cycle"
    warmup: float = 0.1
    precision: Literal["float32", "bf16"] = "float32"
    accumulate: int = 1
    clip_norm: float | None = None
    ema_decay: float | None = None
    keep: Literal["last", "best"] = "last"
    monitor: Literal["loss", "retrieval"] = "loss"
    patience: int | None = None
    one_per_stimulus: bool = True
    mix: MixSettings | None = None
    checkpoint_every: int | None = None
    checkpoint_seconds: float = 60.0
    log_every: int | None = None
    check_every: int = 20
    data_on_device: Literal["auto", "always", "never"] = "auto"
    compile: bool = False
    cuda_graph: bool = False
    wide_gradients: bool = True
    tensorboard: bool = False
    wandb: str | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "check_every"):
            value = getattr(self, name)
            _check(f"engine.{name}", value, "at least 1", value >= 1)
        for name in ("checkpoint_every", "log_every", "patience"):
            value = getattr(self, name)
            _check(f"engine.{name}", value, "at least 1, or null for none", value is None or value >= 1)
        _check("engine.learning_rate", self.learning_rate, "a number above 0", self.learning_rate > 0)
        _check("engine.weight_decay", self.weight_decay, "0 or more", self.weight_decay >= 0)
        _check("engine.adam_betas", self.adam_betas, "two in [0, 1)", all(0 <= beta < 1 for beta in self.adam_betas))
        _check("engine.warmup", self.warmup, "a share in [0, 1)", 0 <= self.warmup < 1)
        clip, decay = self.clip_norm, self.ema_decay
        _check("engine.clip_norm", clip, "above 0, or null for none", clip is None or clip > 0)
        _check("engine.ema_decay", decay, "in (0, 1), or null for none", decay is None or 0 < decay < 1)
        if self.patience is not None and self.keep != "best":
            raise DataError("engine.patience: early stopping needs engine.keep=best, or the stop would be arbitrary")
