"""Whole test sets: killed, shared, on a full disk; and what stages may not do with the ground truth."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from braindec.artifacts import ArtifactError, image_hash, read_image
from braindec.run_tables import flags_of
from braindec.stages.chain import reconstruct_fold
from braindec.stages.diffusion.families import TokenDiffusion
from braindec.stages.inputs import PRESENTED
from braindec.stages.latent_diffusion import LatentDiffusion
from braindec.stages.preview import Preview
from braindec.stages.selection import chosen_stages
from braindec.stages.sharing import Share, share_of
from braindec.types import DataError, TargetEmbeddings
from tests.unit.stages.generative import context_of, predictions_of
from tests.unit.stages.killed_chain import SeededPictures, reconstructed
from tests.unit.stages.tiny_diffusion import save_token_diffusion

ROOT = Path(__file__).resolve().parents[3]


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_killed_reconstruction_loses_doubles_and_halves_nothing(tmp_path: Path) -> None:
    whole = reconstructed(tmp_path / "whole", SeededPictures())
    command = [sys.executable, "-m", "tests.unit.stages.killed_chain", str(tmp_path / "killed"), "3"]
    process = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert process.returncode == -signal.SIGKILL
    left = content(tmp_path / "killed")
    assert 0 < len([name for name in left if name.endswith(".csv")]) <= 3
    for name in left:
        if name.endswith(".png"):
            assert read_image(tmp_path / "killed" / name).shape == (8, 8, 3)
    stage = SeededPictures()
    again = reconstructed(tmp_path / "killed", stage)
    assert 0 < stage.calls < 5, "what was finished is not made again"
    assert again.equals(whole)
    made = content(tmp_path / "killed")
    assert {name: made[name] for name in content(tmp_path / "whole")} == content(tmp_path / "whole")
    (tmp_path / "killed" / "item5.png").unlink()
    stage = SeededPictures()
    assert reconstructed(tmp_path / "killed", stage).equals(whole)
    assert stage.calls == 1, "a chunk whose picture is gone is made again"


def test_other_settings_leave_no_chunk_that_claims_their_pictures(tmp_path: Path) -> None:
    first = reconstructed(tmp_path, SeededPictures())
    with pytest.raises(ZeroDivisionError):
        reconstructed(tmp_path, SeededPictures(raised_at=2), key="other", seed=1)
    stage = SeededPictures()
    assert reconstructed(tmp_path, stage).equals(first)
    assert stage.calls == 5, "the other settings overwrote pictures"
    for name, digest in zip(first["image"], first["image_sha256"], strict=True):
        assert image_hash(read_image(tmp_path / name)) == digest
    with pytest.raises(ZeroDivisionError):
        reconstructed(tmp_path, SeededPictures(raised_at=0), key="other", seed=1)
    stage = SeededPictures()
    reconstructed(tmp_path, stage)
    assert stage.calls == 0, "what never wrote a picture takes nothing away"


def test_shares_make_each_chunk_once_and_the_last_one_the_table(tmp_path: Path) -> None:
    whole = reconstructed(tmp_path / "whole", SeededPictures())
    stages = [SeededPictures() for _ in range(3)]
    made = [reconstructed(tmp_path / "shared", stages[r], share=Share(r, 3)) for r in (2, 0, 1)]
    assert [table is None for table in made] == [True, True, False]
    assert made[-1].equals(whole)
    assert [stage.calls for stage in stages] == [2, 2, 1]


def test_a_full_disk_is_said_and_taken_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace, calls = os.replace, []

    def full(source, target) -> None:
        calls.append(target)
        if len(calls) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ArtifactError, match="the disk is full .* finished parts are kept"):
        reconstructed(tmp_path / "run", SeededPictures())
    monkeypatch.setattr(os, "replace", replace)
    assert not [name for name in content(tmp_path / "run") if name.endswith(".tmp")]
    stage = SeededPictures()
    assert reconstructed(tmp_path / "run", stage).equals(reconstructed(tmp_path / "whole", SeededPictures()))
    assert stage.calls < 5


def test_shares_are_read_from_torchrun_and_slurm() -> None:
    assert share_of({}) == Share(0, 1, 0)
    assert share_of({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}) == Share(3, 8, 1)
    step = {"SLURM_PROCID": "5", "SLURM_NTASKS": "6", "SLURM_LOCALID": "2"}
    assert share_of({**step, "SLURM_STEP_ID": "0"}) == Share(5, 6, 2)
    assert share_of(step) == Share(), "a batch script outside of srun is one process"
    assert (Share(5, 6, 2).device("cuda"), Share(5, 6, 2).device("cpu"), Share().device("cuda")) == (
        "cuda:2",
        "cpu",
        "cuda",
    )
    with pytest.raises(DataError, match="whole numbers"):
        share_of({"RANK": "a", "WORLD_SIZE": "2"})
    with pytest.raises(DataError, match="rank 2 of 2"):
        share_of({"RANK": "2", "WORLD_SIZE": "2"})


class MeanColour:
    """A target of pictures: their mean colour."""

    def embed(self, stimuli):
        return np.asarray(stimuli.images).mean(axis=(1, 2), dtype=np.float32)[:, None] - 128


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TokenDiffusion:
    return TokenDiffusion(str(save_token_diffusion(tmp_path_factory.mktemp("weights") / "tiny_diffusion")))


def diffusion_predictions(n: int):
    rng = np.random.default_rng(0)
    return predictions_of({"text": rng.normal(size=(n, 7, 24)), "colour": rng.normal(size=(n, 1, 3))})


def test_the_oracle_choice_needs_the_truth_and_is_flagged_to_the_table(model: TokenDiffusion, tmp_path: Path) -> None:
    predictions = diffusion_predictions(3)
    stage = LatentDiffusion(model, {"text": "text"}, 2, n_samples=3, rank_by="colour", oracle=True)
    assert stage.uses_truth == ("colour",)
    with pytest.raises(DataError, match="oracle needs the presented stimuli"):
        stage.run(predictions, None, context_of({}, {"colour": MeanColour()}))
    truth = -predictions.embeddings["colour"]
    shown = {"colour": TargetEmbeddings("colour", tuple(predictions.table["stimulus_id"]), truth)}
    context = context_of({}, {"colour": MeanColour()}, options={PRESENTED: shown})
    table = reconstruct_fold(tmp_path, "key", {"diffusion": stage}, predictions, context, 2)
    assert flags_of(table) == ["oracle"]
    assert table["sample"].between(0, 2).all()
    honest = LatentDiffusion(model, {"text": "text"}, 2, n_samples=3, rank_by="colour")
    assert honest.uses_truth == ()
    chosen = honest.run(predictions, None, context)
    assert chosen.flags == ()
    assert chosen.notes["sample"] != table["sample"].tolist(), "the answer is the opposite of the prediction"
    with pytest.raises(DataError, match="oracle chooses among samples"):
        LatentDiffusion(model, {"text": "text"}, oracle=True)


def test_too_little_memory_halves_the_batch_without_changing_a_picture(
    model: TokenDiffusion, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    predictions = diffusion_predictions(5)
    stage = LatentDiffusion(model, {"text": "text"}, 2, batch_size=4)
    expected = stage.run(predictions, None, context_of({})).images.astype(int)
    whole = model.halves.whole

    def limited(latents, times, given):
        if len(latents) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return whole(latents, times, given)

    monkeypatch.setattr(model.halves, "whole", limited)
    with caplog.at_level(logging.WARNING):
        found = stage.run(predictions, None, context_of({})).images.astype(int)
    assert np.abs(found - expected).max() <= 1
    assert "out of memory with 4 items at a time; going on with 2" in caplog.text


def test_predicted_latents_start_the_walk(model: TokenDiffusion) -> None:
    rng = np.random.default_rng(0)
    predictions = predictions_of({"text": rng.normal(size=(2, 7, 24)), "latent": rng.normal(size=(2, 4, 64))})

    def run(**options):
        stage = LatentDiffusion(model, {"text": "text"}, 4, **options)
        return stage.run(predictions, None, context_of({})).images.astype(int)

    started = run(strength=0.5, start="latent")
    assert np.abs(started - run()).mean() > 1
    latents = torch.from_numpy(predictions.embeddings["latent"]).unflatten(2, (8, 8))
    torch.testing.assert_close(model.as_latents(predictions.embeddings["latent"]), latents)
    with pytest.raises(DataError, match=r"start latents must be \(picture, 4, side \* side\)"):
        run(strength=0.5, start="text")
    with pytest.raises(DataError, match="start latent without strength"):
        run(start="latent")


def test_the_preview_shows_the_newest_first(tmp_path: Path) -> None:
    from braindec.types import Reconstructions

    table = predictions_of({"x": np.zeros((3, 1, 1))}).table
    images = np.stack([np.full((4, 4, 3), level, np.uint8) for level in (10, 20, 30)])
    preview = Preview(tmp_path / "preview.png", columns=2, rows=1, tile_px=4)
    preview.add(Reconstructions(table, images=images))
    assert read_image(tmp_path / "preview.png")[0, ::4, 0].tolist() == [30, 20]


def test_command_line_values_change_the_run_s_own_stages() -> None:
    own = {"a": {"_target_": "A", "x": 1, "inner": {"y": 2, "z": 3}}, "b": {"_target_": "B"}}
    default = {"a": {"_target_": "A", "x": 0, "inner": {"y": 0}}, "c": {"_target_": "C"}}
    assert chosen_stages(own, {}, {}) == own
    assert chosen_stages(own, {"a": {"inner": {"y": 5}}}, {})["a"]["inner"] == {"y": 5, "z": 3}
    named = chosen_stages(own, {"c": {"_target_": "C"}, "a": {"_target_": "A", "x": 7, "inner": {"y": 0}}}, default)
    assert list(named) == ["c", "a"]
    assert named["a"] == {"_target_": "A", "x": 7, "inner": {"y": 2, "z": 3}}
    with pytest.raises(DataError, match="the run has no such stage"):
        chosen_stages(own, {"d": {"x": 1}}, {})
