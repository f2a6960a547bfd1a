"""One sampler for every family: from noise or a start picture, guided, batched, each picture with its own noise.

Legend: n pictures, C latent channels, h w latent height and width.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from braindec.stages.diffusion.conditioning import Conditioning
from braindec.stages.diffusion.halves import FeatureReuse
from braindec.stages.diffusion.model import DiffusionModel
from braindec.types import DataError

SchedulerName = Literal["checkpoint", "ddim", "unipc", "euler", "euler_ancestral"]
_CLASSES = {
    "ddim": "DDIMScheduler",
    "unipc": "UniPCMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_ancestral": "EulerAncestralDiscreteScheduler",
}


@dataclass(frozen=True)
class Sampling:
    """How latents are sampled.

    Attributes
    ----------
    steps : steps of a whole walk.
    strength : with a start picture, the share of the walk that is taken, ``int(steps * strength)`` steps; None starts
        from noise.
    guidance : weight of classifier-free guidance; 1 or less is none, and costs half.
    scheduler : the checkpoint's own, or one that takes over its noise levels.
    reuse : share first-half features between steps; None runs the whole network at each.
    """

    steps: int = 50
    strength: float | None = None
    guidance: float = 7.5
    scheduler: SchedulerName = "checkpoint"
    reuse: FeatureReuse | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise DataError(f"diffusion: expected steps >= 1, found {self.steps}")
        if self.strength is not None and not (self.strength <= 1 and self.n_steps >= 1):
            raise DataError(
                f"diffusion: strength {self.strength} of {self.steps} steps takes no step, or too many; expected a "
                "value above 0 and up to 1, so that int(steps * strength) is at least 1"
            )

    @property
    def n_steps(self) -> int:
        """Steps that are really taken."""
        return self.steps if self.strength is None else int(self.steps * self.strength)

    @property
    def guided(self) -> bool:
        """Whether each step also runs the network without conditioning."""
        return self.guidance > 1


class Sampler:
    """Walks latents from noise (or a noised start) to a picture; the schedule is computed once.

    Source: Ho and Salimans 2022 (arXiv:2207.12598) for guidance; Meng et al. 2022 (SDEdit) for the start picture, with
    the step counts of diffusers' image-to-image pipelines.
    """

    def __init__(self, model: DiffusionModel, sampling: Sampling) -> None:
        self.model = model
        self.sampling = sampling
        self._scheduler = make_scheduler(model.scheduler_settings, sampling.scheduler)
        # The schedule stays on the CPU, where reading a step's coefficients does not make the device wait.
        times = model.timesteps(sampling.steps)
        chosen: dict[str, Any] = {"num_inference_steps": sampling.steps} if times is None else {"timesteps": times}
        self._scheduler.set_timesteps(**chosen, device="cpu")
        first = sampling.steps - sampling.n_steps
        self._times = self._scheduler.timesteps[first * self._scheduler.order :]
        if sampling.strength is not None and hasattr(self._scheduler, "set_begin_index"):
            self._scheduler.set_begin_index(first * self._scheduler.order)
        self._takes_generator = "generator" in inspect.signature(self._scheduler.step).parameters

    def walk(
        self,
        noise_nChw: Tensor,
        start_nChw: Tensor | None,
        given: Conditioning,
        contrast: Conditioning | None,
        seeds: Sequence[int],
    ) -> Tensor:
        """Sampled latents float32 (n, C, h, w).

        Parameters
        ----------
        noise_nChw : standard-normal, float32.
        start_nChw : latents of the start pictures; given exactly when ``strength`` is.
        contrast : what guidance leads away from; needed when guided.
        seeds : one a picture, for schedulers that draw noise at each step.
        """
        sampling, halves, scheduler = self.sampling, self.model.halves, deepcopy(self._scheduler)
        latents = self._first(scheduler, noise_nChw, start_nChw)
        if sampling.guided:
            assert contrast is not None
            given = contrast.followed_by(given)
        options: dict[str, Any] = {}
        if self._takes_generator:
            options["generator"] = [torch.Generator().manual_seed((seed + 1) % 2**63) for seed in seeds]
        times_on_device = self._times.to(latents.device)
        features = None
        for step, time in enumerate(self._times):
            inputs = scheduler.scale_model_input(latents, time).to(given.tokens_nKD.dtype)
            inputs = torch.cat([inputs, inputs]) if sampling.guided else inputs
            times = times_on_device[step].expand(len(inputs))
            if sampling.reuse is None:
                output = halves.whole(inputs, times, given)
            else:
                if features is None or sampling.reuse.is_key(step):
                    features = halves.down(inputs, times, given)
                output = halves.up(features, times, given)
                if sampling.reuse.inject and step >= len(self._times) // 2:
                    latents = latents + sampling.reuse.inject * noise_nChw
            output = _guided(output.float(), sampling)
            latents = scheduler.step(output, time, latents, **options).prev_sample
        return latents

    def _first(self, scheduler: Any, noise_nChw: Tensor, start_nChw: Tensor | None) -> Tensor:
        if self.sampling.strength is None:
            return noise_nChw * scheduler.init_noise_sigma
        assert start_nChw is not None
        return scheduler.add_noise(start_nChw, noise_nChw, self._times[:1].expand(len(noise_nChw)))


def _guided(output: Tensor, sampling: Sampling) -> Tensor:
    if not sampling.guided:
        return output
    without, given = output.chunk(2)
    return without + sampling.guidance * (given - without)


def make_scheduler(settings: dict[str, Any], name: SchedulerName) -> Any:
    """A diffusers scheduler with a checkpoint's noise levels.

    Raises
    ------
    DataError
        If the checkpoint names a scheduler that diffusers does not have.
    """
    import diffusers

    class_name = settings.get("_class_name", "") if name == "checkpoint" else _CLASSES[name]
    if not str(class_name).endswith("Scheduler") or not hasattr(diffusers, str(class_name)):
        raise DataError(f"scheduler_config.json: expected a scheduler of diffusers, found {class_name!r}")
    return getattr(diffusers, str(class_name)).from_config(settings)
