from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from braindec.contracts import Stage, StageContext
from braindec.frozen.beams import Search
from braindec.frozen.prefix_lm import PrefixLanguageModel
from braindec.stages.inputs import QUESTIONS
from braindec.stages.prefix_llm import PrefixCaption
from braindec.types import DataError, Predictions, QuestionAnswers, Stimuli, TargetEmbeddings
from tests.unit.stages.generative import predictions_of

CAPTIONS = ("a dog", "the beach", "red cube on the beach")
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "dog",
    "on",
    "the",
    "beach",
    "red",
    "cube",
    "what",
    ".",
    "is",
]
ANSWERS = ("dog", "beach", "cube")


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
    asked = [[12, 2, *tokenizer(text, add_special_tokens=False).input_ids, 3] for text in ANSWERS]
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    topics = (0, 1, 4)
    for step in range(360):
        # Captions and answers follow their topic: the model heeds what came before, as one trained on long texts does.
        said = (asked if step % 2 else rows)[step % 3]
        row = torch.tensor([[topics[step % 3]] * (step % 4) + said])
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


def with_questions(context: StageContext, kinds: np.ndarray, folder: Path | None = None) -> StageContext:
    """The same with a question about each training stimulus, and the listing of what may be asked of test stimuli."""
    questions = tuple((QuestionAnswers("what", (ANSWERS[kind],), "thing"),) for kind in kinds)
    listed = {f"test{i}": ("what",) for i in range(9)}
    stimuli = replace(context.training_stimuli, questions=questions)
    return replace(context, training_stimuli=stimuli, options={QUESTIONS: listed}, folder=folder)


def stage_of(folder: Path, **options) -> PrefixCaption:
    options = {
        "prefix": 3,
        "components": 8,
        "hidden": 32,
        "steps": 300,
        "train_batch_size": 12,
        "learning_rate": 1e-2,
        **options,
    }
    search = options.pop("search", Search(8, beams=2))
    return PrefixCaption(PrefixLanguageModel(str(folder), batch_size=4), "clip", search, **options)


def predicted_like(context: StageContext) -> Predictions:
    rng = np.random.default_rng(1)
    values = context.training_embeddings["clip"].values[:9] + 0.2 * rng.normal(size=(9, 4, 6))
    return predictions_of({"clip": values})


def test_held_out_embeddings_get_the_captions_and_answers_of_their_kind(folder: Path) -> None:
    context, kinds = material()
    predictions = predicted_like(context)
    stage = stage_of(folder, listed=True, answer_length=6)
    assert isinstance(stage, Stage)
    before = {name: value.clone() for name, value in stage.network.module.state_dict().items()}
    made = stage.run(predictions, None, with_questions(context, kinds))
    assert made.captions == tuple(CAPTIONS[kind] for kind in kinds[:9])
    assert made.answers == tuple({"what": ANSWERS[kind]} for kind in kinds[:9])
    for name, value in stage.network.module.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert [entry[0][0] for entry in made.notes["n_best"]] == list(made.captions)
    alone = stage_of(folder, listed=True, answer_length=6)
    alone = alone.run(predictions.select(np.array([4])), None, with_questions(context, kinds))
    assert alone.captions == made.captions[4:5], "the mapper is the same whatever is decoded"


def test_a_kept_mapper_is_read_again_and_another_s_is_not(folder: Path, tmp_path: Path, monkeypatch) -> None:
    from braindec.stages import prefix_mapper

    context, kinds = material()
    context = with_questions(context, kinds, tmp_path)
    predictions = predicted_like(context)
    first = stage_of(folder, listed=True, steps=20).run(predictions, None, context)
    kept = [path.name for path in tmp_path.iterdir()]
    fits: list[int] = []
    original = prefix_mapper._fit
    monkeypatch.setattr(prefix_mapper, "_fit", lambda *given: (fits.append(1), original(*given)))
    again = stage_of(folder, listed=True, steps=20).run(predictions, None, context)
    assert (again.captions, again.answers) == (first.captions, first.answers)
    assert not fits
    assert [path.name for path in tmp_path.iterdir()] == kept
    stage_of(folder, listed=True, steps=21).run(predictions, None, context)
    others = replace(context, training_stimuli=replace(context.training_stimuli, captions=(("a dog",),) * 60))
    stage_of(folder, listed=True, steps=20).run(predictions, None, others)
    assert len(fits) == 2
    state = next(iter(tmp_path.glob("*/perceptron.0.weight.npy")))
    state.write_bytes(state.read_bytes()[:-4] + b"\x00\x00\x80\x3f")
    with pytest.raises(DataError, match="do not have the hash in state.json"):
        for steps in (20, 21):
            stage_of(folder, listed=True, steps=steps).run(predictions, None, context)
            stage_of(folder, listed=True, steps=steps).run(predictions, None, others)


def test_an_instruction_brings_all_captions_as_a_longer_description(folder: Path) -> None:
    context, _ = material(6)
    two = Stimuli(context.training_stimuli.ids, captions=(("a dog", "on the beach"),) * 6)
    context = StageContext({}, two, context.training_embeddings, seed=0, device="cpu")
    seen: set[tuple[str, str]] = set()
    stage = stage_of(folder, describe="what is", description_length=12, steps=8)
    original = stage.network.loss

    def noted(prefix, texts, length, prompts):
        assert len(set(prompts)) == 1, "steps of several tasks are padded to the longest text"
        seen.update(zip(prompts, texts, strict=True))
        return original(prefix, texts, length, prompts)

    stage.network.loss = noted
    made = stage.run(predictions_of({"clip": np.zeros((1, 4, 6))}), None, context)
    assert seen == {("", "a dog"), ("", "on the beach"), ("what is", "a dog. on the beach.")}
    assert len(made.notes["description"]) == 1


def test_of_several_captions_the_nearest_to_another_target_is_kept(folder: Path) -> None:
    context, _ = material()

    class Lengths:
        def embed(self, stimuli: Stimuli) -> np.ndarray:
            return np.array([[[len(text), 1.0]] for text in stimuli.texts], np.float32)

    context = replace(context, targets={"lengths": Lengths()})
    values = context.training_embeddings["clip"].values[:6]
    for length in (0.0, 100.0):
        wanted = np.tile(np.array([[[length, 1.0]]], np.float32), (6, 1, 1))
        stage = stage_of(folder, search=Search(8, beams=4), rank_by="lengths", steps=100)
        made = stage.run(predictions_of({"clip": values, "lengths": wanted}), None, context)
        for caption, found in zip(made.captions, made.notes["n_best"], strict=True):
            sizes = [len(text) for text, _ in found]
            assert len(caption) == (min(sizes) if length == 0 else max(sizes))


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


def test_questions_that_are_not_listed_and_prompts_that_are_too_long_are_named(folder: Path) -> None:
    context, kinds = material(9)
    predictions = predictions_of({"clip": np.zeros((2, 4, 6))})
    with pytest.raises(DataError, match="2 have none, e.g. 'test0'"):
        stage_of(folder, listed=True).run(predictions, None, context)
    short = replace(with_questions(context, kinds), options={QUESTIONS: {"test0": ("what",), "test1": ()}})
    with pytest.raises(DataError, match="1 have none, e.g. 'test1'"):
        stage_of(folder, listed=True).run(predictions, None, short)
    for options in ({"questions": ("what " * 30,)}, {"describe": "what " * 30}, {"prompt": "what " * 30}):
        with pytest.raises(DataError, match="reads at most 32 tokens, but 3 prefix vectors, a prompt of 30 tokens"):
            stage_of(folder, **options).run(predictions, None, context)
