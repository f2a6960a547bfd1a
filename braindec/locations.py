"""Where things lie. Imports nothing, so that help and shell completion answer at once."""

from __future__ import annotations

from pathlib import Path


def configs_folder() -> Path:
    """The folder of config groups: inside the installed package, or at the root of a source checkout."""
    return _folder("configs")


def data_folder() -> Path:
    """The folder of small files that the project owns, found as `configs_folder` is."""
    return _folder("data")


def _folder(name: str) -> Path:
    package = Path(__file__).resolve().parent
    for folder in (package / name, package.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"no {name} folder beside {package}; reinstall braindec")
