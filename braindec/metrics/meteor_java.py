"""METEOR 1.5 itself, for values that can stand beside published ones: a Java program that the user provides."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from braindec.metrics.ptb import ptb_tokens
from braindec.types import DataError, Evidence, Scores

Words = Sequence[str]
_SEPARATOR = " ||| "


class Meteor15:
    """METEOR 1.5 with its own synonyms and paraphrases, against all captions of a stimulus.

    The published figure aggregates matches over the corpus; it is given as a flag, one a subject and fold. The value
    is the mean over captions.

    Parameters
    ----------
    jar : ``meteor-1.5.jar``, with ``data/paraphrase-en.gz`` beside it.
    memory_gb : how much memory Java may take.
    name : name in the results.

    Source: Denkowski & Lavie 2014; called as tylin/coco-caption pycocoevalcap/meteor/meteor.py does.
    """

    pairwise = True

    def __init__(self, jar: str, memory_gb: int = 2, name: str = "brainhub_meteor") -> None:
        self.jar = jar
        self.memory_gb = memory_gb
        self.name = name

    def scores(self, evidence: Evidence) -> tuple[Scores, ...]:
        """One value in [0, 1] a prediction; it has no closed-form chance."""
        if evidence.captions is None or evidence.gallery.captions is None:
            return ()
        references = [[ptb_tokens(caption) for caption in captions] for captions in evidence.gallery.captions]
        rows = [row for row, g in enumerate(evidence.truth) if any(references[g])]
        if not rows:
            return ()
        pairs = [(references[evidence.truth[row]], ptb_tokens(evidence.captions[row])) for row in rows]
        own, corpus = self.run(pairs)
        values = np.full(len(evidence.table), np.nan)
        values[rows] = own
        flags: tuple[str, ...] = ("METEOR 1.5, English, all references",)
        if evidence.permuted_from is None:
            where = " ".join(str(evidence.table[column].iloc[0]) for column in ("subject", "fold"))
            flags = (*flags, f"corpus METEOR of {where}: {corpus:.4f}")
        return (Scores(self.name, values, flags=flags, corpus_value=corpus),)

    def run(self, pairs: Sequence[tuple[Sequence[Words], Words]]) -> tuple[list[float], float]:
        """METEOR of each caption against its references, and of all together.

        Raises
        ------
        DataError
            If Java, the program or its tables are missing, or it fails.
        """
        jar = Path(self.jar).expanduser().resolve()
        java = shutil.which("java")
        if java is None:
            raise DataError("METEOR 1.5 is a Java program and no java is on the PATH; install one, or leave it out")
        for needed in (jar, jar.parent / "data" / "paraphrase-en.gz"):
            if not needed.exists():
                raise DataError(f"METEOR 1.5: {needed} is missing; give jar=... with its data folder beside it")
        command = [java, f"-Xmx{self.memory_gb}G", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]
        asked = "".join(
            f"{_SEPARATOR.join(['SCORE', *map(' '.join, known), ' '.join(words)])}\n" for known, words in pairs
        )
        statistics = _answers(command, asked, jar, len(pairs))
        found = _answers(command, f"{_SEPARATOR.join(['EVAL', *statistics])}\n", jar, len(pairs) + 1)
        return [float(line) for line in found[:-1]], float(found[-1])


def _answers(command: list[str], asked: str, jar: Path, n: int) -> list[str]:
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False, cwd=jar.parent)
    lines = [line.strip() for line in done.stdout.splitlines()]
    if done.returncode or len(lines) != n:
        said = " ".join(done.stderr.strip().splitlines()[-1:])
        raise DataError(f"{jar}: expected {n} lines from METEOR 1.5, found {len(lines)} ({said or 'it said nothing'})")
    return lines
