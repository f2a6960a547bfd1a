"""Retrieval of heard segments: among all of them, among those that hardly overlap, and by sentence.

Legend: G gallery segments, N predictions, Z sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from braindec.metrics import ranking
from braindec.metrics.features import decoded_similarity
from braindec.metrics.memo import Memo
from braindec.metrics.similarity import Similarity
from braindec.types import DataError, Evidence, Scores, Stimuli


@dataclass(frozen=True)
class Places:
    """Where the gallery's segments lie.

    Attributes
    ----------
    sentence_G : number of each segment's sentence; place_G : its 0-based place within it, by sound and time.
    overlap_GG : share of a segment that each pair has in common.
    thinned_G : True for segments chosen in order of time so that no two have more than the allowed share in common.
    """

    sentence_G: np.ndarray
    place_G: np.ndarray
    overlap_GG: np.ndarray
    thinned_G: np.ndarray


def places_of(gallery: Stimuli, most_overlap: float) -> Places | None:
    """Of the gallery's ``extras`` sentence, sound, start_s and length_s; None when it has none (no speech)."""
    if any(name not in gallery.extras for name in ("sentence", "sound", "start_s", "length_s")):
        return None
    sound_G = np.unique(np.asarray(gallery.extras["sound"], dtype=str), return_inverse=True)[1]
    sentence_G = np.unique(np.asarray(gallery.extras["sentence"], dtype=str), return_inverse=True)[1]
    start_G = np.asarray(gallery.extras["start_s"], dtype=np.float64)
    length_s = float(np.asarray(gallery.extras["length_s"])[0])
    share_GG = np.clip(1 - np.abs(start_G[:, None] - start_G[None]) / length_s, 0, None)
    overlap_GG = np.where(sound_G[:, None] == sound_G[None], share_GG, 0.0)
    order = np.lexsort((start_G, sound_G))
    place_G, counts = np.zeros(len(order), dtype=np.int64), np.zeros(sentence_G.max() + 1, dtype=np.int64)
    thinned_G = np.zeros(len(order), dtype=bool)
    last = -1
    for g in order:
        place_G[g] = counts[sentence_G[g]]
        counts[sentence_G[g]] += 1
        if last < 0 or overlap_GG[last, g] <= most_overlap:
            thinned_G[g], last = True, int(g)
    return Places(sentence_G, place_G, overlap_GG, thinned_G)


