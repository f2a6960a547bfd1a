"""The training loop, on Hugging Face accelerate: one process or many, resumable to the update.

Legend: B trials of a batch. An *update* (or step) is one change of the weights, of ``accumulate`` batches.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import torch

from braindec.contracts import FitContext
from braindec.objectives.view import Mix
from braindec.training import wide_gradients
from braindec.training.averaging import WeightAverage
from braindec.training.batches import Batch, MultiSubjectData, epoch_rows
from braindec.training.checkpoint import Standing, load_checkpoint, save_checkpoint
from braindec.training.compiling import compile_parts
from braindec.training.curves import Curves
from braindec.training.module import TrainingModule
from braindec.training.optimiser import make_optimiser, set_rates
from braindec.training.settings import EngineSettings
from braindec.training.step import Losses, Passes, RecordedPasses, StepInputs
from braindec.training.validation import validate
from braindec.types import DataError

log = logging.getLogger(__name__)


def make_accelerator(settings: EngineSettings, device: str) -> Any:
    """The accelerate engine for a device; processes are those that torchrun or accelerate launch started.

    With bf16, several processes exchange gradients in bfloat16, as autocast itself would leave them: half the bytes.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.state import AcceleratorState
    from accelerate.utils import DDPCommunicationHookType

    # Accelerate keeps one precision a process; a second fit with another one must not inherit it.
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    if ":" in device:
        torch.cuda.set_device(device)
    half = settings.precision == "bf16"
    exchange = DistributedDataParallelKwargs(
        # Objectives that are switched by phase leave parts of the network without a gradient.
        find_unused_parameters=True,
        gradient_as_bucket_view=True,
        comm_hook=DDPCommunicationHookType.BF16 if half else DDPCommunicationHookType.NO,
    )
    return Accelerator(mixed_precision="bf16" if half else "no", cpu=device == "cpu", kwargs_handlers=[exchange])


