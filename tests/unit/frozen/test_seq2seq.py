from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from braindec.contracts import StageContext
from braindec.frozen.seq2seq import IGNORED, Seq2Seq
from braindec.objectives.language import LanguageModelLoss
from braindec.objectives.view import StepView
from braindec.stages.generate_text import GenerateText
from braindec.types import DataError, Stimuli
from tests.unit.frozen.tiny_t5 import save_t5
from tests.unit.stages.generative import predictions_of

WORDS = ["the", "red", "boat", "sails", "a", "tall", "tree", "stands"]
TEXTS = ("the red boat sails", "a tall tree")


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return save_t5(tmp_path_factory.mktemp("t5"), WORDS)


@pytest.fixture
def network(weights: Path) -> Seq2Seq:
    return Seq2Seq(str(weights), length=6)


def test_states_are_those_of_transformers(network: Seq2Seq, weights: Path) -> None:
    from transformers import AutoTokenizer, T5EncoderModel

    values = network.encode(Stimuli(("a", "b"), texts=TEXTS))
    assert values.shape == (2, 6, 16)
    model, tokenizer = T5EncoderModel.from_pretrained(weights).eval(), AutoTokenizer.from_pretrained(weights)
    for row, text in enumerate(TEXTS):
        tokens = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            alone = model(input_ids=tokens.input_ids).last_hidden_state[0].numpy()
        np.testing.assert_allclose(values[row, : len(alone)], alone, atol=1e-5)
        assert not values[row, len(alone) :].any()


def test_loss_equals_transformers_own_and_reaches_the_states_alone(network: Seq2Seq) -> None:
    ids = torch.from_numpy(network.ids(TEXTS, 6))
    assert ids[1].tolist()[-2:] == [IGNORED, IGNORED]
    assert (ids[0, :4] > 2).all()
    states = torch.randn(2, 6, 16, requires_grad=True)
    loss = network.loss(states, ids)
    from transformers.modeling_outputs import BaseModelOutput

    expected = network.module(encoder_outputs=BaseModelOutput(last_hidden_state=states), labels=ids).loss
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert states.grad is not None
    assert states.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in network.module.parameters())


def test_generation_is_given_no_true_token(network: Seq2Seq) -> None:
    """Greedy texts equal a search by hand that feeds back its own tokens."""
    values = 3 * np.random.default_rng(0).standard_normal((3, 6, 16)).astype(np.float32)
    found = network.texts(values, max_length=5)
    from transformers.modeling_outputs import BaseModelOutput

    for row, text in enumerate(found):
        tokens = torch.zeros((1, 1), dtype=torch.long)
        states = BaseModelOutput(last_hidden_state=torch.from_numpy(values[row : row + 1]))
        for _ in range(5):
            with torch.no_grad():
                logits = network.module(encoder_outputs=states, decoder_input_ids=tokens).logits[0, -1]
            tokens = torch.cat([tokens, logits.argmax().view(1, 1)], dim=1)
            if tokens[0, -1] == 1:
                break
        assert text == network.tokenizer_.decode(tokens[0], skip_special_tokens=True).strip()


def test_objective_learns_states_that_write_the_sentence(network: Seq2Seq) -> None:
    ids = torch.from_numpy(network.ids(TEXTS, 6)).float()[:, None]
    objective = LanguageModelLoss(network, "states", "tokens")
    states = torch.zeros(2, 6, 16, requires_grad=True)
    optimiser = torch.optim.Adam([states], lr=0.2)
    losses = []
    for _ in range(80):
        view = StepView({"states": states}, {}, {"tokens": ids}, torch.arange(2))
        loss = objective(view)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    with pytest.raises(DataError, match=r"no target \['tokens'\]"):
        objective(StepView({"states": states}, {}, {}, torch.arange(2)))


def test_stage_writes_a_text_for_each_prediction(network: Seq2Seq) -> None:
    values = np.random.default_rng(0).standard_normal((3, 6, 16)).astype(np.float32)
    predictions = predictions_of({"flan_states": values})
    context = StageContext({}, Stimuli(("a",)), {}, 0, "cpu")
    made = GenerateText(network, "flan_states", max_length=4).run(predictions, None, context)
    assert made.captions == network.texts(values, 4)
    assert made.chain == ("generate_text(flan_states)",)


def test_states_of_another_width_are_refused(network: Seq2Seq) -> None:
    with pytest.raises(DataError, match="expected states of 16 dimensions, found 8"):
        network.texts(np.zeros((1, 6, 8), np.float32))