class SegmentRetrieval:
    """Find the heard segment by its predicted embedding, and tell errors of sentence from errors of word.

    Gives, for each target:

    - ``<target>_segment_top<k>``: among all distinct test segments; neighbours that overlap the truth compete too;
    - ``<target>_segment_apart_top<k>``: among segments of which no two have more than ``most_overlap`` of their length
      in common, chosen in order of time; undefined for predictions of other segments;
    - ``<target>_wrong_sentence``: share of predictions whose nearest segment is of another sentence;
    - ``<target>_wrong_word``: share of those whose nearest segment *of the right sentence* is another one (only
      sentences with several segments);
    - ``<target>_sentence_top<k>``: the sentence, from the mean similarity over all of its predictions. A candidate
      sentence's segments are taken in order, stretched to the true sentence's number, so that every candidate's mean
      is over equally many values and none is favoured for its length.

    Parameters
    ----------
    target : name of the embedding; None takes each that was predicted.
    k : lengths of the list that must hold the truth.
    most_overlap : see above, a share in [0, 1).
    similarity : ``cosine`` or ``correlation`` over time points and dimensions.

    Source: Defossez et al. 2023, section 2.5 and figure 3 (top-10 among more than 1000 segments).
    """

    def __init__(
        self,
        target: str | None = None,
        k: Sequence[int] = (1, 10),
        most_overlap: float = 0.0,
        similarity: Similarity = "cosine",
    ) -> None:
        if not 0 <= most_overlap < 1:
            raise DataError(f"SegmentRetrieval.most_overlap: expected a share in [0, 1), found {most_overlap}")
        self.target = target
        self.k = k
        self.most_overlap = most_overlap
        self.similarity: Similarity = similarity
        self._memos: dict[str, Memo] = {}
        self._places = Memo()

    def scores(self, evidence: Evidence) -> tuple[Scores, ...]:
        """Several `Scores` a target; empty when the stimuli are no segments of speech."""
        places = self._places.of(evidence.gallery, lambda: places_of(evidence.gallery, self.most_overlap))
        targets = tuple(evidence.embeddings) if self.target is None else (self.target,)
        found: list[Scores] = []
        for target in targets if places is not None else ():
            memo = self._memos.setdefault(target, Memo())
            similarity_NG = memo.rows(
                evidence, partial(decoded_similarity, name=target, size=None, kind=self.similarity)
            )
            if similarity_NG is not None and places is not None:
                found += self._segments(target, similarity_NG, evidence.truth, places)
                found += self._errors(target, similarity_NG, evidence.truth, places)
                found += self._sentences(target, similarity_NG, evidence.truth, places)
        return tuple(found)

    def _segments(self, target: str, similarity_NG: np.ndarray, truth_N: np.ndarray, places: Places) -> list[Scores]:
        n_near = float((places.overlap_GG[truth_N] > 0.5).sum(axis=1).mean()) - 1
        n_sentences = int(places.sentence_G.max()) + 1
        flag = f"{len(places.sentence_G)} distinct segments of {n_sentences} sentences; {n_near:.1f} others share more "
        found = self._top(
            "segment", target, ranking.compete(similarity_NG, truth_N), (f"{flag}than half of the truth",)
        )
        among_NG = np.broadcast_to(places.thinned_G, similarity_NG.shape)
        apart = ranking.compete(similarity_NG, truth_N, among_NG)
        chosen_N = places.thinned_G[truth_N]
        apart = ranking.Competition(
            *(np.where(chosen_N, own, np.nan) for own in (apart.greater, apart.equal, apart.less))
        )
        flags = (f"no two candidates share more than {100 * self.most_overlap:.0f}% of their length",)
        return found + self._top("segment_apart", target, apart, flags)

    def _top(self, name: str, target: str, competition: ranking.Competition, flags: tuple[str, ...]) -> list[Scores]:
        candidates_N = competition.n_others + 1
        known_N = candidates_N[~np.isnan(candidates_N)]
        found = []
        for k in self.k:
            if len(known_N) and k < known_N.max():
                chance = float(np.minimum(k / known_N, 1.0).mean())
                values = ranking.top_k(competition, k)
                found.append(Scores(f"{target}_{name}_top{k}", values, "higher", chance, int(known_N.max()), flags))
        return found

    def _errors(self, target: str, similarity_NG: np.ndarray, truth_N: np.ndarray, places: Places) -> list[Scores]:
        same_NG = places.sentence_G[truth_N][:, None] == places.sentence_G[None]
        filled_NG = np.nan_to_num(similarity_NG, nan=0.0)
        best_N = filled_NG.max(axis=1)
        tied_NG = filled_NG == best_N[:, None]
        wrong_sentence_N = (tied_NG & ~same_NG).sum(axis=1) / tied_NG.sum(axis=1)
        n_own_N = same_NG.sum(axis=1)
        within = ranking.compete(filled_NG, truth_N, same_NG)
        wrong_word_N = 1 - ranking.top_k(within, 1)
        size = len(places.sentence_G)
        several = n_own_N > 1
        chance_word = float((1 - 1 / n_own_N[several]).mean()) if several.any() else None
        return [
            Scores(
                f"{target}_wrong_sentence", wrong_sentence_N, "lower", float((1 - n_own_N / size).mean()), size,
                ("the nearest segment is of another sentence",),
            ),
            Scores(
                f"{target}_wrong_word", wrong_word_N, "lower", chance_word, int(n_own_N.max()),
                ("among the right sentence's own segments",),
            ),
        ]  # fmt: skip

    def _sentences(self, target: str, similarity_NG: np.ndarray, truth_N: np.ndarray, places: Places) -> list[Scores]:
        n_sentences = int(places.sentence_G.max()) + 1
        if n_sentences < 2:
            return []
        members = [np.flatnonzero(places.sentence_G == z) for z in range(n_sentences)]
        members = [own[np.argsort(places.place_G[own])] for own in members]
        size_Z = np.array([len(own) for own in members])
        filled_NG = np.nan_to_num(similarity_NG, nan=0.0)
        sentence_N = places.sentence_G[truth_N]
        values_N: dict[int, np.ndarray] = {k: np.full(len(truth_N), np.nan) for k in self.k}
        for own in np.unique(sentence_N):
            rows = np.flatnonzero(sentence_N == own)
            share = places.place_G[truth_N[rows]] / max(1, size_Z[own] - 1)
            pooled_Z = np.array(
                [filled_NG[rows, m[np.round(share * (len(m) - 1)).astype(np.int64)]].mean() for m in members]
            )
            won = ranking.compete(np.round(pooled_Z[None], 10), np.array([own]))
            for k in self.k:
                values_N[k][rows] = ranking.top_k(won, k)[0]
        flags = ("mean over the predictions of a sentence",)
        return [
            Scores(f"{target}_sentence_top{k}", values_N[k], "higher", k / n_sentences, n_sentences, flags)
            for k in self.k
            if k < n_sentences
        ]
