"""A folder of any system's pictures and captions as `Evidence`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from braindec.artifacts import safe_name
from braindec.datasets.image_folder import FolderContent, read_folder
from braindec.types import DataError, Evidence, Stimuli

FOLD = "all"


@dataclass(frozen=True)
class FolderEvidence:
    """What a folder gives to be scored.

    Attributes
    ----------
    evidences : items with both a picture and a caption, with a picture only, with a caption only; those that exist.
    problems : sentences about what is missing or was left out; stamped on every result.
    content : the files.
    """

    evidences: list[Evidence]
    problems: tuple[str, ...]
    content: FolderContent

    @property
    def alone(self) -> bool:
        """Whether an evidence has a single stimulus, so that nothing can be exchanged in a control."""
        return any(len(evidence.table) < 2 for evidence in self.evidences)

    def links(self, base: Path) -> dict[str, str]:
        """Item id -> its picture relative to ``base``."""
        return {
            str(row.item_id): os.path.relpath(self.content.files[_name(self.content, str(row.stimulus_id))], base)
            for evidence in self.evidences
            if evidence.images is not None
            for row in evidence.table.itertuples(index=False)
        }

    def table(self, base: Path) -> pd.DataFrame:
        """The items as a table of reconstructions lying in ``base``."""
        links, parts = self.links(base), []
        for evidence in self.evidences:
            images = [links.get(str(item), "") for item in evidence.table["item_id"]]
            captions = evidence.captions or [""] * len(images)
            blank = dict.fromkeys(("label", "seed", "flags"), "")
            parts.append(evidence.table.assign(image=images, caption=captions, chain="folder", **blank))
        return pd.concat(parts, ignore_index=True)


def folder_evidence(folder: Path, truth: Stimuli, subject: str, restrict: bool) -> FolderEvidence:
    """Match a folder's files with the stimuli that they reconstruct.

    Parameters
    ----------
    truth : the stimuli; a file is named by an id, or by the id with unusual characters replaced (`safe_name`).
    subject : who was decoded.
    restrict : take for candidates only the stimuli that the folder names, as when ``truth`` is a whole data set;
        otherwise all of ``truth`` are.

    Raises
    ------
    DataError
        If no file names a stimulus.
    """
    content = read_folder(folder)
    problems = list(content.problems)
    named = {**{safe_name(i): i for i in truth.ids}, **{i: i for i in truth.ids}}
    found = {name: named[name] for name in (*content.images, *content.captions) if name in named}
    unknown = [name for name in dict.fromkeys((*content.images, *content.captions)) if name not in named]
    if not found:
        raise DataError(
            f"{folder}: none of its files is named by a stimulus: found {unknown[0]!r}, stimuli are named "
            f"{truth.ids[0]!r}; rename the files"
        )
    if unknown:
        problems.append(f"{folder}: {len(unknown)} names are of no stimulus, e.g. {unknown[0]!r}; they were left out.")
    decoded = set(found.values())
    ids = [i for i in truth.ids if i in decoded or not restrict]
    missing = [i for i in ids if i not in decoded]
    if missing:
        problems.append(
            f"{len(missing)} of {len(ids)} stimuli have no reconstruction in {folder}, e.g. {missing[0]!r}: scores are "
            "of the rest."
        )
    gallery = truth.select(ids)
    pictured = {stimulus_id for name, stimulus_id in found.items() if name in content.images}
    captioned = {stimulus_id for name, stimulus_id in found.items() if name in content.captions}
    if pictured and captioned and pictured != captioned:
        problems.append(
            f"{folder}: {len(captioned - pictured)} captions have no picture and {len(pictured - captioned)} pictures "
            "no caption; each is scored by what there is."
        )
    groups = (pictured & captioned, pictured - captioned, captioned - pictured)
    evidences = [
        _evidence(content, subject, gallery, [i for i in ids if i in group], group <= pictured, group <= captioned)
        for group in groups
        if group
    ]
    return FolderEvidence(evidences, tuple(problems), content)


def _name(content: FolderContent, stimulus_id: str) -> str:
    known = stimulus_id in content.images or stimulus_id in content.captions
    return stimulus_id if known else safe_name(stimulus_id)


def _evidence(
    content: FolderContent, subject: str, gallery: Stimuli, ids: Sequence[str], pictured: bool, captioned: bool
) -> Evidence:
    names = [_name(content, i) for i in ids]
    table = pd.DataFrame(
        {
            "item_id": [f"{safe_name(subject)}_{safe_name(i)}" for i in ids],
            "subject": subject,
            "fold": FOLD,
            "stimulus_id": list(ids),
            "n_repetitions": 0,
        }
    )
    return Evidence(
        table=table,
        gallery=gallery,
        truth=gallery.rows(ids),
        images=np.stack([content.images[name] for name in names]) if pictured else None,
        captions=tuple(content.captions[name][0] for name in names) if captioned else None,
    )
