"""Sentences for simulated listening and reading: reviews with a sentiment and biographies with a relation.

Sentence *i* of a seed is a function of these two numbers; no two sentences of a `draw_sentences` call have the same
words.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braindec.types import DataError


def _words(text: str) -> list[str]:
    return text.split()


FIRST = _words("anna boris carla david elena felix greta henrik irene jonas karin louis maria nadia oscar petra")
LAST = _words("keller moreau lindgren ortega novak walsh tanaka berger costa holm farrow ivanov")
PLACES = _words("bergen lisbon prague dublin geneva oslo naples krakow vienna boston quito hanoi")
YEARS = _words("eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety")
ADJECTIVES = {
    "positive": _words("brilliant charming moving wonderful clever graceful"),
    "negative": _words("tedious clumsy hollow dreadful shallow careless"),
    "neutral": _words("lengthy modern quiet familiar simple recent"),
}
WORKS = _words("film novel play album exhibition documentary opera comedy thriller series")
PARTS = _words("plot dialogue music acting photography ending pacing script lighting editing")
VERBS = {
    "positive": _words("delights rewards impresses enchants"),
    "negative": _words("disappoints bores annoys exhausts"),
    "neutral": _words("follows describes records observes"),
}
AUDIENCE = _words("viewers critics children students families listeners readers travellers")
RELATIONS = {
    "award": ("received the {thing} prize in {place}", "was given the {thing} prize in {place}"),
    "education": ("studied {thing} at the university of {place}", "took a degree in {thing} in {place}"),
    "founder": ("founded a {thing} company in {place}", "started a company for {thing} in {place}"),
    "employer": ("worked for the {thing} institute of {place}", "was employed by the {place} institute of {thing}"),
    "visited": ("travelled to {place} to see the {thing} museum", "visited the {thing} museum of {place}"),
}
THINGS = _words("physics medicine poetry chemistry painting history music biology geology weaving aviation")
RELATION_TASK, SENTIMENT_TASK = "biography", "review"


@dataclass(frozen=True)
class Sentence:
    """Words, paraphrases (texts) and labels; ``sentiment`` or ``relation`` is empty where the corpus has none."""

    words: tuple[str, ...]
    paraphrases: tuple[str, ...]
    corpus: str
    sentiment: str
    relation: str

    @property
    def text(self) -> str:
        """The words in a row."""
        return " ".join(self.words)


def draw_sentences(n: int, seed: int) -> tuple[Sentence, ...]:
    """``n`` different sentences, half of them reviews on average.

    Raises
    ------
    DataError
        If so many different sentences are not found.
    """
    found: dict[tuple[str, ...], Sentence] = {}
    for index in range(20 * n + 100):
        if len(found) == n:
            break
        rng = np.random.default_rng((seed, 77, index))
        made = _review(rng) if rng.random() < 0.5 else _biography(rng)
        found.setdefault(made.words, made)
    if len(found) < n:
        raise DataError(f"simulated sentences: found {len(found)} different ones; ask for fewer than {n}")
    return tuple(found.values())


def vocabulary() -> tuple[str, ...]:
    """Every word that a sentence may hold, sorted."""
    drawn = draw_sentences(3000, 0)
    return tuple(sorted({word for sentence in drawn for word in sentence.words}))


def _pick(rng: np.random.Generator, words: list[str]) -> str:
    return words[int(rng.integers(len(words)))]


def _review(rng: np.random.Generator) -> Sentence:
    sentiment = ("positive", "negative", "neutral")[int(rng.integers(3))]
    adjective, second = (_pick(rng, ADJECTIVES[sentiment]) for _ in range(2))
    verb, work, part, people = (_pick(rng, w) for w in (VERBS[sentiment], WORKS, PARTS, AUDIENCE))
    texts = (
        f"the {adjective} {work} with its {second} {part} {verb} most {people}",
        f"most {people} find that this {adjective} {work} {verb} through its {second} {part}",
        f"with a {second} {part} the {adjective} {work} {verb} {people}",
    )
    return Sentence(tuple(texts[0].split()), texts, SENTIMENT_TASK, sentiment, "")


def _biography(rng: np.random.Generator) -> Sentence:
    relation = tuple(RELATIONS)[int(rng.integers(len(RELATIONS)))]
    name = f"{_pick(rng, FIRST)} {_pick(rng, LAST)}"
    home, place, year, thing = (_pick(rng, w) for w in (PLACES, PLACES, YEARS, THINGS))
    first, second = (form.format(thing=thing, place=place) for form in RELATIONS[relation])
    texts = (
        f"{name} of {home} {first} at the age of {year}",
        f"at the age of {year} {name} from {home} {second}",
        f"{name} who came from {home} {second} aged {year}",
    )
    return Sentence(tuple(texts[0].split()), texts, RELATION_TASK, "", relation)
