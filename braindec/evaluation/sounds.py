"""Items of heard speech for the report: the heard segment beside the nearest candidates.

Legend: G gallery segments, N predictions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from braindec.metrics import ranking
from braindec.metrics.features import decoded_similarity
from braindec.report.selection import RULES, choose
from braindec.report.sounds import Clip, HeardItem
from braindec.types import Evidence, Stimuli

N_FOUND = 2
"""Candidates shown beside the heard segment."""


def heard_items(decoded: Sequence[Evidence], count: int = 2, seed: int = 0) -> tuple[HeardItem, ...]:
    """Best, median, worst and random items of the first subject and fold, by the truth's lead over its nearest rival.

    Empty without sounds or embeddings.
    """
    if not decoded or decoded[0].gallery.audio is None or not decoded[0].embeddings:
        return ()
    evidence = decoded[0]
    target = next(iter(evidence.embeddings))
    similarity_NG = decoded_similarity(evidence, target, None, "cosine")
    if similarity_NG is None:
        return ()
    similarity_NG = np.nan_to_num(similarity_NG)
    rank_N = ranking.rank(ranking.compete(similarity_NG, evidence.truth))
    rows = np.arange(len(rank_N))
    others_NG = similarity_NG.copy()
    others_NG[rows, evidence.truth] = -np.inf
    # Many items are found in the first place: how far they lead tells them apart.
    lead_N = similarity_NG[rows, evidence.truth] - others_NG.max(axis=1)
    ids = evidence.table["item_id"].astype(str).tolist()
    made = []
    for rule in RULES:
        for row in choose(lead_N, ids, rule, count, "higher", seed):
            order_G = np.argsort(-similarity_NG[row], kind="stable")[:N_FOUND]
            truth = int(evidence.truth[row])
            made.append(
                HeardItem(
                    item_id=ids[row],
                    rule=rule,
                    rank=float(rank_N[row]),
                    n_candidates=len(evidence.gallery),
                    heard=_clip(evidence.gallery, truth, "Heard"),
                    found=tuple(
                        _clip(evidence.gallery, int(g), f"Found, number {place + 1}{' (right)' if g == truth else ''}")
                        for place, g in enumerate(order_G)
                    ),
                    target=target,
                    true_KD=evidence.gallery_embeddings[target][truth],
                    decoded_KD=evidence.embeddings[target][row],
                )
            )
    return tuple(made)


def _clip(gallery: Stimuli, row: int, note: str) -> Clip:
    assert gallery.audio is not None
    assert gallery.audio_rate_hz is not None
    words = "" if gallery.texts is None else gallery.texts[row]
    return Clip(gallery.audio[row], gallery.audio_rate_hz, words, note)
