"""A file imports strictly downward, and shelves on one floor never import each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "braindec"

FLOORS = {
    "types": 0,
    "locations": 0,
    "config": 1,
    "contracts": 1,
    "artifacts": 2,
    "signals": 2,
    "experiment": 2,
    "datasets": 3,
    "frozen": 3,
    "targets": 3,
    "models": 3,
    "objectives": 3,
    "metrics": 3,
    "report": 3,
    "run_tables": 3,
    "questions": 3,
    "training": 4,
    "stages": 4,
    "evaluation": 4,
    "console": 5,
    "completion": 5,
    "usage": 5,
    "compose": 5,
    "doctor": 6,
    "weights": 6,
    "train": 6,
    "pretrain": 6,
    "reconstruct": 6,
    "evaluate": 6,
    "compare": 6,
    "leaderboard": 6,
    "classify": 5,
    "prepare": 6,
    "demo": 7,
    "cli": 7,
    "maps": 7,
    "imagery": 7,
    "synthesise": 7,
    "variants": 7,
    "region_pictures": 7,
    "over_time": 8,
    "over_space": 8,
}
SHELVES_THAT_MAY_READ = {("completion", "cli"), ("usage", "cli"), ("usage", "completion"), ("stages", "frozen")}
"""``completion`` and ``usage`` read the list of commands; ``cli`` imports them only when they are asked for."""

ONLY_IN = {
    "mne": ("datasets", "report"),
    "nibabel": ("datasets", "report"),
    "h5py": ("datasets",),
    "diffusers": ("frozen", "stages"),
    "open_clip": ("frozen", "stages"),
    "transformers": ("frozen", "stages"),
}
TYPE_FILES = {path.stem for path in (PACKAGE / "types").glob("*.py")} - {"__init__"}


def _modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def _shelf(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            yield node.lineno, node.module or ""
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    shelf = _shelf(path)
    assert shelf in FLOORS, f"{path}: give the shelf {shelf!r} a floor in tests/test_layers.py"
    for line, name in _imports(path):
        parts = name.split(".")
        if parts[0] != "braindec" or len(parts) < 2 or parts[1] in (shelf, "__version__"):
            continue
        other = parts[1]
        if (shelf, other) in SHELVES_THAT_MAY_READ:
            continue
        assert FLOORS[other] < FLOORS[shelf], f"{path}:{line}: {shelf} (floor {FLOORS[shelf]}) imports {name}"


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_libraries_stay_on_their_shelves(path: Path) -> None:
    for line, name in _imports(path):
        allowed = ONLY_IN.get(name.split(".")[0])
        assert allowed is None or _shelf(path) in allowed, f"{path}:{line}: {name} may be imported in {allowed} only"


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_types_are_imported_from_one_place(path: Path) -> None:
    if _shelf(path) != "types":
        for line, name in _imports(path):
            within = name.removeprefix("braindec.types.")
            assert within == name or within.split(".")[0] not in TYPE_FILES, (
                f"{path}:{line}: import from braindec.types"
            )


def test_a_forbidden_import_is_seen(tmp_path: Path) -> None:
    source = tmp_path / "bad.py"
    source.write_text("def f():\n    from braindec.train import train\n    import mne\n")
    assert (2, "braindec.train") in list(_imports(source))
    assert (3, "mne") in list(_imports(source))
