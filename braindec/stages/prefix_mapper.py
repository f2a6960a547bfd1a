"""The trained map from embeddings to the vectors that a frozen language model reads as its first words.

Legend: N items, n training stimuli, K tokens, D dimensions, F = K x D, C principal components, P prefix vectors,
W width of the language model.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from braindec.artifacts import array_hash, read_state, text_hash, write_state
from braindec.contracts import StageContext
from braindec.frozen.prefix_lm import PrefixLanguageModel
from braindec.stages.rescaling import mean_and_sd
from braindec.types import TargetEmbeddings

log = logging.getLogger(__name__)

_KEY_LENGTH = 16
_SMALLEST = 1e-6
_MOST_ITEMS = 2048
_CHUNK = 256
_FAINTEST = 0.01
"""The faintest noise in training, as a share of the strongest; between, logarithms are equally likely."""

Said = tuple[str, str]
"""A prompt, which may be empty, and what is to be said after it."""

Lessons = Sequence[Sequence[Sequence[Said]]]
"""For each training stimulus its tasks, and of each task the examples of which one is drawn."""


class Mapper(nn.Module):
    """Embeddings (N, K, D) -> prefix vectors (N, P, W), by a perceptron on their first principal components.

    Components are those of the training stimuli's standardised embeddings; what lies beyond them no decoder predicts.

    Source: Mokady et al. 2021 (ClipCap, arXiv:2111.09734), whose perceptron reads one embedding.
    """

    def __init__(self, tokens: int, dim: int, components: int, prefix: int, width: int, hidden: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(tokens, dim))
        self.register_buffer("sd", torch.ones(tokens, dim))
        self.register_buffer("basis", torch.zeros(tokens * dim, components))
        self.register_buffer("spread", torch.ones(components))
        self.perceptron = nn.Sequential(nn.Linear(components, hidden), nn.GELU(), nn.Linear(hidden, prefix * width))
        self.prefix = prefix

    def components(self, values_NKD: Tensor) -> Tensor:
        """Scores (N, C) of the components, each in units of its own standard deviation in training."""
        standard_NKD = (values_NKD - self.get_buffer("mean")) / self.get_buffer("sd")
        return standard_NKD.flatten(1) @ self.get_buffer("basis") / self.get_buffer("spread")

    def forward(self, values_NKD: Tensor) -> Tensor:
        """Prefix vectors (N, P, W)."""
        return self.of_components(self.components(values_NKD))

    def of_components(self, scores_NC: Tensor) -> Tensor:
        """Prefix vectors (N, P, W) of scores."""
        return self.perceptron(scores_NC).unflatten(1, (self.prefix, -1))

    def fit_components(self, values_nKD: np.ndarray, seed: int) -> None:
        """Mean, spread and components of training embeddings; of at most `_MOST_ITEMS` of them, drawn at random."""
        mean_KD, sd_KD = mean_and_sd(values_nKD)
        self.get_buffer("mean").copy_(torch.from_numpy(mean_KD))
        self.get_buffer("sd").copy_(torch.from_numpy(np.maximum(sd_KD, _SMALLEST)))
        rows = np.arange(len(values_nKD))
        if len(rows) > _MOST_ITEMS:
            rows = np.sort(np.random.default_rng(seed).choice(rows, _MOST_ITEMS, replace=False))
        few_nF = torch.from_numpy(np.array(values_nKD[rows], np.float32)).to(self.get_buffer("mean").device)
        few_nF = ((few_nF - self.get_buffer("mean")) / self.get_buffer("sd")).flatten(1)
        # Fewer items than dimensions: the items' own products have the same components.
        strength_n, left_nn = torch.linalg.eigh(few_nF.double() @ few_nF.double().T)
        strength_n, left_nn = strength_n.flip(0), left_nn.flip(1)
        n = min(len(self.get_buffer("spread")), int((strength_n > _SMALLEST * strength_n[0]).sum()))
        size_n = strength_n[:n].sqrt()
        self.get_buffer("basis")[:, :n] = few_nF.T @ (left_nn[:, :n] / size_n).float()
        self.get_buffer("spread")[:n] = (size_n / len(rows) ** 0.5).float()


@dataclass(frozen=True)
class MapperSettings:
    """Sizes and training of a mapper; see `braindec.stages.prefix_llm.PrefixCaption`."""

    prefix: int
    components: int
    hidden: int
    steps: int
    batch_size: int
    learning_rate: float
    noise: float
    max_length: int


def load_or_fit(
    training: TargetEmbeddings,
    lessons: Lessons,
    network: PrefixLanguageModel,
    settings: MapperSettings,
    context: StageContext,
) -> Mapper:
    """The mapper, from the fold's folder where the very same one lies there, else trained and kept there.

    The same means: by content of embeddings and lessons, weights of the language model, settings and seed.
    """
    values = training.values
    mapper = _fresh(values.shape[1], values.shape[2], network.width, settings, context.seed)
    folder = None if context.folder is None else context.folder / _key(training, lessons, network, settings, context)
    if folder is not None and (folder / "state.json").exists():
        state = {name: torch.from_numpy(np.array(array)) for name, array in read_state(folder, verify=True).items()}
        mapper.load_state_dict(state)
        log.info("prefix mapper: read from %s", folder)
    else:
        _fit(mapper, values, lessons, network, settings, context)
        if folder is not None:
            write_state(folder, {name: value.cpu().numpy() for name, value in mapper.state_dict().items()})
            log.info("prefix mapper: kept in %s", folder)
    return mapper.to(context.device).eval().requires_grad_(False)


def _key(
    training: TargetEmbeddings,
    lessons: Lessons,
    network: PrefixLanguageModel,
    settings: MapperSettings,
    context: StageContext,
) -> Path:
    about = {
        "embeddings": array_hash({"values": training.values}),
        "ids": training.ids,
        "lessons": lessons,
        "network": network.describe(),
        "settings": asdict(settings),
        "seed": context.seed,
    }
    return Path(f"prefix_mapper_{text_hash(json.dumps(about, sort_keys=True))[:_KEY_LENGTH]}")


def _fresh(tokens: int, dim: int, width: int, settings: MapperSettings, seed: int) -> Mapper:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Mapper(tokens, dim, settings.components, settings.prefix, width, settings.hidden)


def _fit(
    mapper: Mapper,
    values_nKD: np.ndarray,
    lessons: Lessons,
    network: PrefixLanguageModel,
    settings: MapperSettings,
    context: StageContext,
) -> None:
    """Train on embeddings of random training stimuli with a lesson each; all lessons of a step are of one random task.

    An embedding is learnt from as a regression would predict it through noise of its own strength: with noise of
    variance v on every component, one of variance s is predicted as s / (s + v) of what was seen.
    """
    mapper.to(context.device)
    mapper.fit_components(values_nKD, context.seed)
    scores_nC = torch.cat(
        [
            mapper.components(torch.from_numpy(np.array(values_nKD[at : at + _CHUNK], np.float32)).to(context.device))
            for at in range(0, len(values_nKD), _CHUNK)
        ]
    )
    spread_C = mapper.get_buffer("spread") / mapper.get_buffer("spread").max()
    optimiser = torch.optim.AdamW(mapper.parameters(), settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.steps)
    generator = torch.Generator().manual_seed(context.seed)
    size = settings.batch_size
    with torch.enable_grad():
        for _ in context.progress(range(settings.steps), "fitting the prefix mapper"):
            rows = torch.randint(len(values_nKD), (size,), generator=generator)
            # Tasks differ in length (an answer, a description): a step of several would be padded to the longest.
            task = float(torch.rand(1, generator=generator))
            shares = torch.rand(size, generator=generator).tolist()
            chosen = [_drawn(lessons[row], task, share) for row, share in zip(rows.tolist(), shares, strict=True)]
            level_N1 = settings.noise * _FAINTEST ** torch.rand(size, 1, generator=generator).to(context.device)
            error_NC = torch.randn(size, settings.components, generator=generator).to(context.device)
            ratio_NC = level_N1 / spread_C
            seen_NC = (scores_nC[rows.to(context.device)] + ratio_NC * error_NC) / (1 + ratio_NC.square())
            prompts, texts = zip(*chosen, strict=True)
            loss = network.loss(mapper.of_components(seen_NC), texts, settings.max_length, prompts)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    log.info("prefix mapper: loss %.3f a token after %d steps", float(loss.detach()), settings.steps)


def _drawn(tasks: Sequence[Sequence[Said]], task: float, example: float) -> Said:
    """One lesson; ``task`` and ``example`` in [0, 1) say which."""
    examples = tasks[int(task * len(tasks))]
    return examples[int(example * len(examples))]
