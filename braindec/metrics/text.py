"""Scores of generated sentences: word error rate, ROUGE, and how many of them differ.

Words are those of `braindec.metrics.captions.tokens`: lower case, without punctuation. All texts must have been
generated without true tokens; these metrics cannot tell, the stage's name in the chain can.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from braindec.metrics.captions import tokens
from braindec.metrics.ngram_scores import rouge_l
from braindec.types import DataError, Evidence, Scores


def edit_distance(reference: Sequence[str], decoded: Sequence[str]) -> int:
    """Fewest insertions, deletions and substitutions of words. Source: Levenshtein 1966; Wagner & Fischer 1974."""
    before = list(range(len(decoded) + 1))
    for i, word in enumerate(reference, start=1):
        row = [i]
        for j, other in enumerate(decoded, start=1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (word != other)))
        before = row
    return before[-1]


class WordErrorRate:
    """Edit distance over the number of true words (may exceed 1); of several true texts the best one counts.

    Gives ``<name>``, lower is better, without a closed-form chance.
    """

    pairwise = True

    def __init__(self, name: str = "wer") -> None:
        self.name = name

    def scores(self, evidence: Evidence) -> tuple[Scores, ...]:
        """One value a prediction; NaN where the truth holds no word."""
        pairs = _pairs(evidence)
        if pairs is None:
            return ()
        values = np.full(len(pairs), np.nan)
        for row, (references, decoded) in enumerate(pairs):
            known = [own for own in references if own]
            if known:
                values[row] = min(edit_distance(own, decoded) / len(own) for own in known)
        return (Scores(self.name, values, "lower"),)


class RougeN:
    """ROUGE-1, ROUGE-2 (F1 of clipped n-gram counts) and ROUGE-L of a text against its best true text.

    Gives ``rouge1``, ``rouge2``, ``rougeL``. Source: Lin 2004, sections 2 and 3.

    Parameters
    ----------
    longest : n-grams up to so many words.
    """

    pairwise = True

    def __init__(self, longest: int = 2) -> None:
        if longest < 1:
            raise DataError(f"RougeN.longest: expected at least 1, found {longest}")
        self.longest = longest

    def scores(self, evidence: Evidence) -> tuple[Scores, ...]:
        """Values in [0, 1] a prediction; NaN where the truth holds no word."""
        pairs = _pairs(evidence)
        if pairs is None:
            return ()
        values = np.full((self.longest + 1, len(pairs)), np.nan)
        for row, (references, decoded) in enumerate(pairs):
            known = [own for own in references if own]
            if known:
                for n in range(1, self.longest + 1):
                    values[n - 1, row] = max(_f1(own, decoded, n) for own in known)
                values[-1, row] = rouge_l(known, decoded)
        names = [*(f"rouge{n}" for n in range(1, self.longest + 1)), "rougeL"]
        return tuple(Scores(name, own) for name, own in zip(names, values, strict=True))


class DistinctTexts:
    """How many different texts were generated, as a share of the predictions.

    A prediction's value is 1 over the number of predictions with the same words, so that the mean times n is the number
    of different texts; a decoder that says the same of everything scores 1 / n. Gives ``<name>``.
    """

    def __init__(self, name: str = "distinct_texts") -> None:
        self.name = name

    def scores(self, evidence: Evidence) -> tuple[Scores, ...]:
        """One value a prediction; empty without texts."""
        if evidence.captions is None or not evidence.captions:
            return ()
        said = [" ".join(tokens(text)) for text in evidence.captions]
        counts = Counter(said)
        values = np.array([1 / counts[text] for text in said])
        return (Scores(self.name, values, "higher", flags=(f"{len(counts)} different texts of {len(said)}",)),)


def _f1(reference: Sequence[str], decoded: Sequence[str], n: int) -> float:
    own, other = (Counter(zip(*(words[i:] for i in range(n)))) for words in (reference, decoded))
    total = own.total() + other.total()
    return 2 * (own & other).total() / total if total else 0.0


def _pairs(evidence: Evidence) -> list[tuple[list[list[str]], list[str]]] | None:
    """True texts and decoded text of each row, as words; None without texts on either side."""
    truth = evidence.gallery.captions or (
        None if evidence.gallery.texts is None else tuple((text,) for text in evidence.gallery.texts)
    )
    if evidence.captions is None or truth is None:
        return None
    words = [[tokens(text) for text in texts] for texts in truth]
    return [(words[g], tokens(text)) for g, text in zip(evidence.truth, evidence.captions, strict=True)]
