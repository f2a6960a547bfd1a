from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from braindec.contracts import Stage
from braindec.stages.batches import in_batches
from braindec.stages.diffusion.families import TokenDiffusion
from braindec.stages.diffusion.halves import FeatureReuse
from braindec.stages.latent_diffusion import LatentDiffusion
from braindec.stages.ranking import best_samples
from braindec.stages.rescaling import mean_and_sd, rescaled_by_item
from braindec.types import DataError, Reconstructions
from tests.unit.stages.generative import context_of, predictions_of
from tests.unit.stages.tiny_diffusion import save_token_diffusion

CONDITIONS = {"image": "clip_vision", "text": "clip_text"}


class MeanColour:
    """A target of pictures: their mean colour."""

    def embed(self, stimuli):
        return np.asarray(stimuli.images).mean(axis=(1, 2), dtype=np.float32)[:, None] - 128


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TokenDiffusion:
    return TokenDiffusion(str(save_token_diffusion(tmp_path_factory.mktemp("weights") / "tiny_diffusion")))


@pytest.fixture
def predictions():
    rng = np.random.default_rng(0)
    shapes = {"clip_vision": (5, 24), "clip_text": (7, 24), "colour": (1, 3)}
    return predictions_of({name: rng.normal(size=(5, *shape)) for name, shape in shapes.items()})


def starts_of(predictions) -> Reconstructions:
    images = np.random.default_rng(1).integers(0, 256, (len(predictions), 6, 6, 3), dtype=np.uint8)
    return Reconstructions(predictions.table, images=images, captions=("a",) * len(predictions), chain=("start",))


def test_batch_size_and_order_do_not_change_a_picture(model, predictions) -> None:
    previous = starts_of(predictions)
    made = {}
    for size in (1, 2, 5):
        stage = LatentDiffusion(model, CONDITIONS, steps=4, strength=0.75, batch_size=size)
        assert isinstance(stage, Stage)
        made[size] = stage.run(predictions, previous, context_of({}))
    assert made[5].images.shape == (5, 16, 16, 3)
    assert (made[5].chain[0], made[5].captions) == ("start", previous.captions)
    for size in (1, 2):
        assert np.abs(made[size].images.astype(int) - made[5].images.astype(int)).max() <= 1
    order = np.array([4, 2])
    chosen = Reconstructions(predictions.table.iloc[order].reset_index(drop=True), images=previous.images[order])
    stage = LatentDiffusion(model, CONDITIONS, steps=4, strength=0.75)
    again = stage.run(predictions.select(order), chosen, context_of({}))
    assert np.abs(again.images.astype(int) - made[5].images[order].astype(int)).max() <= 1


def test_start_condition_and_reuse_matter(model, predictions) -> None:
    def run(previous=None, conditions=CONDITIONS, **options):
        stage = LatentDiffusion(model, conditions, steps=4, batch_size=5, **options)
        return stage.run(predictions, previous, context_of({})).images.astype(int)

    from_start, from_noise = run(starts_of(predictions), strength=0.5), run()
    assert np.abs(from_start - from_noise).mean() > 1
    assert np.abs(run(conditions={"text": "clip_text"}) - from_noise).mean() > 1
    assert np.abs(run(reuse=FeatureReuse(every=2, always_first=1)) - from_noise).max() > 0


def test_the_kept_sample_is_the_one_nearest_to_the_predicted_embedding(model, predictions) -> None:
    context = context_of({}, {"colour": MeanColour()})
    options = {"steps": 3, "guidance": 1.0, "batch_size": 8}
    kept = LatentDiffusion(model, CONDITIONS, n_samples=3, rank_by="colour", **options).run(predictions, None, context)
    first = LatentDiffusion(model, CONDITIONS, **options).run(predictions, None, context)

    def cosine(images):
        a, b = images.mean(axis=(1, 2)) - 128, predictions.embeddings["colour"][:, 0]
        return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)

    assert (cosine(kept.images) >= cosine(first.images) - 1e-6).all()
    assert (cosine(kept.images) > cosine(first.images) + 1e-3).any()


def test_what_cannot_rank_samples_is_said_before_they_are_drawn(model, predictions, monkeypatch) -> None:
    monkeypatch.setattr(LatentDiffusion, "_sample", lambda *given: pytest.fail("drawn"))
    words = MeanColour()
    words.network = SimpleNamespace(modality="text")
    for rank_by, targets, message in (
        ("sound", {}, "needs predictions of target 'sound'"),
        ("colour", {}, "needs the target 'colour'"),
        ("colour", {"colour": words}, "'colour' is a target of texts and cannot read samples"),
    ):
        stage = LatentDiffusion(model, CONDITIONS, n_samples=2, rank_by=rank_by)
        with pytest.raises(DataError, match=message):
            stage.run(predictions, None, context_of({}, targets))


