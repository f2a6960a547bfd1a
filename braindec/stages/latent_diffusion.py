"""Pictures by latent diffusion, conditioned on predicted embeddings in place of prompts.

Legend: N predictions, M samples of each, J jobs (one a sample of a prediction), H W picture height and width.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import torch

from braindec.contracts import StageContext
from braindec.frozen.images import to_uint8
from braindec.stages.batches import in_batches, with_smaller_batches
from braindec.stages.diffusion.halves import FeatureReuse
from braindec.stages.diffusion.model import DiffusionModel
from braindec.stages.diffusion.regions import many_shapes
from braindec.stages.diffusion.sampler import Sampler, Sampling, SchedulerName
from braindec.stages.inputs import ORACLE, PRESENTED, extended, pictures_before, predicted, target_with
from braindec.stages.ranking import sample_scores
from braindec.stages.rescaling import Rescale, Rescaler
from braindec.stages.seeds import item_seeds
from braindec.types import DataError, Predictions, Reconstructions, Stimuli

log = logging.getLogger(__name__)


class LatentDiffusion:
    """Pictures sampled from a diffusion network, from noise or from the previous stage's pictures.

    Each sample's noise comes from its item and number alone, so that the batch never changes a picture.

    Parameters
    ----------
    model : the network, e.g. `braindec.stages.diffusion.families.VersatileDiffusion`.
    conditions : name of the network's conditioning -> name of the target that predicts it; None leaves it absent.
    steps, strength, guidance, scheduler, reuse : see `braindec.stages.diffusion.sampler.Sampling`; with a
        ``strength`` the walk starts from the previous stage's pictures, of any size.
    batch_size : samples that are made together; halved when memory runs out.
    n_samples : samples of each item, of which one is kept.
    rank_by : target by which the sample is chosen: the one whose own embedding is nearest to the predicted one. The
        presented picture plays no part.
    start : target of predicted VAE latents (channel, side * side) to start from, in place of pictures.
    caption_text : condition on the previous stage's captions too, through the network's own text encoders.
    oracle : choose the sample that is nearest to the presented stimulus' own embedding of ``rank_by``, as some
        publications did. It looks at the answer; every result is flagged.
    rescale : how predicted conditions are stretched, see `braindec.stages.rescaling.Rescaler`; the start is not.
    """

    def __init__(
        self,
        model: DiffusionModel,
        conditions: Mapping[str, str | None],
        steps: int = 50,
        strength: float | None = None,
        guidance: float = 7.5,
        scheduler: SchedulerName = "checkpoint",
        reuse: FeatureReuse | None = None,
        batch_size: int = 16,
        n_samples: int = 1,
        rank_by: str | None = None,
        start: str | None = None,
        caption_text: bool = False,
        oracle: bool = False,
        rescale: Rescale = "none",
    ) -> None:
        if n_samples < 1:
            raise DataError(f"stage latent_diffusion: expected n_samples >= 1, found {n_samples}")
        if n_samples > 1 and rank_by is None:
            raise DataError(
                f"stage latent_diffusion: n_samples {n_samples} without rank_by; several samples need a target to rank "
                "them by, one that the run predicts and that reads pictures: rank_by: TARGET"
            )
        if oracle and n_samples == 1:
            raise DataError("stage latent_diffusion: oracle chooses among samples; give n_samples above 1")
        if start is not None and strength is None:
            raise DataError(f"stage latent_diffusion: start {start} without strength; give both, or neither")
        self.model = model
        self.conditions = {name: target for name, target in conditions.items() if target is not None}
        self.sampling = Sampling(steps, strength, guidance, scheduler, reuse)
        self.batch_size = batch_size
        self.n_samples = n_samples
        self.rank_by = rank_by
        self.start = start
        self.caption_text = caption_text
        self.oracle = oracle
        self.rescaler = Rescaler(rescale)
        self._warned = False

    @property
    def uses_truth(self) -> tuple[str, ...]:
        """Targets whose embeddings of the presented stimuli this stage must be shown."""
        return (self.rank_by,) if self.oracle and self.rank_by is not None else ()

    def run(self, predictions: Predictions, previous: Reconstructions | None, context: StageContext) -> Reconstructions:
        """Make the pictures; captions and labels of earlier stages are kept.

        Raises
        ------
        DataError
            If a conditioning was not predicted or has another shape, a start picture or a caption is needed and
            missing, weights are missing, or one picture does not fit into memory.
        """
        names = [*self.conditions.values(), *(["captions"] if self.caption_text else [])]
        stage = f"latent_diffusion({', '.join(names)})"
        conditions = {
            name: self.rescaler.values(predictions, target, context, stage) for name, target in self.conditions.items()
        }
        model = self.model.on(context.device)
        if self.caption_text:
            conditions.update(self._texts(previous, stage))
        try:
            model.checked(conditions, len(predictions))
        except DataError as error:
            raise DataError(f"stage {stage}: {error}") from error
        starts = None
        if self.sampling.strength is not None:
            latents = None if self.start is None else predicted(predictions, self.start, stage)
            asks = "strength asks for start pictures"
            starts = pictures_before(previous, stage, asks) if latents is None else model.as_latents(latents)
        elif previous is not None and previous.images is not None and not self._warned:
            self._warned = True
            log.warning("stage %s: walks from noise; pictures before it play no part without strength", stage)
        if self.n_samples > 1:
            self._check_ranking(predictions, context, stage)
        seeds_NM = np.array([item_seeds(predictions, context.seed, m) for m in range(self.n_samples)]).T
        made_JHW3 = self._sample(conditions, starts, seeds_NM, context.device, stage)
        images = made_JHW3.reshape(len(predictions), self.n_samples, *made_JHW3.shape[1:])
        if self.rank_by is None or self.n_samples == 1:
            return extended(previous, predictions, stage, images=images[:, 0], flags=self.rescaler.flags)
        scores_NM = self._scores(images, predictions, context, stage)
        chosen = scores_NM.argmax(axis=1)
        return extended(
            previous,
            predictions,
            stage,
            images=images[np.arange(len(images)), chosen],
            flags=(*self.rescaler.flags, *((ORACLE,) if self.oracle else ())),
            notes={"sample": chosen.tolist(), "sample_scores": scores_NM.round(6).tolist()},
        )

    def _sample(
        self,
        conditions: Mapping[str, np.ndarray],
        starts: np.ndarray | torch.Tensor | None,
        seeds_NM: np.ndarray,
        device: str,
        stage: str,
    ) -> np.ndarray:
        """All samples, item by item: uint8 (N * M, H, W, 3).

        ``starts`` are pictures uint8 (N, H, W, 3) or latents float32 (N, C, h, w).
        """
        model = self.model
        sampler = Sampler(model, self.sampling)
        seeds_J = seeds_NM.reshape(-1)
        item_J = np.repeat(np.arange(len(seeds_NM)), seeds_NM.shape[1])

        def work(jobs: np.ndarray, size: int) -> np.ndarray:
            # A compiled network is compiled for one batch size: a short last batch is filled up.
            rows = np.resize(jobs, size) if model.compiled else jobs
            items = item_J[rows]
            seeds = [int(seed) for seed in seeds_J[rows]]
            with torch.inference_mode(), many_shapes(model.compiled):
                given = model.conditioning({name: values[items] for name, values in conditions.items()}, seeds)
                contrast = model.contrast(given, seeds) if self.sampling.guided else None
                start = None
                if starts is not None:
                    begun = starts[items]
                    start = begun.to(device) if isinstance(begun, torch.Tensor) else model.encode_images(begun)
                noise = model.first_noise(seeds)
                latents = sampler.walk(noise, start, given, contrast, seeds)
                return to_uint8(model.decode_latents(latents))[: len(jobs)]

        return np.concatenate(in_batches(len(seeds_J), self.batch_size, work, stage, self._set_batch_size))

    def _texts(self, previous: Reconstructions | None, stage: str) -> dict[str, np.ndarray]:
        """Conditionings by the captions of the stages before."""
        found = self.model.encode_texts(_captions(previous, stage))
        twice = sorted(found.keys() & self.conditions.keys())
        if twice:
            raise DataError(
                f"stage {stage}: {twice[0]!r} is given twice, by conditions and by caption_text; set conditions."
                f"{twice[0]}: null, or caption_text: false"
            )
        return found

    def _set_batch_size(self, size: int) -> None:
        self.batch_size = size

    def _check_ranking(self, predictions: Predictions, context: StageContext, stage: str) -> None:
        """Raise `DataError` before hours of sampling where samples could not be ranked after it."""
        assert self.rank_by is not None
        predicted(predictions, self.rank_by, stage)
        target = target_with(context, self.rank_by, "embed", stage)
        modality = getattr(getattr(target, "network", None), "modality", "image")
        if modality != "image":
            raise DataError(
                f"stage {stage}: rank_by {self.rank_by!r} is a target of {modality}s and cannot read samples; name one "
                "whose network reads pictures"
            )

    def _scores(self, images: np.ndarray, predictions: Predictions, context: StageContext, stage: str) -> np.ndarray:
        """Similarity of each sample with what is wanted, (N, M)."""
        assert self.rank_by is not None
        wanted = predicted(predictions, self.rank_by, stage)
        if self.oracle:
            presented = context.options.get(PRESENTED, {})
            if self.rank_by not in presented:
                raise DataError(f"stage {stage}: oracle needs the presented stimuli, which braindec reconstruct gives")
            wanted = presented[self.rank_by].of(predictions.table["stimulus_id"].tolist())
        flat = images.reshape(-1, *images.shape[2:])
        target = target_with(context, self.rank_by, "embed", stage)
        samples = Stimuli(tuple(str(job) for job in range(len(flat))), images=flat)
        found = with_smaller_batches(getattr(target, "network", None), lambda: target.embed(samples), stage)
        if found.shape[1:] != wanted.shape[1:]:
            raise DataError(
                f"stage {stage}: samples have embeddings {found.shape[1:]} of target {self.rank_by!r}, predictions "
                f"{wanted.shape[1:]}; train again with that target's configuration"
            )
        return sample_scores(wanted, found.reshape(*images.shape[:2], *found.shape[1:]))


def _captions(previous: Reconstructions | None, stage: str) -> tuple[str, ...]:
    if previous is None or previous.captions is None:
        raise DataError(f"stage {stage}: caption_text asks for captions; put a stage that writes them before it")
    return previous.captions
