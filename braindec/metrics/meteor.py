"""METEOR with exact and stem matches.

The published captioning tables use METEOR 1.5, a Java program with other parameters and with tables of synonyms and
paraphrases that are not part of this project: on BrainHub's UMBRAE captions it gives 0.195 where the variant here gives
0.385. The variant is named on every result; `braindec.metrics.meteor_java` calls the program itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from braindec.types import DataError

ALPHA, BETA, GAMMA = 0.9, 3.0, 0.5
VARIANT = "METEOR of 2005: exact and Porter-stem matches, no synonyms or paraphrases (not METEOR 1.5)"

Words = Sequence[str]


def meteor(references: Sequence[Words], decoded: Words) -> float:
    """The best METEOR of a caption over its references, in [0, 1].

    Source: Banerjee & Lavie 2005, section 2.2: F-mean with recall weighted 9 to 1, and a penalty for fragmentation.

    Raises
    ------
    DataError
        If nltk, which stems the words, is not installed.
    """
    return max((_single(reference, decoded) for reference in references), default=float("nan"))


def _single(reference: Words, decoded: Words) -> float:
    if not reference or not decoded:
        return 0.0
    alignment = align(reference, decoded)
    if not alignment:
        return 0.0
    precision, recall = len(alignment) / len(decoded), len(alignment) / len(reference)
    f_mean = precision * recall / (ALPHA * precision + (1 - ALPHA) * recall)
    places = sorted(alignment.items())
    n_chunks = 1 + sum(later != (here[0] + 1, here[1] + 1) for here, later in itertools.pairwise(places))
    return f_mean * (1 - GAMMA * (n_chunks / len(places)) ** BETA)


def align(reference: Words, decoded: Words) -> dict[int, int]:
    """Place in ``decoded`` -> place in ``reference``, one to one: exact matches first, then equal stems.

    Of several candidates a word takes the one that continues the match before it, else the first.
    """
    found: dict[int, int] = {}
    for form in (str, stem):
        _match(reference, decoded, form, found)
    return found


def _match(reference: Words, decoded: Words, form: Callable[[str], str], found: dict[int, int]) -> None:
    forms = [form(word) for word in reference]
    taken = set(found.values())
    for place, word in enumerate(decoded):
        if place in found:
            continue
        free = [other for other, known in enumerate(forms) if known == form(word) and other not in taken]
        if free:
            following = found.get(place - 1, -2) + 1
            found[place] = following if following in free else free[0]
            taken.add(found[place])


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """Porter's stem of a word."""
    return _stemmer().stem(word)


@lru_cache(maxsize=1)
def _stemmer() -> Any:
    try:
        from nltk.stem.porter import PorterStemmer
    except ImportError as error:
        raise DataError("METEOR needs nltk for its stems; pip install 'braindec[caption]', or leave it out") from error
    return PorterStemmer()