class Engine:
    """Trains one module.

    Parameters
    ----------
    settings : see `EngineSettings`.
    accelerator : of `make_accelerator`.
    module : network and objectives, on any device.
    train, validation : data; validation may be None.
    context : seed, folder and progress display of the fit.
    fingerprint : what a checkpoint must have in common with this fit to be taken up.

    Raises
    ------
    DataError
        If the batch cannot be divided, or ``keep: best`` has no validation trials.
    """

    def __init__(
        self,
        settings: EngineSettings,
        accelerator: Any,
        module: TrainingModule,
        train: MultiSubjectData,
        validation: MultiSubjectData | None,
        context: FitContext,
        fingerprint: str,
    ) -> None:
        self.settings, self.accelerator, self.context = settings, accelerator, context
        self.train_data, self.validation_data, self.fingerprint = train, validation, fingerprint
        self.rank, self.world = accelerator.process_index, accelerator.num_processes
        if settings.keep == "best" and validation is None:
            raise DataError(
                "engine.keep=best: the split gives no validation trials to choose by; use engine.keep=last, or a split "
                "with validation_fraction"
            )
        module.objectives.check_phases()
        n_subjects = len(train.signals)
        self.per_subject = settings.batch_size // n_subjects
        if self.per_subject < 1 or self.per_subject % self.world:
            raise DataError(
                f"engine.batch_size: {settings.batch_size} gives each of {n_subjects} subjects {self.per_subject} "
                f"trials a batch, which cannot be shared by {self.world} processes; choose a multiple of "
                f"{n_subjects * self.world}"
            )
        n_batches = len(self.epoch(0))
        if n_batches < settings.accumulate:
            raise DataError(
                f"engine.accumulate: {settings.accumulate} batches an update, but an epoch has {n_batches} batches"
            )
        self.updates_per_epoch = n_batches // settings.accumulate
        self.n_updates = settings.epochs * self.updates_per_epoch
        self.module = module.to(accelerator.device)
        compiles = settings.compile and accelerator.device.type == "cuda"
        if settings.wide_gradients and wide_gradients.possible(accelerator.device):
            wide_gradients.widen(self.module, wide_gradients.WORTH_A_BREAK if compiles else 0)
        if compiles:
            compile_parts(self.module)
        optimiser = make_optimiser(self.module, settings, accelerator.device)
        self.average = None if settings.ema_decay is None else WeightAverage(self.module, settings.ema_decay)
        self.best: dict[str, torch.Tensor] | None = None
        self.saved_at = time.monotonic()
        self.standing = self._take_up(optimiser)
        self.wrapped, self.optimiser = accelerator.prepare(self.module, optimiser)
        main = accelerator.is_main_process
        self.curves = Curves(
            context.folder, self.standing.step, settings.tensorboard and main, settings.wandb if main else None
        )
        passes = Passes(self.module, self.wrapped, accelerator)
        recordable = settings.cuda_graph and accelerator.device.type == "cuda" and self.world == 1
        self.passes: Passes | RecordedPasses = RecordedPasses(passes, accelerator.device) if recordable else passes
        self.sums: dict[tuple[str, ...], torch.Tensor] = {}
        self.counts: dict[tuple[str, ...], int] = {}

    def epoch(self, epoch: int) -> list[dict[str, np.ndarray]]:
        """Rows of each subject in each batch of an epoch, of all processes."""
        return epoch_rows(
            self.train_data.stimulus_N, self.per_subject, self.settings.one_per_stimulus, self.context.seed, epoch
        )

    def _take_up(self, optimiser: torch.optim.Optimizer) -> Standing:
        found = load_checkpoint(self.context.folder, self.fingerprint)
        if found is None:
            return Standing()
        self.module.load_state_dict(found.weights)
        optimiser.load_state_dict(found.optimiser)
        if self.average is not None and found.averaged is not None:
            self.average.load(found.averaged)
        self.best = found.best
        log.info("training goes on from update %d of %d", found.standing.step, self.n_updates)
        return found.standing

    def run(self) -> dict[str, Any]:
        """Train to the end (or until early stopping) and leave the chosen weights in the module; returns a report."""
        started, first = time.perf_counter(), self.standing.step
        cuda = self.accelerator.device.type == "cuda"
        with torch.random.fork_rng(devices=[torch.cuda.current_device()] if cuda else []):
            self.wrapped.train()
            first_epoch = first // self.updates_per_epoch
            for epoch in self.context.progress(range(first_epoch, self.settings.epochs), "epochs"):
                if self._out_of_patience():
                    break
                self._one_epoch(epoch)
        if cuda:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
        self.curves.close()
        self._choose_weights()
        self.module.eval()
        done = self.standing.step - first
        return {
            "updates": self.standing.step,
            "epochs": self.standing.step / self.updates_per_epoch,
            "trials_per_update": self.per_subject * len(self.train_data.signals) * self.settings.accumulate,
            "processes": self.world,
            "seconds": round(seconds, 3),
            "seconds_per_update": round(seconds / done, 6) if done else None,
            "kept": self.settings.keep,
            "best_epoch": self.standing.best_epoch,
            "best_score": self.standing.best_score,
            "stopped_early": self.standing.step < self.n_updates,
        }

    def _out_of_patience(self) -> bool:
        return self.settings.patience is not None and self.standing.epochs_without >= self.settings.patience

    def _one_epoch(self, epoch: int) -> None:
        settings = self.settings
        begin = self.standing.step - epoch * self.updates_per_epoch
        batches = self.batches(self.epoch(epoch)[begin * settings.accumulate :])
        with contextlib.closing(batches):
            for update in range(begin, self.updates_per_epoch):
                step = epoch * self.updates_per_epoch + update
                rate = self.update(step, batches)
                self.standing = _advance(self.standing, step + 1)
                last = update + 1 == self.updates_per_epoch
                due = settings.checkpoint_every is not None and (step + 1) % settings.checkpoint_every == 0
                if last or due or (settings.log_every is not None and (step + 1) % settings.log_every == 0):
                    self._log(epoch, rate)
                elif (step + 1) % settings.check_every == 0:
                    self._check(rate)
                if last:
                    self._validate(epoch)
                if due or (last and self._is_time(epoch)):
                    self._save()

    def _is_time(self, epoch: int) -> bool:
        final = epoch + 1 == self.settings.epochs or self._out_of_patience()
        waited = time.monotonic() - self.saved_at >= self.settings.checkpoint_seconds
        # Every process must come to the same answer, and their clocks differ.
        return final or bool(
            self.accelerator.reduce(torch.tensor(float(waited), device=self.accelerator.device), "sum")
        )

    def batches(self, plan: list[dict[str, np.ndarray]]) -> Generator[Batch, None, None]:
        """Batches of this process."""
        share = self.per_subject // self.world
        own = slice(self.rank * share, (self.rank + 1) * share)
        return self.train_data.batches([{s: rows[own] for s, rows in chosen.items()} for chosen in plan])

    def update(self, step: int, batches: Iterator[Batch]) -> float:
        """Make update ``step`` (0-based) from the next batches; returns its learning rate."""
        settings = self.settings
        # Random numbers are a function of seed, update and process: a resumed run draws the same ones.
        torch.manual_seed(_seed(self.context.seed, step, self.rank))
        draw = np.random.default_rng([self.context.seed, step, self.rank])
        rate = set_rates(self.optimiser, settings, step, self.n_updates)
        progress = step / self.n_updates
        taken = tuple(next(batches) for _ in range(settings.accumulate))
        mixes = tuple(self._mix(batch, progress, draw) for batch in taken)
        self._count(self.passes(StepInputs(taken, mixes, self._cycle(step)), progress))
        if settings.clip_norm is not None:
            self.accelerator.clip_grad_norm_(self.module.parameters(), settings.clip_norm)
        self.optimiser.step()
        if self.average is not None:
            self.average.update(step + 1)
        return rate

    def _mix(self, batch: Batch, progress: float, draw: np.random.Generator) -> Mix | None:
        mix = self.settings.mix
        if mix is None or progress >= mix.until:
            return None
        partners, start = [], 0
        for signal in batch.signals.values():
            partners.append(start + draw.permutation(len(signal)))
            start += len(signal)
        share = draw.beta(mix.alpha, mix.alpha, start)
        share[draw.random(start) >= mix.probability] = 1.0
        device = self.accelerator.device
        return Mix(
            torch.from_numpy(np.concatenate(partners)).to(device, non_blocking=True),
            torch.from_numpy(share.astype(np.float32)).to(device, non_blocking=True),
        )

    def _cycle(self, step: int) -> tuple[str, str] | None:
        """Source and other subject of this update's round trip, the same on every process."""
        subjects = list(self.train_data.signals)
        if len(subjects) < 2 or not self.module.network.builders:
            return None
        first, second = np.random.default_rng([self.context.seed, step]).choice(len(subjects), 2, replace=False)
        return subjects[first], subjects[second]

    def _count(self, losses: Losses) -> None:
        names = losses.names
        self.sums[names] = self.sums[names] + losses.values if names in self.sums else losses.values.clone()
        self.counts[names] = self.counts.get(names, 0) + self.settings.accumulate

    def _check(self, rate: float) -> dict[str, float]:
        """Mean losses since the last log. Raises `DataError` when one is not finite."""
        totals: dict[str, float] = {}
        counts: dict[str, int] = {}
        for names, values in self.sums.items():
            for name, value in zip(names, self.accelerator.reduce(values, "mean").tolist()):
                totals[name] = totals.get(name, 0.0) + value
                counts[name] = counts.get(name, 0) + self.counts[names]
        means = {name: total / counts[name] for name, total in totals.items()}
        bad = [name for name, mean in means.items() if not np.isfinite(mean)]
        if bad:
            raise DataError(
                f"training: the loss is not finite (NaN or infinite) in {', '.join(bad)} by update "
                f"{self.standing.step} of {self.n_updates} at learning rate {rate:.3g}; check the signals and targets "
                "for huge values, lower engine.learning_rate, set engine.clip_norm=1, or use engine.precision=float32. "
                f"The last checkpoint in {self.context.folder} is from before"
            )
        return means

    def _log(self, epoch: int, rate: float) -> None:
        means = self._check(rate)
        self.curves.add(epoch, self.standing.step, {"learning_rate": rate, **means})
        self.sums, self.counts = {}, {}
        log.debug("epoch %d, update %d: loss %.5g", epoch, self.standing.step, means["loss"])

    def _validate(self, epoch: int) -> None:
        if self.validation_data is None:
            return
        size = max(self.settings.batch_size, 2)
        with self.average.in_place() if self.average is not None else contextlib.nullcontext():
            scores = validate(self.module, self.validation_data, size, self.context.seed, self.accelerator.autocast)
        self.wrapped.train()
        self.curves.add(epoch, self.standing.step, scores)
        loss = self.settings.monitor == "loss"
        score = scores["validation_loss"] if loss else scores["validation_retrieval"]
        best = self.standing.best_score
        if not np.isfinite(score) and best is None and self.settings.keep == "best":
            raise DataError(
                f"engine.keep=best: the validation {self.settings.monitor} is not finite after epoch {epoch}, so that "
                "none can be chosen by it; check the validation trials and targets for NaN, or use engine.keep=last"
            )
        better = np.isfinite(score) and (best is None or (score < best if loss else score > best))
        if better and self.settings.keep == "best":
            with self.average.in_place() if self.average is not None else contextlib.nullcontext():
                self.best = {name: value.detach().cpu().clone() for name, value in self.module.state_dict().items()}
        self.standing = Standing(
            self.standing.step,
            float(score) if better else best,
            epoch if better else self.standing.best_epoch,
            0 if better else self.standing.epochs_without + 1,
        )

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            self.curves.save()
            averaged = None if self.average is None else self.average.state()
            save_checkpoint(
                self.context.folder,
                self.fingerprint,
                self.standing,
                self.module.state_dict(),
                averaged,
                self.best,
                self.optimiser,
            )
        self.saved_at = time.monotonic()
        self.accelerator.wait_for_everyone()

    def _choose_weights(self) -> None:
        if self.best is not None:
            self.module.load_state_dict(self.best)
        elif self.average is not None:
            for name, value in self.module.named_parameters():
                if value.requires_grad:
                    value.data.copy_(self.average.state()[name])


def _advance(standing: Standing, step: int) -> Standing:
    return Standing(step, standing.best_score, standing.best_epoch, standing.epochs_without)


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
