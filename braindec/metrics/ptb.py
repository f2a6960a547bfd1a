"""Words of a caption as the COCO evaluation cuts them: Penn Treebank tokens, lower case, without punctuation.

The Stanford tokenizer that the COCO evaluation calls is a large grammar; this is the part of it that captions need.
On BrainHub's 4,910 human and 3,928 decoded captions the two differ in one: a run of several hundred digits glued to an
Urdu letter. Two peculiarities of the published evaluation are kept: a round bracket counts as the word ``-lrb-`` or
``-rrb-``, since its list of punctuation holds these names in upper case only.

Source: Penn Treebank tokenisation conventions (Marcus et al. 1993); tylin/coco-caption
pycocoevalcap/tokenizer/ptbtokenizer.py for the list of punctuation.
"""

from __future__ import annotations

import re

_PIECE = re.compile(
    r"""
    \d+(?:[.,:/]\d+)+                        # 1,200  2:20  9/11
  | [^\W\d_](?:\.[^\W\d_])+\.?               # u.s.  a.m.
  | (?:mr|mrs|ms|dr|st|jr|sr|vs|etc|ave|blvd|rd|mt|ft|co|inc|ltd|no(?=\.\s*\d))\.  # abbreviations keep their point
  | [^\W_]+(?:(?:(?<!s)'|[-/&])[^\W_]+)*     # words; an apostrophe inside, but not after an s
  | '(?:s|m|d|ll|re|ve)\b                    # the clitic of a word that ends in s
  | [()&%$\#@*+=~^|<>\[\]{}™®©]              # signs that count as words
    """,
    re.VERBOSE,
)
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-"}
_CLITIC = re.compile(r"(.+)('(?:s|m|d|ll|re|ve))$")
_NEGATION = re.compile(r"(.+)(n't.*)$")
_ASSIMILATED = {
    "cannot": ["can", "not"],
    "gonna": ["gon", "na"],
    "gotta": ["got", "ta"],
    "wanna": ["wan", "na"],
    "gimme": ["gim", "me"],
    "lemme": ["lem", "me"],
}


def ptb_tokens(text: str) -> list[str]:
    """Lower-case Penn Treebank words of a text, without punctuation: ``it's`` gives ``it`` and ``'s``."""
    words: list[str] = []
    for piece in _PIECE.findall(text.lower().replace("’", "'")):
        if piece in _BRACKETS or piece in _ASSIMILATED:
            words += _ASSIMILATED.get(piece, [_BRACKETS.get(piece, piece)])
            continue
        clitic = _CLITIC.match(piece) or _NEGATION.match(piece)
        words += list(clitic.groups()) if clitic else [piece]
    return words
