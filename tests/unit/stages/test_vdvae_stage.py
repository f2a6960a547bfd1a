from __future__ import annotations

import numpy as np
import pytest
import torch

from braindec.frozen.vdvae.config import VDVAEConfig
from braindec.frozen.vdvae.model import VDVAE
from braindec.frozen.vdvae.network import VDVAENetwork
from braindec.run_tables import flags_of, read_reconstructions
from braindec.stages.chain import reconstruct_fold
from braindec.stages.inputs import WHOLE_FOLD
from braindec.stages.rescaling import mean_and_sd, rescaled_by_item
from braindec.stages.vdvae import VdvaeStage
from braindec.types import DataError
from tests.unit.stages.generative import context_of, predictions_of

CONFIG = VDVAEConfig("8x1,8d2,4d4,1x1", "1x1,4m1,8m4", image_size=8, width=8, latent_channels=2, top_layers=2)


@pytest.fixture(scope="module")
def network() -> VDVAE:
    torch.manual_seed(0)
    module = VDVAENetwork(CONFIG)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return VDVAE("none", batch_size=2).adopt(module)


@pytest.fixture
def latents() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(3, 2, (400, 1, CONFIG.top_size)).astype(np.float32)


def test_rescaling_by_item_uses_the_item_and_training_only(latents: np.ndarray) -> None:
    mean, sd = mean_and_sd(latents)
    np.testing.assert_allclose(mean, latents.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(sd, latents.std(axis=0), rtol=1e-4)
    shrunk = mean + 0.1 * (latents[:5] - mean)
    found = rescaled_by_item(shrunk, mean, sd)
    np.testing.assert_allclose((((found - mean) / sd) ** 2).mean(axis=(1, 2)), 1, rtol=1e-4)
    np.testing.assert_allclose(rescaled_by_item(shrunk[3:4], mean, sd), found[3:4], rtol=1e-4, atol=1e-4)
    deviation, expected = found[0] - mean, shrunk[0] - mean
    assert np.corrcoef(deviation.ravel(), expected.ravel())[0, 1] > 0.999


def test_pictures_do_not_depend_on_batch_or_order(network: VDVAE, latents: np.ndarray) -> None:
    predictions = predictions_of({"vdvae": latents[:5]})
    context = context_of({"vdvae": latents[5:]})
    stage = VdvaeStage(network)
    together = stage.run(predictions, None, context)
    assert together.images.shape == (5, 8, 8, 3)
    assert together.flags == ()
    backwards = stage.run(predictions.select(np.array([4, 2])), None, context)
    np.testing.assert_allclose(backwards.images.astype(int), together.images[[4, 2]].astype(int), atol=1)


def test_plain_decoding_is_the_network_s_own(network: VDVAE, latents: np.ndarray) -> None:
    from braindec.stages.seeds import item_seeds

    predictions = predictions_of({"vdvae": latents[:3]})
    found = VdvaeStage(network, rescale="none").run(predictions, None, context_of({}))
    np.testing.assert_array_equal(found.images, network.decode(latents[:3], item_seeds(predictions, 0)))


def test_test_set_statistics_are_those_of_the_whole_fold_and_flagged(network, latents, tmp_path) -> None:
    predictions = predictions_of({"vdvae": 0.1 * latents[:6]}, ["a", "a", "a", "b", "b", "b"])
    stage = VdvaeStage(network, rescale="test_set")
    context = context_of({"vdvae": latents[6:]})
    whole = stage.run(predictions, None, context)
    assert whole.flags == ("transductive",)
    knowing = context_of({"vdvae": latents[6:]}, options={WHOLE_FOLD: predictions})
    part = stage.run(predictions.select(np.array([1, 4])), None, knowing)
    np.testing.assert_array_equal(part.images, whole.images[[1, 4]])
    table = reconstruct_fold(tmp_path, "key", {"vdvae": stage}, predictions, context, batch_size=2)
    assert flags_of(table) == ["transductive"]
    path = next((tmp_path / "parts" / "published").glob("*/*.csv"))
    assert flags_of(read_reconstructions(path)) == ["transductive"]


def test_what_is_missing_is_named(network: VDVAE, latents: np.ndarray) -> None:
    with pytest.raises(DataError, match="needs predictions of target 'vdvae'.*'other'"):
        VdvaeStage(network).run(predictions_of({"other": latents[:2]}), None, context_of({}))
    with pytest.raises(DataError, match="training stimuli's embeddings"):
        VdvaeStage(network).run(predictions_of({"vdvae": latents[:2]}), None, context_of({}))
    with pytest.raises(DataError, match="whole number of layers"):
        VdvaeStage(network, rescale="none").run(predictions_of({"vdvae": latents[:2, :, :5]}), None, context_of({}))
