"""Where things lie. Imports nothing, so that help and shell completion answer at once."""

from __future__ import annotations

from pathlib import Path


def configs_folder() -> Path:
    """The folder of config groups: inside the installed package, or at the root of a source checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "configs", package.parent / "configs"):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"no configs folder beside {package}; reinstall braindec")
