"""The published systems end to end at toy size: their configuration, small random networks, simulated recordings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from braindec import evaluate, reconstruct, train
from braindec.artifacts import RunFolder, read_json
from braindec.compose import compose
from braindec.frozen.vdvae.config import VDVAEConfig
from braindec.frozen.vdvae.network import VDVAENetwork
from braindec.run_tables import read_reconstructions
from tests.unit.stages.tiny_captioners import save_git
from tests.unit.stages.tiny_diffusion import save_stable_diffusion, save_versatile_diffusion

TOY = (
    "dataset=simulated",
    "~dataset.generation",
    "+dataset.n_subjects=1",
    "+dataset.n_train=12",
    "+dataset.n_test=3",
    "+dataset.n_voxels=80",
    "+dataset.n_sessions=1",
    "+dataset.image_size=32",
    "metric=[pixcorr]",
    "controls=[shuffled_brain]",
    "n_resamples=20",
    "device=cpu",
)
VDVAE_CONFIG = VDVAEConfig("16x1,16d2,8d2,4d4,1x1", "1x1,4m1,8m4,16m8", 16, width=8, latent_channels=2, top_layers=3)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("weights")
    save_versatile_diffusion(root / "shi-labs/versatile-diffusion")
    save_stable_diffusion(root / "CompVis/stable-diffusion-v1-4")
    save_git(root / "microsoft/git-base-coco")
    vdvae = root / "openai/vdvae-imagenet64"
    vdvae.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(VDVAENetwork(VDVAE_CONFIG).state_dict(), vdvae / "model.th")
    VDVAE_CONFIG.save(vdvae / "config.json")
    return root


@pytest.mark.parametrize(
    ("experiment", "overrides", "captioned"),
    [
        ("brain_diffuser", ["+stages.vdvae.rescale=test_set", "+stages.latent_diffusion.steps=3"], False),
        (
            "takagi2023",
            [
                "~dataset.roi",
                "~decoder.rois",
                "targets.vae_latent.network.image_size=16",
                "+stages.stable_diffusion.steps=2",
                "stages.stable_diffusion.n_samples=2",
            ],
            False,
        ),
        ("brain_captioning", ["+stages.git_caption.search.max_length=6"], True),
    ],
)
def test_train_reconstruct_evaluate(
    experiment: str,
    overrides: list[str],
    captioned: bool,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BRAINDEC_WEIGHTS", str(weights))
    config = compose("train", [f"experiment={experiment}", *TOY, *overrides, f"run_dir={tmp_path / 'run'}"])
    train.train(config)
    reconstruct.reconstruct(compose("reconstruct", [f"run={tmp_path / 'run'}"]))
    evaluate.evaluate(compose("evaluate", [f"run={tmp_path / 'run'}"]))
    run = RunFolder.open(tmp_path / "run")
    table = read_reconstructions(run.reconstructions("decoded") / "table.csv")
    assert len(table) == 3
    assert table["image"].ne("").all()
    assert table["caption"].ne("").all() == captioned
    scores = read_json(run.path / "scores.json")
    assert scores["metrics"]["pixcorr"]["n"] == 3
    transductive = experiment == "brain_diffuser"
    assert ("transductive" in scores["metrics"]["pixcorr"]["flags"]) == transductive
