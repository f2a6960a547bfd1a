"""Corpus BLEU against NLTK and sacreBLEU."""

from __future__ import annotations

import random

import pytest

from braindec.metrics.captions import corpus_bleu


def corpus(seed: int) -> tuple[list[list[list[str]]], list[list[str]]]:
    rng = random.Random(seed)
    vocabulary = [f"w{i}" for i in range(12)]
    references = [[[rng.choice(vocabulary) for _ in range(rng.randint(5, 12))] for _ in range(3)] for _ in range(30)]
    decoded = [[w if rng.random() < 0.8 else rng.choice(vocabulary) for w in group[0]] for group in references]
    return references, [words[: rng.randint(4, 12)] for words in decoded]


@pytest.mark.parametrize("n", [1, 2, 4])
def test_nltk(n: int) -> None:
    bleu = pytest.importorskip("nltk.translate.bleu_score")
    references, decoded = corpus(n)
    expected = bleu.corpus_bleu(references, decoded, weights=(1 / n,) * n)
    assert corpus_bleu(references, decoded, n) == pytest.approx(expected, abs=1e-12)


def test_sacrebleu() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    references, decoded = corpus(7)
    texts = [[" ".join(group[k]) for group in references] for k in range(3)]
    scorer = sacrebleu.BLEU(tokenize="none", smooth_method="none", force=True)
    expected = scorer.corpus_score([" ".join(words) for words in decoded], texts).score / 100
    assert corpus_bleu(references, decoded, 4) == pytest.approx(expected, abs=1e-9)
