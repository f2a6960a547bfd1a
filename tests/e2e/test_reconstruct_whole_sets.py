"""Whole test sets: shared among processes, other batches, some stages, some items, samples, and what is written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from braindec import evaluate, reconstruct
from braindec.artifacts import RunFolder, read_image, write_image
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


def test_chosen_items_leave_all_others_and_the_manifest_alone(copied: Path) -> None:
    run = reconstruct.reconstruct(compose("reconstruct", [f"run={copied}", "controls=false"]))
    made = copied / "reconstructions"
    table, before, manifest = made / "table.csv", pictures(made), run.manifest()
    content, wanted = table.read_bytes(), pd.read_csv(table)["item_id"][3]
    changed = ["controls=false", "stages.decode_target.size=8", f"ids=[{wanted}]"]
    reconstruct.reconstruct(compose("reconstruct", [f"run={copied}", *changed]))
    chosen = pd.read_csv(made / "selected" / "table.csv")
    assert chosen["item_id"].tolist() == [wanted]
    assert read_image(made / "selected" / chosen["image"][0]).shape == (8, 8, 3)
    assert (made / "selected" / "contact_sheet.png").is_file()
    assert table.read_bytes() == content
    assert {name: own for name, own in pictures(made).items() if not name.startswith("selected")} == before
    assert run.manifest() == manifest


def test_what_was_not_made_by_the_same_settings_is_not_scored(copied: Path) -> None:
    def evaluated() -> None:
        evaluate.evaluate(compose("evaluate", [f"run={copied}", "controls=[noise_input]", "n_resamples=20"]))

    reconstruct.reconstruct(compose("reconstruct", [f"run={copied}"]))
    evaluated()
    reconstruct.reconstruct(compose("reconstruct", [f"run={copied}", "controls=false", "stages.decode_target.size=8"]))
    with pytest.raises(DataError, match="'noise_input' was reconstructed by other stages or settings"):
        evaluated()
    reconstruct.reconstruct(compose("reconstruct", [f"run={copied}"]))
    evaluated()
    picture = sorted((copied / "reconstructions").glob("sim*.png"))[0]
    write_image(picture, 255 - read_image(picture))
    with pytest.raises(DataError, match=rf"{picture.name}: is not the picture that .*table.csv lists"):
        evaluated()


def test_what_is_wrong_is_named(copied: Path) -> None:
    def run(*overrides: str) -> None:
        reconstruct.reconstruct(compose("reconstruct", [f"run={copied}", *overrides]))

    with pytest.raises(DataError, match="none of the stages .* draws samples"):
        run("n_samples=3")
    with pytest.raises(DataError, match="the run has no such stage"):
        run("stages.vdvae.rescale=none")
    table = pd.read_csv(copied / "predictions/decoded/published/table.csv")
    item, stimulus = table["item_id"][0], table["stimulus_id"][0]
    with pytest.raises(DataError, match="1 of 2 are no items of the run .* e.g. 'nobody'"):
        run(f"ids=[{item},nobody]")
    with pytest.raises(DataError, match=rf"e.g. '{stimulus}'; did you mean '{item}'"):
        run(f"ids=[{stimulus}]")
    with pytest.raises(DataError, match="batch_size=0: expected .* at least 1"):
        run("batch_size=0")
    with pytest.raises(DataError, match=r"^stages.decode_target: stage decode_target: expected size >= 1"):
        run("stages.decode_target.size=0")
