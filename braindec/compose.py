"""Compose a configuration, check it and build its parts: what every main does first."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from braindec.config import check_config
from braindec.experiment import Experiment
from braindec.locations import configs_folder
from braindec.types import DataError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from braindec.artifacts import RunFolder
    from braindec.training.folds import Parts


def settable(overrides: list[str], command: str = "") -> list[str]:
    """Overrides in which ``part.key=value`` may also set a key that the part's YAML leaves at its default.

    Hydra would refuse it and ask for ``+part.key``; `check_config` tells a misspelt key better than that. A list of
    names for ``stages`` chooses from the group ``stage``, and ``split`` of ``reconstruct`` is no choice from the group
    of that name: it can only be ``test``.

    Raises
    ------
    DataError
        If ``reconstruct`` is asked for another part than the test part.
    """
    if command == "reconstruct":
        other = [one for one in overrides if one.startswith("split=") and one != "split=test"]
        if other:
            raise DataError(f"{other[0]}: reconstruct makes pictures and words of the test part alone; say split=test")
        overrides = [one for one in overrides if one != "split=test"]
    overrides = [re.sub(r"^stages=\[", "stage=[", override) for override in overrides]
    pattern = re.compile(r"(?!hydra\.)[A-Za-z_]\w*(\.\w+)+=")
    return [f"++{override}" if pattern.match(override) else override for override in overrides]


def compose(name: str, overrides: list[str], config_dir: Path | None = None) -> DictConfig:
    """Compose ``configs/<name>.yaml`` with Hydra overrides; ``config_dir`` adds a folder of config groups."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    extra = [] if config_dir is None else [f"hydra.searchpath=[file://{config_dir}]"]
    with initialize_config_dir(str(configs_folder()), version_base="1.3"):
        return hydra_compose(name, overrides=[*settable(overrides, name), *extra])


def load_config(path: Path) -> DictConfig:
    """Read a run's ``config.yaml``. Raises `DataError` when it is missing or broken."""
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        loaded = OmegaConf.load(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; give a run folder that braindec train wrote") from error
    except (YAMLError, OmegaConfBaseException) as error:
        raise DataError(f"{path}: not readable YAML ({str(error).splitlines()[0]})") from error
    if not isinstance(loaded, DictConfig):
        raise DataError(f"{path}: expected a mapping, found {type(loaded).__name__}")
    return loaded


def run_config(run: RunFolder) -> DictConfig:
    """The configuration that a run was trained with. Raises `DataError` when the folder holds none."""
    loaded = load_config(run.path / "config.yaml")
    if "split" not in loaded:
        raise DataError(
            f"run={run.path}: holds no run of braindec train (its config.yaml names no split); if it is one of "
            f"braindec pretrain, train from it with decoder.start_from={run.path}/decoder/pretrained/decoder"
        )
    return loaded


def source_files(choices: Mapping[str, Any]) -> dict[str, str]:
    """Top-level key -> YAML file it came from, for error messages."""
    plural = {"transform": "transforms", "target": "targets", "stage": "stages", "metric": "metrics"}
    files = {}
    for group, choice in choices.items():
        if group.startswith("hydra") or not isinstance(choice, str):
            continue
        files[plural.get(group, group.split("@")[0])] = f"configs/{group.split('@')[0]}/{choice}.yaml"
    return files


def checked(config: DictConfig, schema: Callable[..., Any] = Experiment) -> DictConfig:
    """The configuration, after `check_config`."""
    from hydra.core.hydra_config import HydraConfig

    choices = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    check_config(config, schema, source_files(dict(choices)))
    return config


def check_choices(overrides: list[str]) -> None:
    """Raise `DataError` where a list such as ``stages=[NAME]`` names a file that its config group lacks.

    Hydra would say of a list only that it could not load it.
    """
    if any(override.startswith(("--config-dir", "-cd", "hydra.searchpath")) for override in overrides):
        return
    for override in settable(overrides):
        match = re.fullmatch(r"(\w+)=\[([\w\s,-]*)\]", override)
        if match is None or not (configs_folder() / match[1]).is_dir():
            continue
        known = sorted(path.stem for path in (configs_folder() / match[1]).glob("*.yaml"))
        for name in filter(None, (name.strip() for name in match[2].split(","))):
            if name not in known:
                close = get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
                raise DataError(f"{override}: configs/{match[1]} has no {name!r}; {hint}")


def build(node: Any) -> Any:
    """Instantiate a part, or a mapping of parts in its order, from its config.

    Raises
    ------
    DataError
        If a part refuses a value; the message begins with the part's place in the configuration.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    try:
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
        if not isinstance(error.__cause__, DataError):
            raise
        place = re.search(r"^full_key: (.+)$", str(error), re.MULTILINE)
        raise DataError(f"{place[1]}: {error.__cause__}" if place else str(error.__cause__)) from error


def parts_of(config: DictConfig) -> Parts:
    """Makers of fresh transforms, targets and decoder, as an experiment's configuration says."""
    from braindec.training.folds import Parts

    return Parts(
        transforms=lambda: build(config.transforms),
        targets=lambda: build(config.targets),
        decoder=lambda: build(config.decoder),
    )


def chosen_subjects(subject: str | list[str], known: tuple[str, ...]) -> tuple[str, ...]:
    """Subjects that ``subject=`` names: one, several, or ``all``. Raises `DataError` on an unknown one."""
    if subject == "all":
        return known
    chosen = (subject,) if isinstance(subject, str) else tuple(subject)
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        raise DataError(f"subject: unknown {unknown or 'empty list'}; this data set has {', '.join(known)}, or say all")
    return chosen


def resolve_device(device: str) -> str:
    """``auto`` becomes ``cuda`` where a GPU is usable, else ``cpu``; a GPU that is asked for must exist."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise DataError(
            f"device={device}: torch {torch.__version__} sees no GPU; use device=cpu, or run braindec doctor"
        )
    return device