def test_best_samples_is_by_cosine() -> None:
    predicted = np.array([[[1.0, 0.0]], [[0.0, 2.0]]])
    samples = np.array([[[[9.0, 9.0]], [[0.1, 0.0]]], [[[0.0, 0.1]], [[0.0, 0.0]]]])
    assert best_samples(predicted, samples).tolist() == [1, 0]


def test_a_batch_too_large_is_halved_and_said(caplog: pytest.LogCaptureFixture) -> None:
    def work(rows: np.ndarray, size: int) -> list[int]:
        if len(rows) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried ...")
        return rows.tolist()

    with caplog.at_level(logging.WARNING):
        made = in_batches(10, 8, work, "mine")
    assert made == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert "8 items at a time; going on with 4" in caplog.text
    assert "4 items at a time; going on with 2" in caplog.text

    def hopeless(rows: np.ndarray, size: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(DataError, match="one item does not fit"):
        in_batches(3, 2, hopeless, "mine")
    sizes: list[int] = []
    in_batches(4, 8, work, "mine", sizes.append)
    assert sizes == [2]
    with pytest.raises(DataError, match="stage mine: expected batch_size >= 1, found 0"):
        in_batches(3, 0, work, "mine")


def test_a_size_that_fits_is_kept_for_the_next_chunk(model, predictions, monkeypatch, caplog) -> None:
    whole = model.on("cpu").halves.whole

    def limited(latents, times, given):
        if len(latents) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(latents, times, given)

    monkeypatch.setattr(model.halves, "whole", limited)
    stage = LatentDiffusion(model, CONDITIONS, steps=1, guidance=1, batch_size=4)
    for _ in range(2):
        stage.run(predictions, None, context_of({}))
    assert caplog.text.count("out of memory") == 1


def test_pictures_that_play_no_part_are_said_once(model, predictions, caplog) -> None:
    stage = LatentDiffusion(model, CONDITIONS, steps=1)
    for _ in range(2):
        stage.run(predictions, starts_of(predictions), context_of({}))
    assert caplog.text.count("play no part without strength") == 1
    caplog.clear()
    LatentDiffusion(model, CONDITIONS, steps=2, strength=0.5).run(predictions, starts_of(predictions), context_of({}))
    assert not caplog.text


def test_what_is_missing_is_named(model, predictions, tmp_path: Path) -> None:
    def run(model=model, conditions=CONDITIONS, previous=None, **options):
        return LatentDiffusion(model, conditions, steps=2, **options).run(predictions, previous, context_of({}))

    with pytest.raises(DataError, match="needs predictions of target 'nothing'"):
        run(conditions={"image": "nothing"})
    with pytest.raises(DataError, match=r"\(clip_text\): .*'image' must be .* \(5, 5, 24\), found \(5, 7, 24\)"):
        run(conditions={"image": "clip_text"})
    with pytest.raises(DataError, match="no conditioning is called 'sound'"):
        run(conditions={"sound": "clip_text"})
    with pytest.raises(DataError, match="no stage comes before"):
        run(strength=0.5)
    with pytest.raises(DataError, match="takes no step"):
        run(strength=0.1, previous=starts_of(predictions))
    with pytest.raises(DataError, match="takes no step, or too many"):
        run(strength=1.5, previous=starts_of(predictions))
    with pytest.raises(DataError, match="n_samples 2 without rank_by; several samples need a target"):
        run(n_samples=2)
    with pytest.raises(DataError, match="expected n_samples >= 1, found 0"):
        run(n_samples=0)
    with pytest.raises(DataError, match="'nowhere/at-all' are missing"):
        run(model=TokenDiffusion("nowhere/at-all"))
    folder = save_token_diffusion(tmp_path / "broken")
    (folder / "unet" / "config.json").unlink()
    with pytest.raises(DataError, match=r"unet: expected a diffusers folder with config.json"):
        run(model=TokenDiffusion(str(folder)))


def test_conditions_are_stretched_as_asked_and_the_test_set_s_statistics_flagged(model, predictions) -> None:
    rng = np.random.default_rng(2)
    training = {name: rng.normal(1, 2, (30, *predictions.embeddings[name].shape[1:])) for name in CONDITIONS.values()}
    context = context_of({name: values.astype(np.float32) for name, values in training.items()})

    def run(given, rescale="none"):
        return LatentDiffusion(model, CONDITIONS, steps=4, batch_size=5, rescale=rescale).run(given, None, context)

    by_hand = {
        name: rescaled_by_item(predictions.embeddings[name], *mean_and_sd(context.training_embeddings[name].values))
        for name in CONDITIONS.values()
    }
    expected = run(predictions_of(by_hand))
    found = run(predictions, "item")
    np.testing.assert_array_equal(found.images, expected.images)
    assert np.abs(found.images.astype(int) - run(predictions).images).max() > 0
    assert (found.flags, run(predictions, "test_set").flags) == ((), ("transductive",))
    with pytest.raises(DataError, match="training stimuli's embeddings of target 'clip_vision'"):
        LatentDiffusion(model, CONDITIONS, rescale="item").run(predictions, None, context_of({}))
