from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from braindec.contracts import Stage, StageContext
from braindec.frozen.beams import Search
from braindec.frozen.prefix_lm import PrefixLanguageModel
from braindec.stages.prefix_llm import PrefixCaption
from braindec.types import DataError, Stimuli, TargetEmbeddings
from tests.unit.stages.generative import predictions_of

CAPTIONS = ("a dog", "the beach", "red cube on the beach")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "on", "the", "beach", "red", "cube", "what"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GPT-2 that knows the three captions."""
    from transformers import BertTokenizer, GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("weights") / "gpt2"
    tokenizer = BertTokenizer(vocab={word: index for index, word in enumerate(WORDS)})
    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32, "vocab_size": len(WORDS)}
    model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=2, eos_token_id=3, resid_pdrop=0, embd_pdrop=0))
    rows = [[2, *tokenizer(text, add_special_tokens=False).input_ids, 3] for text in CAPTIONS]
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    topics = (0, 1, 4)
    for step in range(240):
        # Captions follow their topic, so that the model heeds what came before, as one trained on long texts does.
        row = torch.tensor([[topics[step % 3]] * (step % 4) + rows[step % 3]])
        optimiser.zero_grad()
        model(row, labels=row).loss.backward()
        optimiser.step()
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def material(n: int = 60) -> tuple[StageContext, np.ndarray]:
    """Training stimuli of three kinds, told apart by their embeddings; and the kinds of the first nine."""
    rng = np.random.default_rng(0)
    kinds = np.arange(n) % 3
    centres = rng.normal(size=(3, 4, 6))
    values = (centres[kinds] + 0.2 * rng.normal(size=(n, 4, 6))).astype(np.float32)
    ids = tuple(f"train{i}" for i in range(n))
    stimuli = Stimuli(ids, captions=tuple((CAPTIONS[kind],) for kind in kinds))
    return StageContext({}, stimuli, {"clip": TargetEmbeddings("clip", ids, values)}, seed=0, device="cpu"), kinds


def stage_of(folder: Path, **options) -> PrefixCaption:
    options = {"prefix": 3, "hidden": 32, "steps": 300, "train_batch_size": 12, "learning_rate": 1e-2, **options}
    return PrefixCaption(PrefixLanguageModel(str(folder), batch_size=4), "clip", Search(8, beams=2), **options)


def test_held_out_embeddings_get_the_captions_of_their_kind(folder: Path) -> None:
    context, kinds = material()
    rng = np.random.default_rng(1)
    values = context.training_embeddings["clip"].values[:9] + 0.2 * rng.normal(size=(9, 4, 6))
    predictions = predictions_of({"clip": values})
    stage = stage_of(folder, questions=("what",))
    assert isinstance(stage, Stage)
    before = {name: value.clone() for name, value in stage.network.module.state_dict().items()}
    made = stage.run(predictions, None, context)
    assert made.captions == tuple(CAPTIONS[kind] for kind in kinds[:9])
    for name, value in stage.network.module.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert [entry[0][0] for entry in made.notes["n_best"]] == list(made.captions)
    assert len(made.notes["answer_1"]) == 9
    alone = stage_of(folder).run(predictions.select(np.array([4])), None, context)
    assert alone.captions == made.captions[4:5], "the mapper is the same whatever is decoded"


def test_all_captions_joined_make_a_longer_description(folder: Path) -> None:
    context, _ = material(6)
    two = Stimuli(context.training_stimuli.ids, captions=(("a dog", "on the beach"),) * 6)
    context = StageContext({}, two, context.training_embeddings, seed=0, device="cpu")
    seen: list[str] = []
    stage = stage_of(folder, texts="joined", steps=2)
    original = stage.network.loss
    stage.network.loss = lambda prefix, texts, length: (seen.extend(texts), original(prefix, texts, length))[1]
    stage.run(predictions_of({"clip": np.zeros((1, 4, 6))}), None, context)
    assert set(seen) == {"a dog on the beach"}


def test_what_is_wrong_is_named(folder: Path) -> None:
    context, _ = material(6)
    predictions = predictions_of({"clip": np.zeros((1, 2, 6))})
    with pytest.raises(DataError, match=r"predictions of shape \(token, dim\) \(2, 6\)"):
        stage_of(folder).run(predictions, None, context)
    without = StageContext({}, Stimuli(context.training_stimuli.ids), context.training_embeddings, 0, "cpu")
    with pytest.raises(DataError, match="a caption for every training stimulus"):
        stage_of(folder).run(predictions_of({"clip": np.zeros((1, 4, 6))}), None, without)
    with pytest.raises(DataError, match="needs the training stimuli's embeddings"):
        stage_of(folder).run(
            predictions_of({"clip": np.zeros((1, 4, 6))}),
            None,
            StageContext({}, without.training_stimuli, {}, 0, "cpu"),
        )
