"""Whole test sets: shared among processes, other batches, some stages, some items, samples, and what is written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from braindec import reconstruct
from braindec.artifacts import RunFolder, read_image
from braindec.compose import compose
from braindec.types import DataError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def copied(small_run: RunFolder, tmp_path: Path) -> Path:
    """The small run without its reconstructions."""
    return Path(shutil.copytree(small_run.path, tmp_path / "run", ignore=shutil.ignore_patterns("reconstructions")))


def pictures(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.png"))}


def test_two_processes_share_the_work_and_make_the_same_files(small_run: RunFolder, copied: Path) -> None:
    command = [sys.executable, "-m", "braindec.cli", "reconstruct", f"run={copied}", "batch_size=5"]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("SLURM")}
    processes = [
        subprocess.Popen(command, cwd=ROOT, env={**clean, "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": "0"})
        for rank in range(2)
    ]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    made, whole = copied / "reconstructions", small_run.path / "reconstructions"
    assert pictures(made) == pictures(whole)
    assert (made / "table.csv").read_bytes() == (whole / "table.csv").read_bytes()
    assert not list(made.rglob("preview.png"))


def test_some_stages_and_single_values_keep_the_run_s_own_settings(copied: Path) -> None:
    run = reconstruct.reconstruct(compose("reconstruct", [f"run={copied}", "stages=[decode_target]", "controls=false"]))
    assert run.manifest()["chain"] == ["decode_target"]
    first = pd.read_csv(copied / "reconstructions" / "table.csv")
    assert read_image(copied / "reconstructions" / first["image"][0]).shape == (16, 16, 3)
    assert {"item_seed", "image_sha256"} <= set(first.columns)
    assert first["image_sha256"].str.len().eq(64).all()
    assert (copied / "reconstructions" / "contact_sheet.png").stat().st_size > 0
    reconstruct.reconstruct(compose("reconstruct", [f"run={copied}", "stages.decode_target.size=8", "controls=false"]))
    second = pd.read_csv(copied / "reconstructions" / "table.csv")
    assert read_image(copied / "reconstructions" / second["image"][0]).shape == (8, 8, 3)
    assert second["label"].notna().all()


def test_chosen_items_leave_the_whole_table_alone(copied: Path) -> None:
    reconstruct.reconstruct(compose("reconstruct", [f"run={copied}", "controls=false"]))
    table = copied / "reconstructions" / "table.csv"
    before, wanted = table.read_bytes(), pd.read_csv(table)["item_id"][3]
    reconstruct.reconstruct(compose("reconstruct", [f"run={copied}", "controls=false", f"ids=[{wanted}]"]))
    assert pd.read_csv(table.with_name("selected.csv"))["item_id"].tolist() == [wanted]
    assert table.read_bytes() == before


def test_what_is_wrong_is_named(copied: Path) -> None:
    def run(*overrides: str) -> None:
        reconstruct.reconstruct(compose("reconstruct", [f"run={copied}", *overrides]))

    with pytest.raises(DataError, match="none of the stages .* draws samples"):
        run("n_samples=3")
    with pytest.raises(DataError, match="the run has no such stage"):
        run("stages.vdvae.rescale=none")
    with pytest.raises(DataError, match="none of them is an item"):
        run("ids=[nobody]")
