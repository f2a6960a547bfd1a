"""Diverse beam search over any network that gives the next token's logits.

Legend: N items, B beams of a group, V tokens of the vocabulary, L tokens so far.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from braindec.types import DataError

NextLogits = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(rows of the items (R,), tokens (R, L), parents (R,)) -> logits of the next token (R, V).

Each row of tokens is one of the call before, the row that ``parents`` names, with one token more; at first there are
none. A network that keeps what it read can so go on from there.
"""


@dataclass(frozen=True)
class Search:
    """How captions are searched.

    Parameters
    ----------
    max_length, min_length : tokens of a caption at most and at least, special tokens counted.
    beams : width of the search in all; 1 is greedy.
    groups : the beams are divided into so many groups, which are kept apart by ``diversity``; 1 is plain beam search,
        a group of one beam is greedy.
    diversity : taken from a token's log-probability for each earlier group that chose it at this place.
    length_penalty : a caption's score is its log-probability over its length to this power.
    lookup : greedy search in strides: up to so many tokens are copied from where the last words stood before, in prompt
        or text, and kept as far as greedy search would have chosen them (prompt lookup); 0 for none. The text is the
        same. Language models behind `braindec.frozen.prefix_lm` alone.
    """

    max_length: int = 25
    min_length: int = 0
    beams: int = 1
    groups: int = 1
    diversity: float = 0.5
    length_penalty: float = 1.0
    lookup: int = 0

    def __post_init__(self) -> None:
        if self.beams < 1 or self.groups < 1 or self.beams % self.groups:
            raise DataError(f"Search: expected beams to be a multiple of groups, found {self.beams} and {self.groups}")
        if not 0 <= self.min_length <= self.max_length or self.max_length < 2:
            raise DataError(
                f"Search: expected 0 <= min_length <= max_length and max_length >= 2, found {self.min_length} and "
                f"{self.max_length}"
            )


@dataclass
class _Group:
    """The beams of one group, for all items: ``tokens`` (N, B, L), ``scores`` (N, B), what has ended, and who is done.

    ``parents`` (N * B,) are the beams that these grew out of. An item once done stays so, whatever its beams make of
    the time that others of its batch still take.
    """

    next_logits: NextLogits
    tokens: Tensor
    scores: Tensor
    parents: Tensor | None = None
    ended: list[list[tuple[float, tuple[int, ...]]]] = field(default_factory=list)
    done: list[bool] = field(default_factory=list)


def diverse_beam_search(
    reader: Callable[[], NextLogits], n: int, start: int, end: int, search: Search, device: str = "cpu"
) -> list[list[tuple[float, tuple[int, ...]]]]:
    """For each item its finished captions, best first: score, and tokens with the start and without the end.

    Groups take their turn at each place; scores leave the diversity penalty in, as published. ``reader`` is called once
    a group: what it returns may keep what it has read.

    Source: Vijayakumar et al. 2018, Diverse Beam Search (arXiv:1610.02424), Hamming diversity; one group is the beam
    search of transformers (``early_stopping=False``).
    """
    width = search.beams // search.groups
    groups = []
    for _ in range(search.groups):
        scores = torch.full((n, width), -1e9, device=device)
        scores[:, 0] = 0  # all beams are the same at first: only one may multiply
        tokens = torch.full((n, width, 1), start, device=device)
        groups.append(_Group(reader(), tokens, scores, None, [[] for _ in range(n)], [False] * n))
    rows = torch.arange(n, device=device).repeat_interleave(width)
    for length in range(1, search.max_length):
        chosen: list[Tensor] = []
        for group in groups:
            logits = group.next_logits(rows, group.tokens.flatten(0, 1), group.parents).float()
            log_NBV = logits.log_softmax(dim=-1).unflatten(0, (n, width))
            if length < search.min_length:
                log_NBV[..., end] = -torch.inf
            for earlier_NB in chosen:
                ones = torch.ones_like(earlier_NB, dtype=log_NBV.dtype)
                counts = torch.zeros_like(log_NBV[:, 0]).scatter_add_(1, earlier_NB, ones)
                log_NBV = log_NBV - search.diversity * counts[:, None]
            chosen.append(_advance(group, log_NBV, end, length, search))
            group.done = [done or _is_done(group, item, length, search) for item, done in enumerate(group.done)]
        if all(all(group.done) for group in groups):
            break
    return [_ranked(groups, item, length, search) for item in range(n)]


def _advance(group: _Group, log_NBV: Tensor, end: int, length: int, search: Search) -> Tensor:
    """Grow the group by one token; returns the tokens (N, B) that it chose."""
    _, width, vocabulary = log_NBV.shape
    total = (group.scores.unsqueeze(2) + log_NBV).flatten(1)
    # Each beam can end once at most, so that twice as many candidates always leave enough that go on.
    values, places = total.topk(min(2 * width, total.shape[1]), dim=1)
    beam, token = places // vocabulary, places % vocabulary
    ends = token == end
    for item, rank in ends[:, :width].nonzero().tolist():
        if not group.done[item]:
            prefix = tuple(group.tokens[item, beam[item, rank]].tolist())
            group.ended[item].append((float(values[item, rank]) / length**search.length_penalty, prefix))
            group.ended[item].sort(reverse=True)
            del group.ended[item][width:]
    scores, kept = values.masked_fill(ends, -torch.inf).topk(width, dim=1)
    beam, token = beam.gather(1, kept), token.gather(1, kept)
    grown = group.tokens.gather(1, beam.unsqueeze(2).expand(-1, -1, length))
    group.tokens = torch.cat([grown, token.unsqueeze(2)], dim=2)
    group.scores = scores
    group.parents = (beam + width * torch.arange(len(beam), device=beam.device)[:, None]).flatten()
    return token


def _is_done(group: _Group, item: int, length: int, search: Search) -> bool:
    """Whether no beam that goes on can still beat what has ended."""
    ended = group.ended[item]
    if ended and group.scores.shape[1] == 1:
        return True  # greedy
    if len(ended) < group.scores.shape[1] or length < 1:
        return False
    return ended[-1][0] >= float(group.scores[item].max()) / length**search.length_penalty


def _ranked(groups: list[_Group], item: int, length: int, search: Search) -> list[tuple[float, tuple[int, ...]]]:
    found = []
    for group in groups:
        own = list(group.ended[item])
        if not group.done[item]:
            divided = group.scores[item] / length**search.length_penalty
            own += [(float(score), tuple(t.tolist())) for score, t in zip(divided, group.tokens[item], strict=True)]
        found += sorted(own, reverse=True)[: group.scores.shape[1]]
    return sorted(found, reverse=True)
