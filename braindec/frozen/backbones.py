"""Image backbones of four libraries, loaded strictly, with their published preprocessing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal

from torch import nn

from braindec.frozen.hub import load_transformers, read_preprocessing
from braindec.frozen.images import IMAGENET_MEAN, IMAGENET_SD, ImagePreprocessing
from braindec.frozen.loading import LoadReport, load_strictly, read_checkpoint
from braindec.frozen.openclip import load_open_clip, open_clip_preprocessing
from braindec.types import DataError

Library = Literal["open_clip", "timm", "torchvision", "transformers"]

_HEADS = ("classifier.*", "head.*")


def load_backbone(
    library: Library, path: Path, architecture: str | None
) -> tuple[nn.Module, ImagePreprocessing, LoadReport]:
    """The image tower alone, how its images are prepared, and what the checkpoint gave.

    Raises
    ------
    DataError
        If the folder does not say what the network is, or its weights do not fit.
    """
    if library == "open_clip":
        module, report = load_open_clip(path, architecture)
        return module.visual, open_clip_preprocessing(module), report  # type: ignore[return-value]
    if library == "timm":
        return _load_timm(path, architecture)
    if library == "torchvision":
        return _load_torchvision(path, architecture)
    from transformers import AutoModel

    whole, report = load_transformers(AutoModel, path, allow_unexpected=_HEADS)
    tower = getattr(whole, "vision_model", whole)
    size = getattr(tower.config, "image_size", 224)
    default = ImagePreprocessing(resize=size, crop=size, mean=IMAGENET_MEAN, sd=IMAGENET_SD)
    return tower, read_preprocessing(path, default), report


def _load_timm(path: Path, architecture: str | None) -> tuple[nn.Module, ImagePreprocessing, LoadReport]:
    import timm

    settings: dict[str, Any] = {}
    if path.is_dir() and (path / "config.json").is_file():
        settings = json.loads((path / "config.json").read_text(encoding="utf-8"))
    name = architecture or settings.get("architecture")
    if name is None:
        raise DataError(f"{path}: expected a folder with timm's config.json; for a bare file give `architecture`")
    if name not in timm.list_models():
        raise DataError(f"{path}: timm has no architecture {name!r}")
    options = dict(settings.get("model_args") or {})
    if "num_classes" in settings:
        options["num_classes"] = settings["num_classes"]
    module: Any = timm.create_model(name, pretrained=False, **options)
    published = {**module.pretrained_cfg, **settings.get("pretrained_cfg", {})}
    return module, _timm_preprocessing(module, published), load_strictly(module, read_checkpoint(path))


def _load_torchvision(path: Path, architecture: str | None) -> tuple[nn.Module, ImagePreprocessing, LoadReport]:
    from torchvision import models

    if architecture not in models.list_models(module=models):
        raise DataError(
            f"{path}: give `architecture`, torchvision's name of the classifier, e.g. resnet50; found {architecture!r}"
        )
    module = models.get_model(architecture, weights=None)
    # What torchvision's classifiers were evaluated with, but for a few whose size differs.
    published = models.get_model_weights(architecture).DEFAULT.transforms()
    preprocessing = ImagePreprocessing(
        resize=published.resize_size[0],
        crop=published.crop_size[0],
        interpolation=published.interpolation.value,
        mean=tuple(published.mean),
        sd=tuple(published.std),
    )
    return module, preprocessing, load_strictly(module, read_checkpoint(path))


def _timm_preprocessing(module: nn.Module, published: dict[str, Any]) -> ImagePreprocessing:
    import timm.data

    found = timm.data.resolve_data_config({}, pretrained_cfg=published, model=module)
    _, height, width = found["input_size"]
    mode = found.get("crop_mode", "center")
    if mode not in ("center", "squash") or found["interpolation"] not in ("bicubic", "bilinear"):
        raise DataError(f"timm preprocessing of {type(module).__name__}: crop_mode {mode!r} is not supported")
    if mode == "squash" or height != width:
        resize: int | tuple[int, int] = (height, width)
    else:
        resize = math.floor(height / found["crop_pct"])
    return ImagePreprocessing(
        resize=resize,
        crop=height if isinstance(resize, int) else None,
        interpolation=found["interpolation"],
        mean=tuple(found["mean"]),
        sd=tuple(found["std"]),
    )
