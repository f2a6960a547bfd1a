"""Retrieval in an embedding space, from brain to stimulus and back.

Legend: G gallery entries, N predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import numpy as np

from braindec.metrics import ranking
from braindec.metrics.features import decoded_similarity
from braindec.metrics.matching import csls, hungarian, sinkhorn
from braindec.metrics.memo import Memo
from braindec.metrics.similarity import Similarity
from braindec.types import DataError, Evidence, Scores

Way = Literal["forward", "backward"]
Matching = Literal["inductive", "csls", "sinkhorn", "hungarian"]

MEDIAN_FLAG = "statistic: median"
"""Marks scores that are summarised by their median over stimuli instead of their mean."""


class Retrieval:
    """Find the stimulus by its predicted embedding (``forward``), or the prediction by its stimulus (``backward``).

    Forward, a prediction ranks all distinct test stimuli. Backward, the stimulus of a row ranks that row's prediction
    against the predictions of all other stimuli (other predictions of the same stimulus do not compete). Ties are worth
    what breaking them at random gives on average, so that constant predictions score exactly chance.

    Gives ``<target>_<way>_top<k>`` (chance k / candidates), ``<target>_<way>_rank`` (1 is best; summarised by its
    median) and ``<target>_<way>_normalised_rank`` (0 is best, chance 0.5). The names of a transductive matching and of
    n follow the way: ``<target>_<way>_csls_300way_top1``.

    Parameters
    ----------
    target : name of the embedding; None takes each that was predicted.
    k : lengths of the list that must hold the truth.
    ways : ``forward``, ``backward`` or both.
    similarity : ``cosine`` or ``correlation`` over tokens and dimensions.
    n : rank among n random candidates (the truth and n - 1 others) instead of all; ranks are not given then.
    n_resamples, seed : how many random candidate sets are averaged per prediction; intervals stay image-level.
    matching : ``inductive`` scores each prediction by itself. ``csls``, ``sinkhorn`` and ``hungarian`` look at all test
        predictions together and are flagged ``transductive``; ``hungarian`` gives top-1 only and needs one prediction
        a stimulus.

    Source: MindEye2 (Scotti et al. 2024) for 300-way retrieval in 30 resamples; ATM (Li et al. 2024) for 200-way.
    """

    def __init__(
        self,
        target: str | None = None,
        k: Sequence[int] = (1, 5),
        ways: Sequence[Way] = ("forward", "backward"),
        similarity: Similarity = "cosine",
        n: int | None = None,
        n_resamples: int = 30,
        seed: int = 0,
        matching: Matching = "inductive",
    ) -> None:
        self.target = target
        self.k = k
        self.ways = ways
        self.similarity: Similarity = similarity
        self.n = n
        self.n_resamples = n_resamples
        self.seed = seed
        self.matching: Matching = matching
        self._memos: dict[str, Memo] = {}

    def scores(self, evidence: Evidence) -> tuple[Scores, ...]:
        """Several `Scores` a target and way; empty when no target was predicted."""
        targets = tuple(evidence.embeddings) if self.target is None else (self.target,)
        found: list[Scores] = []
        for target in targets:
            memo = self._memos.setdefault(target, Memo())
            similarity_NG = memo.rows(
                evidence, partial(decoded_similarity, name=target, size=None, kind=self.similarity)
            )
            if similarity_NG is None:
                continue
            for way in self.ways:
                found += self._scores(f"{target}_{way}", way, similarity_NG, evidence)
        return tuple(found)

    def _scores(self, name: str, way: Way, similarity_NG: np.ndarray, evidence: Evidence) -> list[Scores]:
        matched_NG, flags = self._matched(similarity_NG, evidence)
        if way == "forward":
            competition = ranking.compete(matched_NG, evidence.truth)
        else:
            # Query of row j is its stimulus; the candidates are the predictions, and row j itself is the truth. A
            # prediction without direction is unrelated to everything (0), not absent.
            similarity_NN = np.nan_to_num(matched_NG)[:, evidence.truth].T
            other_stimulus_NN = evidence.truth[:, None] != evidence.truth[None, :]
            competition = ranking.compete(similarity_NN, np.arange(len(evidence.truth)), other_stimulus_NN)
        flags = (*flags, f"gallery: {'test stimuli' if way == 'forward' else 'test predictions'}")
        if self.matching != "inductive":
            name = f"{name}_{self.matching}"
        if self.n is not None:
            return self._among_n(f"{name}_{self.n}way", self.n, competition, flags)
        found = self._top_k(name, competition, competition.n_others + 1, flags)
        if self.matching != "hungarian" and found:
            size = found[0].gallery_size
            middle = float((np.nanmean(competition.n_others) + 2) / 2)
            ranks, shares = ranking.rank(competition), ranking.normalised_rank(competition)
            found.append(Scores(f"{name}_rank", ranks, "lower", middle, size, (*flags, MEDIAN_FLAG)))
            found.append(Scores(f"{name}_normalised_rank", shares, "lower", 0.5, size, flags))
        return found

    def _among_n(self, name: str, n: int, competition: ranking.Competition, flags: tuple[str, ...]) -> list[Scores]:
        """Top-k among n random candidates, or among all where there are no more than n."""
        candidates_N = competition.n_others + 1
        n_all = int(np.nanmax(candidates_N, initial=1))
        if n >= n_all:
            return self._top_k(
                name, competition, candidates_N, (*flags, f"only {n_all} candidates") if n > n_all else flags
            )
        drawn = ranking.subsampled(competition, n, self.n_resamples, np.random.default_rng(self.seed))
        flags = (*flags, f"{self.n_resamples} random sets of {n} of {n_all}")
        return self._top_k(name, drawn, np.minimum(candidates_N, n), flags)

    def _top_k(
        self, name: str, competition: ranking.Competition, candidates_N: np.ndarray, flags: tuple[str, ...]
    ) -> list[Scores]:
        known_N = candidates_N[~np.isnan(candidates_N)]
        if len(known_N) == 0:
            return []
        found = []
        for k in (1,) if self.matching == "hungarian" else self.k:
            values = ranking.top_k(competition, k).reshape(-1, len(candidates_N)).mean(axis=0)
            chance = float(np.minimum(k / known_N, 1.0).mean())
            found.append(Scores(f"{name}_top{k}", values, "higher", chance, int(known_N.max()), flags))
        return found

    def _matched(self, similarity_NG: np.ndarray, evidence: Evidence) -> tuple[np.ndarray, tuple[str, ...]]:
        if self.matching == "inductive":
            return similarity_NG, (self.similarity,)
        if self.matching == "hungarian" and len(np.unique(evidence.truth)) != len(evidence.truth):
            raise DataError(
                f"retrieval: Hungarian matching needs one prediction a stimulus, found {len(evidence.truth)} "
                f"predictions of {len(np.unique(evidence.truth))} stimuli; average the repetitions"
            )
        transforms: dict[str, Callable[[np.ndarray], np.ndarray]] = {
            "csls": csls,
            "sinkhorn": sinkhorn,
            "hungarian": hungarian,
        }
        return transforms[self.matching](similarity_NG), (self.similarity, f"transductive: {self.matching}")
