from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from braindec.contracts import Stage
from braindec.frozen.clip import ClipVision
from braindec.frozen.vae import AutoencoderKL
from braindec.stages.optimise import Optimise, features_of, total_variation
from braindec.targets.frozen import FrozenTarget
from braindec.types import DataError, Reconstructions, Stimuli
from tests.unit.frozen.tiny_networks import save_clip
from tests.unit.stages.generative import context_of, predictions_of
from tests.unit.stages.tiny_diffusion import make_vae


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> FrozenTarget:
    folder = save_clip(tmp_path_factory.mktemp("weights") / "clip")
    return FrozenTarget(ClipVision(str(folder), output="hidden"), "cpu")


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


def stage_of(variable: str = "pixels", **options) -> Optimise:
    options = {"size": 32, "steps": 30, "learning_rate": 0.1, "smoothness": 0.0, **options}
    return Optimise({"clip": 1.0}, variable, **options)


def wanted(target: FrozenTarget, pictures: np.ndarray):
    ids = tuple(str(i) for i in range(len(pictures)))
    return predictions_of({"clip": target.embed(Stimuli(ids, images=pictures))})


@pytest.mark.parametrize("variable", ["pixels", "latent", "deep_image_prior"])
def test_features_come_nearer_to_the_predicted_ones(variable, target, pictures, tmp_path: Path) -> None:
    make_vae().save_pretrained(tmp_path / "vae")
    predictions = wanted(target, pictures)
    autoencoder = AutoencoderKL(str(tmp_path / "vae"), image_size=32) if variable == "latent" else None
    stage = stage_of(variable, autoencoder=autoencoder, learning_rate=0.3 if variable == "latent" else 0.05)
    assert isinstance(stage, Stage)
    made = stage.run(predictions, None, context_of({}, {"clip": target}))
    assert made.images.shape == (3, 32, 32, 3)
    start, end = (np.array(made.notes[name]) for name in ("feature_loss_start", "feature_loss"))
    assert (end < 0.9 * start).all()
    found = target.embed(Stimuli(("0", "1", "2"), images=made.images))
    error = ((found - predictions.embeddings["clip"]) ** 2).sum(axis=(1, 2))
    relative = error / (predictions.embeddings["clip"] ** 2).sum(axis=(1, 2))
    np.testing.assert_allclose(relative, end, rtol=0.2, atol=0.01)


def test_an_item_does_not_depend_on_its_batch_and_starts_from_the_picture_before(target, pictures) -> None:
    predictions = wanted(target, pictures)
    context = context_of({}, {"clip": target})
    for variable in ("pixels", "deep_image_prior"):
        together = stage_of(variable, steps=5).run(predictions, None, context).images.astype(int)
        alone = stage_of(variable, steps=5).run(predictions.select(np.array([2])), None, context).images.astype(int)
        assert np.abs(alone[0] - together[2]).max() <= 2
    before = Reconstructions(predictions.table, images=pictures, captions=("a",) * 3, chain=("before",))
    made = stage_of(steps=1, learning_rate=1e-6).run(predictions, before, context)
    assert np.abs(made.images.astype(int) - pictures.astype(int)).max() <= 6, "only the darkest and lightest are cut"
    assert made.captions == before.captions


def test_smooth_preparation_is_the_published_one_but_for_rounding(target, pictures) -> None:
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        smooth = features_of(target.network, pixels).numpy()
    published = target.network.encode(pictures)
    assert np.abs(smooth - published).mean() < 0.02 * published.std()


def test_total_variation_is_the_mean_step() -> None:
    ramp = torch.arange(4.0).expand(1, 3, 4, 4)
    assert total_variation(ramp).item() == pytest.approx(1.0)


def test_what_is_wrong_is_named(target, pictures) -> None:
    predictions = wanted(target, pictures)
    with pytest.raises(DataError, match="needs the target 'clip'"):
        stage_of().run(predictions, None, context_of({}))
    with pytest.raises(DataError, match="predictions .* train again"):
        stage_of().run(predictions_of({"clip": np.ones((3, 2, 2))}), None, context_of({}, {"clip": target}))
    with pytest.raises(DataError, match="latent needs an autoencoder"):
        stage_of("latent")
    with pytest.raises(DataError, match="16 divides"):
        stage_of(size=30)
