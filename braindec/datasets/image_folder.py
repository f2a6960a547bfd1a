"""A folder of pictures and captions named by stimulus id: what other systems publish, or the stimuli themselves.

    folder/
      ID.png (or .jpg, .jpeg, .webp, .bmp)    one picture a stimulus; the name without its ending is the id
      captions.json                           {"ID": "caption"} or {"ID": ["caption", ...]}
      concepts.json                           {"ID": "concept"}

Every file but one of the first two is optional; a caption file may also be given by itself.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np

from braindec.artifacts import ArtifactError, read_image
from braindec.datasets.files import fingerprint
from braindec.types import DataError, Stimuli

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


@dataclass(frozen=True)
class FolderContent:
    """What a folder holds, by stimulus id.

    Attributes
    ----------
    images : uint8 (H, W, 3), all of one size.
    files : the file of each image.
    captions : one or more captions.
    concepts : concept names.
    problems : sentences about what was left out or changed.
    """

    images: dict[str, np.ndarray] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    captions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    concepts: dict[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def read_folder(path: Path) -> FolderContent:
    """Read pictures and captions; what cannot be used is left out and said.

    Raises
    ------
    DataError
        If the folder is missing or holds nothing usable, or a caption file is broken.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such folder; give one with ID.png files, captions.json, or both")
    if path.is_file():
        return FolderContent(captions=_texts(path))
    files, problems = _picture_files(path)
    images: dict[str, np.ndarray] = {}
    for stimulus_id, file in files.items():
        try:
            images[stimulus_id] = read_image(file)
        except ArtifactError as error:
            problems.append(f"{error}; it was left out.")
    images, resized = _one_size(images)
    captions = _texts(path / "captions.json") if (path / "captions.json").exists() else {}
    concepts = _texts(path / "concepts.json") if (path / "concepts.json").exists() else {}
    if not images and not captions:
        said = f" ({problems[0]})" if problems else ""
        raise DataError(f"{path}: expected ID.png files, captions.json, or both; found nothing usable{said}")
    return FolderContent(
        images,
        {stimulus_id: files[stimulus_id] for stimulus_id in images},
        captions,
        {stimulus_id: names[0] for stimulus_id, names in concepts.items()},
        (*problems, *resized),
    )


def _picture_files(path: Path) -> tuple[dict[str, Path], list[str]]:
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in ENDINGS)
    times = Counter(file.stem for file in found)
    twice = [stem for stem, n in times.items() if n > 1]
    problems = []
    if twice:
        names = ", ".join(file.name for file in found if file.stem == twice[0])
        problems = [f"{path}: {len(twice)} ids have more than one picture, e.g. {names}; they were left out."]
    return {file.stem: file for file in found if times[file.stem] == 1}, problems


def _one_size(images: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    """All images at the size that most of them have."""
    sizes = Counter(image.shape[:2] for image in images.values())
    if len(sizes) < 2:
        return images, []
    from PIL import Image

    (height, width), n_usual = sizes.most_common(1)[0]
    same = {
        stimulus_id: image
        if image.shape[:2] == (height, width)
        else np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
        for stimulus_id, image in images.items()
    }
    others = ", ".join(f"{h} x {w}" for (h, w), _ in sizes.most_common()[1:4])
    changed = f"{len(images) - n_usual} of {len(images)} pictures have another size ({others} px)"
    return same, [f"{changed}; they were resized to {height} x {width} px."]


def _texts(path: Path) -> dict[str, tuple[str, ...]]:
    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        twice = [key for key, n in Counter(key for key, _ in pairs).items() if n > 1]
        if twice:
            raise DataError(f"{path}: the id {twice[0]!r} occurs twice; give each once")
        return dict(pairs)

    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not readable JSON ({error})") from error
    if not isinstance(content, Mapping):
        raise DataError(f"{path}: expected a mapping from stimulus id to text, found {type(content).__name__}")
    texts = {}
    for key, value in content.items():
        listed = [value] if isinstance(value, str) else value
        if not isinstance(listed, list) or not all(isinstance(text, str) for text in listed):
            raise DataError(f"{path}: {key!r}: expected a text or a list of texts, found {value!r}")
        if listed:
            texts[str(key)] = tuple(listed)
    return texts


class ImageFolder:
    """Stimuli in a folder, without any recording: what scored pictures are compared with.

    Parameters
    ----------
    root : the folder (see the head of this file), or a caption file.
    """

    name = "image_folder"

    def __init__(self, root: str) -> None:
        self.root = root

    def subjects(self) -> tuple[str, ...]:
        """None: nobody was recorded."""
        return ()

    def trials(self, subject: str) -> NoReturn:
        """Raise `DataError`: a folder of pictures has no recording."""
        raise DataError(f"{self.root}: a folder of pictures holds no recording of {subject!r}; choose another data set")

    def stimuli(self) -> Stimuli:
        """Every picture and caption.

        Raises
        ------
        DataError
            If one is unusable, or some stimuli have a picture and others do not: the truth must be whole.
        """
        content = read_folder(Path(self.root))
        if content.problems:
            raise DataError(f"{content.problems[0]} The true stimuli must be whole: correct the folder")
        ids = tuple(sorted({*content.images, *content.captions}))
        without = [i for i in ids if content.images and i not in content.images]
        if without:
            raise DataError(f"{self.root}: {len(without)} stimuli have a caption but no picture, e.g. {without[0]!r}")
        return Stimuli(
            ids=ids,
            images=np.stack([content.images[i] for i in ids]) if content.images else None,
            captions=tuple(content.captions.get(i, ()) for i in ids) if content.captions else None,
            concepts=tuple(content.concepts.get(i, "") for i in ids) if content.concepts else None,
        )

    def version(self) -> str:
        """Hash of the names, sizes and ends of all files."""
        root = Path(self.root)
        return fingerprint([root] if root.is_file() else sorted(p for p in root.iterdir() if p.is_file()))
