"""Words by a frozen language model that reads predicted embeddings through a small trained mapper.

Legend: N items, K tokens, D dimensions, P prefix vectors, W width of the language model.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from braindec.contracts import StageContext
from braindec.frozen.beams import Search, diverse_beam_search
from braindec.frozen.prefix_lm import PrefixLanguageModel
from braindec.stages.batches import in_batches
from braindec.stages.inputs import extended, predicted
from braindec.types import DataError, Predictions, Reconstructions, TargetEmbeddings

log = logging.getLogger(__name__)

Texts = Literal["each", "joined"]


class Mapper(nn.Module):
    """Embeddings (N, K, D), standardised by training statistics -> prefix vectors (N, P, W).

    Tokens are mixed into P by learnt weights, and each is mapped by one perceptron.

    Source: Mokady et al. 2021 (ClipCap, arXiv:2111.09734), whose perceptron maps one token.
    """

    def __init__(self, tokens: int, dim: int, prefix: int, width: int, hidden: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(tokens, dim))
        self.register_buffer("sd", torch.ones(1))
        self.mix = nn.Linear(tokens, prefix)
        self.lift = nn.Parameter(torch.zeros(prefix, dim))
        self.perceptron = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, values_NKD: Tensor) -> Tensor:
        """Prefix vectors (N, P, W)."""
        standard_NKD = (values_NKD - self.get_buffer("mean")) / self.get_buffer("sd")
        mixed_NPD = self.mix(standard_NKD.transpose(1, 2)).transpose(1, 2)
        return self.perceptron(mixed_NPD + self.lift)


class PrefixCaption:
    """Captions, longer descriptions and answers by a frozen language model.

    The mapper is trained once a fold, on the training stimuli's own embeddings and captions; the language model is
    not. Test stimuli play no part.

    Parameters
    ----------
    network : the language model, with its own batch size; halved when memory runs out.
    target : target whose predicted embeddings are read.
    search : see `braindec.frozen.beams.Search`; its ``max_length`` also cuts the texts that are trained on.
    texts : train on ``each`` caption by itself, or on all of a stimulus's captions ``joined``, for descriptions.
    questions : asked after the caption; the answers become the columns ``answer_1``, ``answer_2``, ... of the table.
        A model that was never trained on questions answers them only as far as its own words go.
    prefix : number of prefix vectors P.
    hidden : width of the mapper's perceptron.
    steps, train_batch_size, learning_rate : of the mapper's training by AdamW.
    noise : standard deviation of noise on the embeddings in training, in units of their own; predictions are noisy.
    """

    def __init__(
        self,
        network: PrefixLanguageModel,
        target: str,
        search: Search,
        texts: Texts = "each",
        questions: Sequence[str] = (),
        prefix: int = 10,
        hidden: int = 512,
        steps: int = 2000,
        train_batch_size: int = 40,
        learning_rate: float = 2e-4,
        noise: float = 0.3,
    ) -> None:
        self.network = network
        self.target = target
        self.search = search
        self.texts: Texts = texts
        self.questions = tuple(questions)
        self.prefix = prefix
        self.hidden = hidden
        self.steps = steps
        self.train_batch_size = train_batch_size
        self.learning_rate = learning_rate
        self.noise = noise
        self._fitted: tuple[TargetEmbeddings, Mapper] | None = None

    def run(self, predictions: Predictions, previous: Reconstructions | None, context: StageContext) -> Reconstructions:
        """Add captions; pictures and labels of earlier stages are kept.

        Raises
        ------
        DataError
            If the embeddings were not predicted, or training stimuli have no captions or other embeddings.
        """
        stage = f"prefix_llm({self.target})"
        values = predicted(predictions, self.target, stage)
        network = self.network.to(context.device)
        mapper = self._mapper(context, values.shape[1:], stage)
        captions, n_best = self._written(values, mapper, network, "", context.device, stage)
        notes: dict[str, list[object]] = {"n_best": n_best} if self.search.beams > 1 else {}
        for number, question in enumerate(self.questions, start=1):
            answers, _ = self._written(values, mapper, network, question, context.device, stage)
            notes[f"answer_{number}"] = list(answers)
        return extended(previous, predictions, stage, captions=tuple(captions), notes=notes)

    def _written(
        self,
        values: np.ndarray,
        mapper: Mapper,
        network: PrefixLanguageModel,
        prompt: str,
        device: str,
        stage: str,
    ) -> tuple[list[str], list[object]]:
        """The best text of each item, and all that were found with their scores."""
        start, end = network.start_and_end()

        def work(rows: np.ndarray, size: int) -> list[list[tuple[str, float]]]:
            with torch.inference_mode():
                prefix_NPW = mapper(torch.as_tensor(np.asarray(values[rows], np.float32), device=device))
                found = diverse_beam_search(
                    lambda own, tokens: network.next_logits(prefix_NPW[own], tokens, prompt),
                    len(rows),
                    start,
                    end,
                    self.search,
                    device,
                )
            return [[(network.text(tokens), round(score, 4)) for score, tokens in ranked] for ranked in found]

        parts = in_batches(len(values), max(1, network.batch_size // self.search.beams), work, stage)
        ranked = [one for part in parts for one in part]
        return [one[0][0] for one in ranked], [[list(entry) for entry in one] for one in ranked]

    def _mapper(self, context: StageContext, shape: tuple[int, ...], stage: str) -> Mapper:
        if self.target not in context.training_embeddings:
            raise DataError(
                f"stage {stage}: needs the training stimuli's embeddings of target {self.target!r}, "
                f"found {sorted(context.training_embeddings)}"
            )
        training = context.training_embeddings[self.target]
        if training.values.shape[1:] != shape:
            raise DataError(
                f"stage {stage}: predictions of shape (token, dim) {shape}, training embeddings of "
                f"{training.values.shape[1:]}; train again with that target's configuration"
            )
        captions = context.training_stimuli.captions
        if captions is None or not all(captions):
            raise DataError(f"stage {stage}: needs a caption for every training stimulus; this data set lacks some")
        if self._fitted is None or self._fitted[0] is not training:
            rows = context.training_stimuli.rows(training.ids)
            texts = [captions[row] for row in rows]
            texts = [(" ".join(own),) for own in texts] if self.texts == "joined" else texts
            self._fitted = training, self._fit(training.values, texts, context)
        return self._fitted[1]

    def _fit(self, values_nKD: np.ndarray, texts: Sequence[Sequence[str]], context: StageContext) -> Mapper:
        generator = torch.Generator().manual_seed(context.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            mapper = Mapper(values_nKD.shape[1], values_nKD.shape[2], self.prefix, self.network.width, self.hidden)
        few = np.asarray(values_nKD[: min(len(values_nKD), 2048)], np.float32)
        mapper.get_buffer("mean").copy_(torch.from_numpy(few.mean(axis=0)))
        mapper.get_buffer("sd").copy_(torch.tensor([max(float((few - few.mean(axis=0)).std()), 1e-6)]))
        mapper.to(context.device)
        optimiser = torch.optim.AdamW(mapper.parameters(), self.learning_rate)
        spread = float(mapper.get_buffer("sd"))
        with torch.enable_grad():
            for _ in context.progress(range(self.steps), "fitting the prefix mapper"):
                rows = torch.randint(len(values_nKD), (self.train_batch_size,), generator=generator).numpy()
                which = torch.rand(self.train_batch_size, generator=generator).tolist()
                chosen = [texts[row][int(u * len(texts[row]))] for row, u in zip(rows, which, strict=True)]
                batch = torch.from_numpy(np.asarray(values_nKD[rows], np.float32))
                batch = batch + self.noise * spread * torch.randn(batch.shape, generator=generator)
                loss = self.network.loss(mapper(batch.to(context.device)), chosen, self.search.max_length)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        log.info("prefix mapper: loss %.3f a token after %d steps", float(loss), self.steps)
        return mapper.eval().requires_grad_(False)
