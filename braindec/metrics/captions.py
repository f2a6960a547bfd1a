"""Caption metrics on words alone: overlap, and BLEU.

Captions are compared as lower-case words (letters, digits and inner apostrophes); punctuation is dropped.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from braindec.types import DataError, Evidence, Scores

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def tokens(text: str) -> list[str]:
    """Lower-case words of a text, in order."""
    return _WORD.findall(text.lower())


class CaptionWords:
    """Word overlap of a decoded caption with the true ones: ``word_f1`` and ``word_jaccard``, of sets of words.

    The best of the stimulus's captions counts. An empty decoded caption scores 0; a stimulus whose captions hold no
    word is undefined.
    """

    pairwise = True

    def scores(self, evidence: Evidence) -> tuple[Scores, ...]:
        """Two values in [0, 1] a prediction; neither has a closed-form chance."""
        pairs = _references(evidence)
        if pairs is None:
            return ()
        decoded = [set(tokens(caption)) for caption in evidence.captions or ()]
        f1, jaccard = np.full(len(decoded), np.nan), np.full(len(decoded), np.nan)
        for row, (words, references) in enumerate(zip(decoded, pairs, strict=True)):
            known = [set(reference) for reference in references if reference]
            if known:
                f1[row] = max(2 * len(words & own) / (len(words) + len(own)) for own in known)
                jaccard[row] = max(len(words & own) / len(words | own) for own in known)
        return (Scores("word_f1", f1), Scores("word_jaccard", jaccard))


class Bleu:
    """BLEU of each decoded caption against all captions of its stimulus (see `sentence_bleu`).

    Parameters
    ----------
    n : longest n-gram, 1 to 4 in the literature.
    name : name in the results; by default ``bleu<n>``.
    """

    pairwise = True

    def __init__(self, n: int = 1, name: str | None = None) -> None:
        if n < 1:
            raise DataError(f"BLEU: n must be at least 1, found {n}")
        self.n = n
        self.name = name

    def scores(self, evidence: Evidence) -> tuple[Scores, ...]:
        """One value in [0, 1] a prediction; it has no closed-form chance."""
        pairs = _references(evidence)
        if pairs is None:
            return ()
        values = np.full(len(pairs), np.nan)
        for row, (caption, references) in enumerate(zip(evidence.captions or (), pairs, strict=True)):
            known = [reference for reference in references if reference]
            if known:
                values[row] = sentence_bleu(known, tokens(caption), self.n)
        convention = f"mean of sentence BLEU-{self.n}, n-grams above 1 smoothed by one"
        return (Scores(self.name or f"bleu{self.n}", values, flags=(convention,)),)


def sentence_bleu(references: Sequence[Sequence[str]], decoded: Sequence[str], n: int) -> float:
    """BLEU of one sentence; the precisions of n-grams longer than 1 are (matches + 1) / (total + 1).

    Source: Papineni et al. 2002; smoothing of Lin & Och 2004 (ORANGE).
    """
    return _bleu(*_counts(references, decoded, n), smoothing=1.0)


def corpus_bleu(references: Sequence[Sequence[Sequence[str]]], decoded: Sequence[Sequence[str]], n: int) -> float:
    """BLEU of a corpus: matches, totals and lengths are summed over sentences before anything is divided; unsmoothed.

    Parameters
    ----------
    references : per sentence one or more lists of words.
    decoded : per sentence its list of words.
    n : longest n-gram.

    Raises
    ------
    DataError
        If the two differ in length, or a sentence has no reference.

    Source: Papineni et al. 2002, section 2.3.
    """
    if len(references) != len(decoded):
        raise DataError(f"corpus BLEU: {len(decoded)} decoded sentences but {len(references)} sets of references")
    matches, totals, lengths = np.zeros(n), np.zeros(n), np.zeros(2)
    for known, words in zip(references, decoded, strict=True):
        if not known:
            raise DataError("corpus BLEU: a sentence has no reference")
        own_matches, own_totals, own_lengths = _counts(known, words, n)
        matches += own_matches
        totals += own_totals
        lengths += own_lengths
    return _bleu(matches, totals, lengths, smoothing=0.0)


def _counts(
    references: Sequence[Sequence[str]], decoded: Sequence[str], n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clipped matches and totals per n-gram length (n,), and the lengths of decoded and closest reference (2,)."""
    matches, totals = np.zeros(n), np.zeros(n)
    for order in range(1, n + 1):
        found = _ngrams(decoded, order)
        limit: Counter[tuple[str, ...]] = Counter()
        for reference in references:
            limit |= _ngrams(reference, order)
        matches[order - 1] = sum((found & limit).values())
        totals[order - 1] = sum(found.values())
    closest = min((len(r) for r in references), key=lambda length: (abs(length - len(decoded)), length))
    return matches, totals, np.array([len(decoded), closest], dtype=np.float64)


def _ngrams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[start : start + order]) for start in range(len(words) - order + 1))


def _bleu(matches: np.ndarray, totals: np.ndarray, lengths: np.ndarray, smoothing: float) -> float:
    """Geometric mean of the n-gram precisions times the brevity penalty."""
    decoded, reference = lengths
    if matches[0] == 0:
        return 0.0
    added = np.where(np.arange(len(matches)) > 0, smoothing, 0.0)
    if (matches + added == 0).any():
        return 0.0
    precision = np.log((matches + added) / (totals + added)).mean()
    return math.exp(precision + min(0.0, 1.0 - reference / decoded))


def _references(evidence: Evidence) -> list[list[list[str]]] | None:
    """Words of the true captions of every row; None without captions on either side."""
    if evidence.captions is None or evidence.gallery.captions is None:
        return None
    words = [[tokens(caption) for caption in captions] for captions in evidence.gallery.captions]
    return [words[g] for g in evidence.truth]
