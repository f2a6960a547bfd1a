"""ROUGE-L and CIDEr of tokenised captions, as the COCO evaluation defines them.

Legend: n-grams are tuples of words; a caption is a list of words.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ROUGE_BETA = 1.2
CIDER_SIGMA = 6.0
CIDER_SCALE = 10.0
LONGEST = 4

Words = Sequence[str]
Ngrams = Counter[tuple[str, ...]]


def longest_common_subsequence(first: Words, second: Words) -> int:
    """Length of the longest sequence of words that both contain in order."""
    previous = [0] * (len(second) + 1)
    for word in first:
        current = [0]
        for place, other in enumerate(second):
            current.append(previous[place] + 1 if word == other else max(previous[place + 1], current[-1]))
        previous = current
    return previous[-1]


def rouge_l(references: Sequence[Words], decoded: Words, beta: float = ROUGE_BETA) -> float:
    """F-measure of the best precision and the best recall of common subsequences over all references.

    Source: Lin 2004, section 3; tylin/coco-caption pycocoevalcap/rouge/rouge.py for taking the two maxima separately.
    """
    if not decoded or not any(references):
        return 0.0
    lengths = [(longest_common_subsequence(reference, decoded), len(reference)) for reference in references]
    precision = max(common for common, _ in lengths) / len(decoded)
    recall = max(common / length for common, length in lengths if length)
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + beta**2) * precision * recall / (recall + beta**2 * precision)


@dataclass(frozen=True)
class _Vector:
    """Weighted n-grams of one caption by length 1..4, their norms, and the caption's number of bigrams."""

    weights: tuple[dict[tuple[str, ...], float], ...]
    norms: tuple[float, ...]
    n_bigrams: int


class Cider:
    """CIDEr-D among a corpus of stimuli: n-grams count by how few stimuli have them in their references.

    Parameters
    ----------
    references : per stimulus its captions.

    Source: Vedantam et al. 2015, section 3 and the CIDEr-D of its section 5; tylin/coco-caption
    pycocoevalcap/cider/cider_scorer.py, which measures length in bigrams and takes idf from the references at hand.
    """

    def __init__(self, references: Sequence[Sequence[Words]]) -> None:
        counted = [[ngrams(caption) for caption in captions] for captions in references]
        self._n_stimuli_with: Counter[tuple[str, ...]] = Counter(
            ngram for captions in counted for ngram in {n for caption in captions for n in caption}
        )
        self._log_n = math.log(max(len(references), 1))
        self._references = [[self._vector(caption) for caption in captions] for captions in counted]

    def score(self, stimulus: int, decoded: Words) -> float:
        """CIDEr of a caption against the references of stimulus ``stimulus``, in [0, 10]."""
        captions = self._references[stimulus]
        if not captions:
            return float("nan")
        own = self._vector(ngrams(decoded))
        return CIDER_SCALE * float(np.mean([_similarity(own, other) for other in captions]))

    def _vector(self, counts: Ngrams) -> _Vector:
        weights: tuple[dict[tuple[str, ...], float], ...] = tuple({} for _ in range(LONGEST))
        for ngram, count in counts.items():
            rarity = self._log_n - math.log(max(1, self._n_stimuli_with[ngram]))
            weights[len(ngram) - 1][ngram] = count * rarity
        norms = tuple(math.sqrt(sum(w * w for w in of_length.values())) for of_length in weights)
        return _Vector(weights, norms, sum(count for ngram, count in counts.items() if len(ngram) == 2))


def ngrams(words: Words, longest: int = LONGEST) -> Ngrams:
    """Counts of all n-grams of 1 to ``longest`` words."""
    return Counter(
        tuple(words[start : start + length])
        for length in range(1, longest + 1)
        for start in range(len(words) - length + 1)
    )


def _similarity(decoded: _Vector, reference: _Vector) -> float:
    """Clipped cosine, mean over n-gram lengths, damped by the difference in length."""
    total = 0.0
    for own, other, own_norm, other_norm in zip(
        decoded.weights, reference.weights, decoded.norms, reference.norms, strict=True
    ):
        if own_norm and other_norm:
            common = sum(min(weight, other[ngram]) * other[ngram] for ngram, weight in own.items() if ngram in other)
            total += common / (own_norm * other_norm)
    difference = decoded.n_bigrams - reference.n_bigrams
    return total / LONGEST * math.exp(-(difference**2) / (2 * CIDER_SIGMA**2))
